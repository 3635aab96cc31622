"""Agreement with public implementations, those of them that are installed."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.statistics import (
    auc,
    cross_correlation,
    cross_power_spectrum_2d,
    energy_score_fair,
    power_spectrum_2d,
    power_spectrum_3d,
    tarp_coverage,
)

BOXSIZE, N = 25.0, 64


def overdensity(n_axes: int, seed: int = 0) -> np.ndarray:
    """With a falling spectrum, and none of the modes that bins of other edges see otherwise.

    Pylians bins the integer part of |k| and we round: modes whose |k| has a part above 0.4 are left
    out, so that each ring holds the same power in both.
    """
    axis = np.fft.fftfreq(N, 1 / N)
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(*[axis] * n_axes, indexing="ij")))
    amplitude = (1 + radius) ** -1.5 * (radius % 1 < 0.4)
    noise = np.random.default_rng(seed).normal(size=radius.shape)
    field = np.fft.ifftn(np.fft.fftn(noise) * amplitude).real
    field -= field.mean()
    return (0.2 * field / np.abs(field).max()).astype(np.float32)


def powerbox_power(delta: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    powerbox = pytest.importorskip("powerbox", reason="powerbox is not installed (extra 'test')")
    edges = (np.arange(1, N // 2 + 1) - 0.5) * 2 * np.pi / BOXSIZE
    with np.errstate(all="ignore"):
        found = powerbox.get_power(
            delta.astype(float),
            BOXSIZE,
            deltax2=None if other is None else other.astype(float),
            bins=edges,
            ignore_zero_mode=True,
        )
    # an object in version 1, a tuple before
    return np.asarray(getattr(found, "power", None) if hasattr(found, "power") else found[0])


@pytest.mark.parametrize("n_axes", [2, 3])
def test_powerbox_agrees(n_axes: int) -> None:
    delta = overdensity(n_axes)
    ours = (power_spectrum_2d if n_axes == 2 else power_spectrum_3d)(1 + delta, BOXSIZE)
    np.testing.assert_allclose(ours.power, powerbox_power(delta), rtol=1e-3)


def test_powerbox_agrees_on_the_cross_power() -> None:
    one, two = overdensity(2), overdensity(2) + overdensity(2, seed=1)
    ours = cross_power_spectrum_2d(1 + one, 1 + two, BOXSIZE).power
    np.testing.assert_allclose(ours, powerbox_power(one, two), rtol=1e-3)


@pytest.mark.parametrize("mass_assignment", [None, "NGP", "CIC", "TSC"])
@pytest.mark.parametrize("n_axes", [2, 3])
def test_pylians_agrees(n_axes: int, mass_assignment: str | None) -> None:
    pylians = pytest.importorskip(
        "Pk_library", reason="Pylians is not installed: it has no wheels (pip install Pylians)"
    )
    delta = overdensity(n_axes)
    name = mass_assignment or "None"
    if n_axes == 2:
        theirs = pylians.Pk_plane(delta, BOXSIZE, name, 1, verbose=False)
        per_bin = theirs.Pk * theirs.Nmodes
        ours = power_spectrum_2d(1 + delta, BOXSIZE, mass_assignment=mass_assignment)
    else:
        theirs = pylians.Pk(delta, BOXSIZE, 0, name, 1, verbose=False)
        per_bin = theirs.Pk[:, 0] * theirs.Nmodes3D
        ours = power_spectrum_3d(1 + delta, BOXSIZE, mass_assignment=mass_assignment)
    # Pylians counts k and -k once; its bins start at the fundamental mode
    n_bins = len(ours.k)
    np.testing.assert_allclose(ours.power * ours.n_modes, 2 * per_bin[:n_bins], rtol=1e-3)


def test_pylians_agrees_on_the_cross_correlation() -> None:
    pylians = pytest.importorskip(
        "Pk_library", reason="Pylians is not installed: it has no wheels (pip install Pylians)"
    )
    one, two = overdensity(2), overdensity(2) + overdensity(2, seed=1)
    theirs = pylians.XPk_plane(one, two, BOXSIZE, "CIC", "CIC", 1)
    first, second = theirs.Pk.T
    cross = cross_power_spectrum_2d(1 + one, 1 + two, BOXSIZE, mass_assignment="CIC")
    autos = [power_spectrum_2d(1 + x, BOXSIZE, mass_assignment="CIC") for x in (one, two)]
    ours = cross_correlation(cross, *autos)
    # of its r(k): its powers of planes have the norm of a box, (boxsize / n^2)^3
    expected = np.ravel(theirs.XPk) / np.sqrt(first * second)
    np.testing.assert_allclose(ours, expected[: len(ours)], rtol=1e-3, atol=1e-4)


def test_scoringrules_agrees_on_the_energy_score() -> None:
    from scoringrules import es_ensemble

    random = np.random.default_rng(0)
    ensemble, truth = random.normal(size=(6, 9, 4)), random.normal(size=(6, 4))
    theirs = es_ensemble(truth, ensemble, estimator="fair", backend="numpy")
    np.testing.assert_allclose(energy_score_fair(ensemble, truth), theirs, rtol=1e-12)


def test_tarp_agrees_on_the_coverage() -> None:
    tarp = pytest.importorskip("tarp", reason="tarp is not installed (pip install tarp)")
    random = np.random.default_rng(0)
    n, members = 2000, 200
    truth = random.normal(size=(n, 3))
    ensemble = 0.7 * random.normal(size=(n, members, 3))
    references = random.uniform(-3, 3, truth.shape)
    scale = truth.std(0)
    coverage, alpha = tarp.get_tarp_coverage(
        np.moveaxis(ensemble / scale, 1, 0),
        truth / scale,
        references=references / scale,
        num_alpha_bins=20,
        norm=False,
    )
    ours = tarp_coverage(ensemble, truth, references=references, seed=0)
    found = np.interp(alpha, ours.alpha, ours.coverage)
    np.testing.assert_allclose(found, coverage, atol=0.01)


def test_scikit_learn_agrees_on_the_auc() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    scores = np.round(random.normal(size=300) + labels, 1)
    assert auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
