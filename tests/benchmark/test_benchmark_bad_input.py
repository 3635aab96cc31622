"""What the benchmark refuses, and how it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halo_cm.benchmark import ExactDraws, Row, Settings, evaluate
from halo_cm.errors import DataError

SETTINGS = Settings(n_resamples=10, timing_fields=2, timing_repeats=1)


@pytest.fixture
def rows(exact):
    return [Row("exact", 1, 1, exact)]


def changed(cutouts, name, where, value):
    array = getattr(cutouts, name).copy()
    array[where] = value
    return replace(cutouts, **{name: array})


def wider(cutouts):
    return replace(cutouts, geometry=replace(cutouts.geometry, scales=(12.5, 25.0)))


@pytest.mark.parametrize(
    ("name", "where", "value", "message"),
    [
        ("target", np.s_[:, 1], 0, "channel 'gas' of the truth holds no mass in any of 36 fields"),
        ("target", np.s_[:, 0], 1e10, "channel 'dm' of the truth is constant in each of 36 fields"),
        ("condition", np.s_[4, 0], 0, r"1 of 36 cutouts hold no mass, the first with .*7, 1, 0, 1"),
        ("condition", np.s_[:2, 0], 5.0, "maps of 2 of 36 cutouts are empty or constant"),
        ("condition", np.s_[3, 1, 2, 2], np.nan, r"condition: 1 pixels are NaN .* \(3, 1, 2, 2\)"),
        ("target", np.s_[3, 1, 2, 2], np.nan, r"target: 1 pixels are NaN .* \(3, 1, 2, 2\)"),
        ("target", np.s_[3, 1, 2, 2], -1, "target: the smallest mass is -1"),
        ("parameters", np.s_[3, 1], np.nan, "parameters hold NaN"),
    ],
)
def test_maps(cutouts, rows, name, where, value, message) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(rows, changed(cutouts, name, where, value), None, settings=SETTINGS)


def test_a_few_empty_maps_of_stars_are_no_mistake(cutouts, rows) -> None:
    starless = changed(cutouts, "target", np.s_[:3, 2], 0)
    assert evaluate(rows, starless, None, settings=SETTINGS).summary.n_fields == 36


def test_other_boxes_or_pixels(cutouts, redraw, rows, exact) -> None:
    message = r"have another scales than the cutouts, \(12.5, 25.0\) in place of \(6.25, 12.5\)"
    with pytest.raises(DataError, match="second draws of the truth " + message):
        evaluate(rows, cutouts, wider(redraw), settings=SETTINGS)
    draws = ExactDraws(wider(cutouts), exact(cutouts, 4, 0))
    with pytest.raises(DataError, match="the exact draws " + message):
        evaluate(rows, cutouts, draws, settings=SETTINGS)
    boxed = replace(redraw, geometry=replace(redraw.geometry, boxsize=25.0))
    with pytest.raises(DataError, match=r"another boxsize than the cutouts, 25.0 in place of 50.0"):
        evaluate(rows, cutouts, boxed, settings=SETTINGS)
    small = [Row("small", 1, 1, lambda *args: exact(*args)[..., ::2, ::2])]
    with pytest.raises(DataError, match=r"row 'small, 1 step' returned fields of shape .* 8, 8\)"):
        evaluate(small, cutouts, None, settings=SETTINGS)


def test_exact_draws(cutouts, exact) -> None:
    fields = exact(cutouts, 4, 0)
    with pytest.raises(DataError, match=r"shape \(36, 4, 3, 8, 8\), expected \(36, draws, 3, 16"):
        ExactDraws(cutouts, fields[..., ::2, ::2])
    fields[0, 3, 1, 5, 5] = np.nan
    with pytest.raises(DataError, match="exact draws: 1 pixels are NaN"):
        ExactDraws(cutouts, fields)


def test_one_sample_where_an_ensemble_is_needed(cutouts, exact) -> None:
    single = [Row("single", 1, 1, exact, members=1)]
    with pytest.raises(DataError, match=r"'single, 1 step' needs at least two members .* found 1"):
        evaluate(single, cutouts, None, members=8, settings=SETTINGS)
