"""The fair energy score and its features."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gaussian_world import make_step

from halo_cm.data.normalize import Batch
from halo_cm.objectives.energy_score import LOW_LEVELS, EnergyScore
from halo_cm.objectives.fair_scores import energy_score
from halo_cm.objectives.features import (
    MASS_FLOOR,
    apertures,
    band_powers,
    logs,
    masses,
    patches,
    pixels,
    pooled,
    prominences,
)
from halo_cm.statistics.power import power_spectrum_2d


def test_crps_of_a_normal_ensemble():
    """For X, y ~ N(0, 1) the expected score is 1 / sqrt(pi)."""
    g = torch.Generator().manual_seed(0)
    a, b, y = (torch.randn(200_000, 1, 1, 1, generator=g) for _ in range(3))
    assert energy_score(pixels, [a, b], y).item() == pytest.approx(1 / math.sqrt(math.pi), rel=0.01)


@pytest.mark.parametrize("m", [3, 5])
def test_any_number_of_members_estimates_the_same_score(m):
    """And each pair of members has the score of two; they are averaged."""
    g = torch.Generator().manual_seed(7)
    members = list(torch.randn(m, 60_000, 1, 1, 1, generator=g))
    y = torch.randn(60_000, 1, 1, 1, generator=g)
    found = energy_score(pixels, members, y).item()
    assert found == pytest.approx(1 / math.sqrt(math.pi), rel=0.02)
    pairs = [energy_score(pixels, pair, y).item() for pair in combinations(members, 2)]
    assert found == pytest.approx(np.mean(pairs), rel=1e-4)


def test_two_members_have_the_score_of_the_formula_for_two():
    g = torch.Generator().manual_seed(8)
    a, b, y = (torch.randn(50, 2, 8, 8, generator=g) for _ in range(3))
    f1, f2, f = (patches(1, 4)(x) for x in (a, b, y))

    def norm(x):
        return (x.square().sum(-1) + 1e-6).sqrt()

    expected = (0.5 * (norm(f1 - f) + norm(f2 - f)) - 0.5 * norm(f1 - f2)).mean()
    assert torch.equal(energy_score(patches(1, 4), [a, b], y), expected)


def test_more_members_are_drawn_from_one_stacked_batch():
    step = make_step(None, 0.002, torch.Generator().manual_seed(0))
    shapes = []

    def denoiser(noisy, sigma, condition, parameters):
        shapes.append((noisy.shape[0], condition.shape[0], parameters.shape[0], len(sigma)))
        return noisy

    step = replace(step, denoiser=denoiser, frozen=denoiser)
    x = torch.zeros(3, 1, 4, 4)
    batch = SimpleNamespace(x_clean=x, condition=x, parameters=torch.zeros(3, 1))
    members = EnergyScore(n_members=4, multistep_share=0).members(step, batch)
    assert shapes == [(12, 12, 12, 12)]
    assert len(members) == 4 and all(m.shape == x.shape for m in members)
    assert len({float(m[0, 0, 0, 0]) for m in members}) == 4


def test_relative_scores_do_not_depend_on_the_scale_of_a_feature():
    g = torch.Generator().manual_seed(6)
    a, b, y = (torch.randn(4000, 1, 1, 2, generator=g) for _ in range(3))
    # far above the floor 0.05; of two features one is 1,000 times as large
    scales = torch.tensor([1e2, 1e5])
    found = energy_score(lambda x: pixels(x * scales), [a, b], y, relative=True)
    alone = energy_score(lambda x: pixels(x * 1e2), [a, b], y, relative=True)
    # right members have a score of half their error
    assert found.item() == pytest.approx(0.5, abs=0.02)
    assert found.item() == pytest.approx(alone.item(), rel=0.002)
    # errors far below the floor are not blown up
    small = energy_score(lambda x: pixels(x * 1e-2), [a, b], y, relative=True)
    assert 0.05 < small.item() < 0.15
    # the scale has no gradient: else members could lower their score by growing
    a.requires_grad_()
    energy_score(pixels, [a, b], y, relative=True).backward()
    relative, a.grad = a.grad.clone(), None
    (energy_score(pixels, [a, b], y) / (1.128 + 0.05)).backward()
    torch.testing.assert_close(relative, a.grad, rtol=0.05, atol=1e-9)


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_the_true_spread_has_the_lowest_score(scale, width):
    g = torch.Generator().manual_seed(1)
    a, b, y = (torch.randn(1000, 1, 16, 16, generator=g) for _ in range(3))
    feature = patches(1, width)
    best = energy_score(feature, [a, b], y)
    assert best < energy_score(feature, [scale * a, scale * b], y)


def test_patches_see_correlations_that_pixels_do_not():
    """A generator with the right pixels and the wrong correlation is caught by patches only."""
    g = torch.Generator().manual_seed(2)
    a, b, y = (torch.randn(4000, 1, 8, 8, generator=g) for _ in range(3))
    flat = [x.mean((-1, -2), keepdim=True).expand_as(x) * 8 for x in (a, b)]  # unit variance
    right = energy_score(pixels, [a, b], y).item()
    assert energy_score(pixels, flat, y).item() == pytest.approx(right, rel=0.02)
    assert energy_score(patches(1, 8), flat, y) > 1.03 * energy_score(patches(1, 8), [a, b], y)


def test_band_powers_agree_with_the_statistics_package():
    maps = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) + 0.1
    logs = band_powers(contrast=True)(maps)[..., 0]
    spectrum = power_spectrum_2d(maps.numpy(), 1.0, window="hann").power
    ours = (logs.exp() - 1e-3).numpy()
    ratio = ours / spectrum[..., : ours.shape[-1]]
    np.testing.assert_allclose(ratio / ratio.mean(), 1, rtol=2e-3)  # up to one normalisation


def test_band_powers_know_nothing_of_the_mean():
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    logs = [band_powers(contrast=False)(x + offset) for offset in (0, 5)]
    torch.testing.assert_close(*logs, rtol=1e-3, atol=1e-3)
    empty = band_powers(contrast=True)(torch.zeros(1, 1, 32, 32))
    torch.testing.assert_close(empty.exp(), torch.full_like(empty, 1e-3))


def test_apertures_are_centred():
    mass = torch.zeros(1, 1, 32, 32)
    mass[..., 15:17, 15:17] = 1e12
    assert torch.allclose(apertures(mass).exp(), torch.tensor(4e12), rtol=1e-3)
    corner = torch.zeros(1, 1, 32, 32)
    corner[..., 0, 0] = 1e12
    logs = apertures(corner)[0, 0, :, 0]
    assert logs[-1].exp().item() == pytest.approx(1e12, rel=1e-3)
    assert torch.all(logs[:-1] == logs[0])


def test_prominences_by_hand():
    x = torch.zeros(1, 3, 6, 6)
    x[0, 0, 2, 3] = 5.0  # alone
    x[0, 1, 2:4, 3] = torch.tensor([5.0, 4.0])  # of two cells, the higher one stands out by 1
    x[0, 2, 0, 0] = 9.0  # on the edge, of which not all neighbours are known
    x[0, 2, 1:5, 1:5] = 2.0  # a plateau
    torch.testing.assert_close(prominences(x), torch.tensor([[5 / 16, 1 / 16, 0.0]]))


def test_prominence_enters_the_score_of_the_stars_alone():
    step = SimpleNamespace(normalization=SimpleNamespace(roots=lambda m: m))
    scores = EnergyScore(prominence_weight=1.0), EnergyScore()
    with_it, without = (score._physical_features(step) for score in scores)
    assert len(with_it) == len(without) + 1
    mass = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(6))
    (extra,) = (term.feature for term in with_it if term.feature(mass).shape == (2, 1, 1))
    gas, stars = mass.clone(), mass.clone()
    gas[:, 1, 4, 4] = stars[:, 2, 4, 4] = 50.0
    assert torch.equal(extra(gas), extra(mass))
    assert (extra(stars) > extra(mass) + 1).all()


@pytest.mark.parametrize("n", [1, 8])
def test_pooled_amounts_are_those_of_the_batch(n):
    mass = torch.rand(n, 2, 16, 16, generator=torch.Generator().manual_seed(5)) * 1e12
    found = pooled(masses, MASS_FLOOR)(mass)
    assert found.shape == (1, 2, 4, 1)
    total = mass.sum((-1, -2)).mean(0)
    torch.testing.assert_close(found[0, :, -1, 0], total.log(), rtol=1e-5, atol=0)


def test_pooling_shows_missing_tails():
    """Haloes whose brightest twentieth is cut lose a quarter of the mass: logs hardly show it."""
    g = torch.Generator().manual_seed(6)
    a, b, y = ((1.5 * torch.randn(1000, 16, 1, 1, 1, generator=g)).exp() * 1e10 for _ in range(3))
    low, high = (x.clamp(max=float(y.quantile(0.95))) for x in (a, b))

    def loss(feature):
        changes = [
            energy_score(feature, [i, j], k) - energy_score(feature, [m, n], k)
            for i, j, m, n, k in zip(low, high, a, b, y, strict=True)
        ]
        return torch.stack(changes).mean()

    assert loss(pooled(masses, MASS_FLOOR)) > 0.01
    assert loss(pooled(masses, MASS_FLOOR)) > 10 * loss(logs(masses, MASS_FLOOR))


def test_gradient_is_finite_where_members_agree_in_empty_maps():
    objective = EnergyScore(physical=False)
    x = torch.zeros(2, 3, 32, 32)
    weight = torch.zeros((), requires_grad=True)

    def denoiser(noisy, sigma, condition, parameters):
        return noisy * weight

    step = make_step(None, 0.002, torch.Generator().manual_seed(0))
    step = replace(step, denoiser=denoiser, frozen=denoiser)
    batch = SimpleNamespace(x_clean=x, condition=x, parameters=torch.zeros(2, 1))
    objective.loss(step, batch).backward()
    assert weight.grad is not None and torch.isfinite(weight.grad)


def test_a_share_of_the_batches_tunes_later_steps():
    objective = EnergyScore(multistep_share=0.4)
    step = make_step(None, 0.002, torch.Generator().manual_seed(0))
    rollouts = [objective.rollout(step) for _ in range(4000)]
    assert np.mean([len(r) > 0 for r in rollouts]) == pytest.approx(0.4, abs=0.03)
    assert set(rollouts) == {(), (0.3,), (4.0,), (4.0, 1.0), (4.0, 1.0, 0.25)}
    one_step = EnergyScore(multistep_share=0)
    assert {one_step.rollout(step) for _ in range(50)} == {()}


def test_only_the_last_evaluation_of_a_rollout_has_a_gradient():
    calls = []

    def evaluate(name):
        def denoiser(x, sigma, condition, parameters):
            calls.append((name, float(sigma[0]), torch.is_grad_enabled()))
            return x * 0.1

        return denoiser

    generator = torch.Generator().manual_seed(0)
    step = replace(
        make_step(None, 0.002, generator),
        denoiser=evaluate("student"),
        frozen=evaluate("frozen"),
        sampling_levels={4: (4.0, 1.0, 0.25)},
    )
    batch = SimpleNamespace(x_clean=torch.zeros(2, 3, 8, 8), condition=None, parameters=None)
    batch.condition = batch.parameters = torch.zeros(2, 1)
    always = EnergyScore(multistep_share=0.999)
    while len(calls) != 4:
        calls.clear()
        always.members(step, batch)
    assert calls == [
        ("frozen", 80.0, False), ("frozen", 4.0, False), ("frozen", 1.0, False),
        ("student", 0.25, True),
    ]  # fmt: skip


def low_levels_step(calls, progress):
    """A step whose networks record (name, levels, condition, whether a gradient is taken)."""

    def evaluate(name):
        def denoiser(x, sigma, condition, parameters):
            calls.append((name, sigma, condition, torch.is_grad_enabled()))
            return x / (1 + sigma.view(-1, 1, 1, 1) ** 2)

        denoiser.sigma_data = 1.0
        return denoiser

    step = make_step(None, 0.002, torch.Generator().manual_seed(0))
    networks = {name: evaluate(name) for name in ("denoiser", "frozen")}
    return replace(step, progress=progress, sampling_levels={2: (0.3,)}, **networks)


def noise_batch(n):
    x = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    none = torch.zeros(n, 1)
    return Batch(x, 2 * x, none, x, x, none, torch.arange(n))


@pytest.mark.parametrize(("progress", "ratio"), [(0.0, None), (0.6, 0.7)])
def test_a_share_of_the_batches_is_consistency_training_of_low_levels(progress, ratio):
    calls, batch = [], noise_batch(4)
    objective = EnergyScore(multistep_share=0.5, consistency_share=0.25, physical=False)
    step, kinds, pairs = low_levels_step(calls, progress), [], []
    for _ in range(400):
        calls.clear()
        objective.loss(step, batch)
        low = calls[0][0] == "denoiser" and calls[0][1][0] < step.sigma_max
        kinds.append("low" if low else "several" if len(calls) > 1 else "one")
        assert all(len(sigma) == 8 for _, sigma, _, _ in calls)  # one size for compiled networks
        if low:
            (_, t, condition, _), (name, r, _, gradient) = calls
            pairs.append(torch.stack([t, r]))
            assert name == "frozen" and not gradient
            torch.testing.assert_close(condition, torch.cat([batch.condition] * 2))
    shares = [kinds.count(kind) / 400 for kind in ("low", "several", "one")]
    assert shares == pytest.approx([0.25, 0.375, 0.375], abs=0.06)
    t, r = torch.cat(pairs, 1)
    assert t.max() < 10 and t.log().mean() == pytest.approx(-2.0, abs=0.15)
    if ratio is None:
        assert (r[t < 0.5] == step.sigma_min).all()
    else:
        torch.testing.assert_close((r / t).median(), torch.tensor(ratio), atol=0.02, rtol=0)


def test_low_levels_do_not_change_with_the_defaults_of_ect():
    assert LOW_LEVELS.model_dump() == {
        "name": "ect", "distance": "pseudo_huber", "huber_scale": 0.00054, "p_mean": -2.0,
        "p_std": 1.0, "top_share": 0.0, "q": 4.0, "k": 8.0, "b": 1.0, "n_stages": 2,
    }  # fmt: skip


def test_without_a_share_of_consistency_training_no_random_number_is_spent():
    batch = noise_batch(2)
    objective = EnergyScore(multistep_share=0.5, physical=False)
    states = []
    for loss in (objective.loss, super(EnergyScore, objective).loss):
        step = low_levels_step([], 0.0)
        loss(step, batch)
        states.append(step.generator.get_state())
    assert torch.equal(*states)
