"""Noise levels against the known answers of the papers."""

from __future__ import annotations

import math

import pytest
import torch

from halo_cm.diffusion.levels import (
    ct_discretization,
    ct_target_decay,
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
