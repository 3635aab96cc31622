"""The score of a model on validation cutouts: known values, its error, and the rule of choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import make_cutouts

from halo_cm.training import validation
from halo_cm.training.validation import ValidationScore, Validator


def score_of(monkeypatch, fields, truth, seed=0):
    """Score of given samples (N, M, C, H, W)."""
    monkeypatch.setattr(validation, "sample", lambda *args, **settings: fields)
    return Validator(truth, len(truth), fields.shape[1], seed).score(None)


def scored(score, resamples):
    return ValidationScore(score, power=0, crps=0, mass=0, resamples=tuple(score + resamples))


def test_the_truth_itself_has_no_error(monkeypatch):
    truth = make_cutouts(n=20)
    found = score_of(monkeypatch, np.stack([truth.target] * 2, axis=1), truth)
    assert found.as_dict() == pytest.approx(dict.fromkeys(found.as_dict(), 0.0), abs=1e-12)


def test_a_constant_factor_moves_masses_and_not_the_power_of_overdensities(monkeypatch):
    truth = make_cutouts(n=20)
    found = score_of(monkeypatch, 1.1 * np.stack([truth.target] * 2, axis=1), truth)
    # features add a least mass to the aperture's, so that their shift is below log10(1.1)
    assert found.power == pytest.approx(0, abs=1e-6)
    assert found.mass == pytest.approx(np.log(1.1), rel=1e-5)
    assert 0 < found.crps < 2 * np.log10(1.1)
    assert found.error < 0.01, "every halo has the same error"


def test_doubled_masses_are_worse_than_a_wrong_shape(monkeypatch):
    # a consistency training that had lost the level of the gas was taken for the better power
    truth = make_cutouts(n=20)
    mean = truth.target.mean((2, 3), keepdims=True)
    doubled, smooth = truth.target.copy(), mean + 0.9 * (truth.target - mean)
    doubled[:, 1] *= 2.3
    doubled, smooth = (
        score_of(monkeypatch, np.stack([x] * 2, axis=1), truth) for x in (doubled, smooth)
    )
    assert doubled.power + doubled.crps < smooth.power + smooth.crps
    assert not doubled.competes_with(smooth)


def test_the_error_holds_that_of_the_mass(monkeypatch):
    rng = np.random.default_rng(7)
    truth = make_cutouts(n=400)
    fields = truth.target * rng.lognormal(0.3, 0.5, 400)[:, None, None, None]
    parts = [np.arange(i, i + 20) for i in range(0, 400, 20)]
    found = [
        score_of(monkeypatch, np.stack([fields[p]] * 2, axis=1), truth.select(p)) for p in parts
    ]
    error = np.sqrt(np.mean([f.error**2 for f in found]))
    assert error == pytest.approx(np.std([f.score for f in found], ddof=1), rel=0.5)
    assert error > 1.5 * np.std([f.crps for f in found], ddof=1), "the mass counts"


def test_a_smaller_contrast_is_the_logarithm_of_its_square(monkeypatch):
    truth = make_cutouts(n=20)
    mean = truth.target.mean((2, 3), keepdims=True)  # P is that of (m - mean) / mean
    fields = mean + 0.9 * (truth.target - mean)
    found = score_of(monkeypatch, np.stack([fields] * 2, axis=1), truth)
    assert found.power == pytest.approx(-2 * np.log(0.9), rel=1e-3)
    assert found.score == pytest.approx(found.power + found.crps + found.mass)


def test_the_error_is_the_scatter_over_universes(monkeypatch):
    # log-normal factors of haloes: the CRPS of many disjoint sets of 20 haloes scatters as the
    # bootstrap of one set says; power is kept equal, and the mean mass away from the true one,
    # where its error has a kink
    rng = np.random.default_rng(1)
    truth = make_cutouts(n=400)
    factor = rng.lognormal(0.3, 0.3, 400)[:, None, None, None]
    fields = np.stack([truth.target * factor] * 2, axis=1)
    parts = [np.arange(i, i + 20) for i in range(0, 400, 20)]
    found = [score_of(monkeypatch, fields[p], truth.select(p)) for p in parts]
    errors = np.array([f.error for f in found])
    scatter = np.std([f.score for f in found], ddof=1)
    assert np.sqrt((errors**2).mean()) == pytest.approx(scatter, rel=0.5)


def test_the_error_holds_that_of_the_power(monkeypatch):
    # contrast differs from halo to halo: the error of P scatters over sets as it is said to
    rng = np.random.default_rng(5)
    truth = make_cutouts(n=400)
    contrast = rng.lognormal(0.3, 0.5, 400)[:, None, None, None]
    mean = truth.target.mean((2, 3), keepdims=True)
    fields = np.abs(mean + contrast * (truth.target - mean))
    fields = np.stack([fields] * 2, axis=1)
    parts = [np.arange(i, i + 20) for i in range(0, 400, 20)]
    found = [score_of(monkeypatch, fields[p], truth.select(p)) for p in parts]
    error = np.sqrt(np.mean([f.error**2 for f in found]))
    assert error == pytest.approx(np.std([f.score for f in found], ddof=1), rel=0.5)
    assert error > 2 * np.std([f.crps for f in found], ddof=1), "the power decides"


def test_a_channel_that_few_haloes_hold_is_not_compared_without_them(monkeypatch):
    truth = make_cutouts(n=64)
    few = truth.target.copy()
    few[2:, 2] = 0
    truth = replace(truth, target=few)
    found = score_of(monkeypatch, np.stack([few] * 2, axis=1), truth)
    assert found.score == pytest.approx(0, abs=1e-9) and found.error < 1e-9


def test_projections_of_one_halo_are_drawn_together(monkeypatch):
    rng = np.random.default_rng(2)
    one = make_cutouts(n=30)
    rows = np.repeat(np.arange(30), 4)
    factor = rng.lognormal(0, 0.3, 30)[rows, None, None, None]
    many = one.select(rows)
    fields = np.stack([many.target * factor] * 2, axis=1)
    together = score_of(monkeypatch, fields, many).error
    apart = score_of(monkeypatch, fields, replace(many, halo=np.arange(120))).error
    assert together == pytest.approx(score_of(monkeypatch, fields[::4], one).error, rel=0.25)
    assert apart == pytest.approx(together / 2, rel=0.3)


def test_one_halo_has_no_error_of_its_own(monkeypatch):
    truth = make_cutouts(n=3)
    truth = replace(truth, halo=np.zeros(3, dtype=int))
    found = score_of(monkeypatch, 1.2 * np.stack([truth.target] * 2, axis=1), truth)
    assert found.error == 0 and found.score > 0


def test_later_weights_are_taken_unless_they_are_clearly_worse():
    noise = np.random.default_rng(3).normal(size=(2, 2000))
    noise = (noise - noise.mean(1, keepdims=True)) / noise.std(1, keepdims=True)
    best = scored(1.0, 0.3 * noise[0])
    assert scored(9.0, noise[1]).competes_with(None)
    assert scored(0.9, 0 * noise[1]).competes_with(best)
    # errors that have nothing in common: 2 x sqrt(2) x 0.3
    assert scored(1.8, 0.3 * noise[1]).competes_with(best)
    assert not scored(1.9, 0.3 * noise[1]).competes_with(best)
    # what all resamples share is no error of the difference
    assert scored(1.09, 0.35 * noise[0]).competes_with(best)
    assert not scored(1.11, 0.35 * noise[0]).competes_with(best)


def test_a_model_is_not_excused_by_its_own_error():
    noise = np.random.default_rng(4).normal(size=2000)
    assert not scored(0.23, 0.12 * noise).competes_with(scored(0.002, 1e-4 * noise[::-1]))


def test_one_halo_leaves_the_lowest_score():
    none = np.zeros(0)
    assert not scored(1.1, none).competes_with(scored(1.0, none))
    assert scored(0.9, none).competes_with(scored(1.0, none))


def test_the_log_holds_the_error_and_not_the_resamples():
    found = scored(1.0, np.array([-1.0, 1.0])).as_dict()
    assert found == {"score": 1.0, "power": 0, "crps": 0, "mass": 0, "error": 1.0}
