"""Choosing cutouts."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.benchmark import evaluate, spread_over_haloes
from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.suite import Settings
from halo_cm.errors import DataError


@pytest.mark.parametrize("n_fields", [5, 12, 20, 35, 36, 99])
def test_haloes_repeat_only_when_all_are_in(cutouts, n_fields) -> None:
    """12 haloes in 3 draws each."""
    chosen = spread_over_haloes(cutouts, n_fields, seed=4)
    n = min(n_fields, 36)
    assert len(chosen) == n
    _, counts = np.unique(chosen.halo, return_counts=True)
    assert len(counts) == min(n, 12)
    assert counts.max() - counts.min() <= 1
    place = chosen.halo * 3 + chosen.draw
    assert (np.diff(place) > 0).all()


def test_the_choice_depends_on_the_seed(cutouts) -> None:
    draws = [spread_over_haloes(cutouts, 12, seed).draw.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 3


def test_a_part_can_be_evaluated_with_all_second_draws(cutouts, redraw, exact) -> None:
    part = spread_over_haloes(cutouts, 15)
    settings = Settings(n_resamples=20, timing_repeats=1)
    rows = [Row("exact", 1, 1, exact)]
    summary = evaluate(rows, part, redraw, members=2, settings=settings).summary
    assert (summary.n_fields, summary.n_haloes) == (15, 12)
    assert summary.floors["truth_vs_truth"].crps_over_oracle["log_mass"]["gas"] == 1


def test_no_fields(cutouts) -> None:
    with pytest.raises(DataError, match="must be positive"):
        spread_over_haloes(cutouts, 0)
