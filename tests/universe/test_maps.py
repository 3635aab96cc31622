"""Projections conserve mass; windows are periodic; context maps share one unit of mass."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from halo_cm.config.universe import BaryonConfig
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.maps import (
    Projector,
    context_maps,
    periodic_window,
    projected_axes,
    sum_blocks,
    target_maps,
)
from halo_cm.universe.matter import Matter


@pytest.fixture(scope="module")
def projector(matter: Matter) -> Projector:
    return Projector(matter, 64)


def test_maps_conserve_mass_by_channel(matter: Matter, projector: Projector) -> None:
    draw = BaryonModel(matter, BaryonConfig()).draw(Astrophysics(12.6, 4.0, 0.06, 1.0), 0, "maps")
    stars = draw.star_masses.sum(dtype=float)
    for axis in range(3):
        hydro = projector.project(draw, axis)
        dark, gas, star = hydro.sum((1, 2), dtype=float) / matter.total_mass
        assert dark == pytest.approx(1 - matter.baryon_fraction, rel=1e-5)
        assert star == pytest.approx(stars / matter.total_mass, rel=1e-5)
        assert gas + star == pytest.approx(matter.baryon_fraction, rel=1e-5)
        assert hydro.min() >= 0
        assert projector.dmo[axis].sum(dtype=float) == pytest.approx(matter.total_mass, rel=1e-5)


def test_the_heaviest_halo_is_in_the_middle_of_its_window(
    matter: Matter, projector: Projector
) -> None:
    """Halo 0 lies across the border of the box."""
    for axis in range(3):
        centre = projector.centre_cell(matter.haloes.position[0], axis)
        window = periodic_window(projector.dmo[axis], centre, 16)
        weights = window / window.sum()
        cells = np.arange(16) - 7.5
        assert abs((weights.sum(1) * cells).sum()) < 1.0
        assert abs((weights.sum(0) * cells).sum()) < 1.0
        assert window[7:9, 7:9].sum() > 0.1 * window.sum()


def test_windows_are_periodic() -> None:
    maps = np.arange(64.0).reshape(8, 8)
    window = periodic_window(maps, (0, 7), 4)
    for i, row in enumerate((6, 7, 0, 1)):
        for j, column in enumerate((5, 6, 7, 0)):
            assert window[i, j] == maps[row, column]
    shifted = np.roll(maps, (3, 5), (0, 1))
    assert np.array_equal(periodic_window(shifted, (3, 12), 4), window)


def test_context_maps_are_means_over_fine_pixels() -> None:
    uniform = np.full((64, 64), 2.0, np.float32)
    maps = context_maps(uniform, (5, 60), n_pixels=4, n_scales=4, oversampling=2)
    assert maps.shape == (4, 4, 4)
    assert np.allclose(maps, 2.0 * 2**2)  # the mass of a pixel of the field of view
    rng = np.random.default_rng(0)
    field = rng.uniform(size=(64, 64)).astype(np.float32)
    maps = context_maps(field, (32, 32), n_pixels=4, n_scales=4, oversampling=2)
    # the middle half of a wider map covers the next narrower one
    for narrow, wide in itertools.pairwise(maps):
        assert np.allclose(wide[1:3, 1:3], sum_blocks(narrow, 2) / 4, rtol=1e-5)
    assert np.allclose(maps[0], target_maps(field, (32, 32), 4, 2))
    # the widest map of 4 x 8 x 2 = 64 cells holds the whole box
    assert maps[3].sum() * 4**3 == pytest.approx(field.sum(), rel=1e-5)


def test_projected_axes() -> None:
    assert [projected_axes(axis) for axis in range(3)] == [[1, 2], [0, 2], [0, 1]]
