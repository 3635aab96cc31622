"""Noise levels against the known answers of the papers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from halo_cm.diffusion.levels import (
    adjacent_pairs,
    ct_discretization,
    ct_target_decay,
    ict_discretization,
    ict_probabilities,
    karras_levels,
    lognormal_levels,
    loguniform_levels,
    mix,
)


def test_karras_levels_fall_between_exact_ends():
    levels = karras_levels(18, 0.002, 80.0)
    assert levels[0] == 80 and levels[-1] == torch.tensor(0.002)
    assert (levels.diff() < 0).all()
    # equal steps in sigma^(1/7)
    steps = levels.double().pow(1 / 7).diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps), rtol=1e-4, atol=0)


def test_karras_levels_need_two():
    with pytest.raises(ValueError, match="at least 2 levels, found 1"):
        karras_levels(1, 0.002, 80.0)


@pytest.mark.parametrize(("progress", "n"), [(0, 2), (0.01, 16), (0.5, 107), (1, 151)])
def test_discretization_of_song_et_al(progress, n):
    assert ct_discretization(progress) == n


def test_target_decay_of_song_et_al():
    assert ct_target_decay(2) == pytest.approx(0.9)
    assert ct_target_decay(151) == pytest.approx(math.exp(2 * math.log(0.9) / 151))


def test_discretization_of_song_and_dhariwal_doubles_in_stages_of_equal_length():
    found = [ict_discretization((stage + 0.5) / 8) for stage in range(8)]
    assert found == [11, 21, 41, 81, 161, 321, 641, 1281]
    assert ict_discretization(0.0) == 11 and ict_discretization(1.0) == 1281
    steps = [ict_discretization(k / 800) for k in range(800)]
    assert [steps.count(n) for n in found] == [100] * 8
    # by the paper's own formula, with K' rounded down to whole steps
    n_steps, s0, s1 = 8000, 10, 1280
    per_stage = math.floor(n_steps / (math.log2(s1 // s0) + 1))
    for k in range(n_steps):
        assert ict_discretization(k / n_steps) == min(s0 * 2 ** (k // per_stage), s1) + 1


def test_pairs_of_song_and_dhariwal_have_the_mass_of_the_log_normal_between_them():
    levels, mean, std = karras_levels(11, 0.002, 80.0), -1.1, 2.0
    found = ict_probabilities(levels, mean, std)
    erf = [math.erf((math.log(x) - mean) / (math.sqrt(2) * std)) for x in levels.tolist()]
    expected = torch.tensor([a - b for a, b in pairwise(erf)]).double()
    torch.testing.assert_close(found, expected / (erf[0] - erf[-1]), rtol=1e-6, atol=1e-9)
    assert found.sum().item() == pytest.approx(1, abs=1e-12)
    assert (found > 0).all()


def test_adjacent_pairs_follow_their_probabilities():
    levels = karras_levels(6, 0.002, 80.0)
    probabilities = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05]).double()
    for given, expected in ((None, torch.full((5,), 0.2)), (probabilities, probabilities)):
        t, r = adjacent_pairs(levels, 40_000, torch.Generator().manual_seed(3), given)
        which = (levels[:, None] == t).int().argmax(0)
        assert torch.equal(r, levels[which + 1])
        counts = torch.bincount(which, minlength=5) / len(t)
        torch.testing.assert_close(counts, expected.float(), rtol=0, atol=0.01)


def test_lognormal_levels_follow_the_truncated_law():
    from scipy.stats import kstest, truncnorm

    generator = torch.Generator().manual_seed(1)
    mean, std, low, high = -0.5, 1.5, 0.002, 80.0
    levels = lognormal_levels(20_000, mean, std, low, high, generator)
    a, b = (math.log(low) - mean) / std, (math.log(high) - mean) / std
    law = truncnorm(a, b, loc=mean, scale=std)
    assert levels.min() >= low and levels.max() <= high
    assert kstest(levels.log().numpy(), law.cdf).pvalue > 1e-3


def test_loguniform_levels_and_mix():
    generator = torch.Generator().manual_seed(2)
    levels = loguniform_levels(20_000, 2.0, 80.0, generator)
    assert levels.log().mean().item() == pytest.approx(math.log(160) / 2, abs=0.02)
    mixed = mix(torch.zeros(20_000), torch.ones(20_000), 0.1, generator)
    assert mixed.mean().item() == pytest.approx(0.1, abs=0.01)
