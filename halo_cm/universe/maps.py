"""Projected mass maps of a whole box, their windows around haloes, and coarser pixels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from halo_cm.universe.baryons import HydroDraw
from halo_cm.universe.matter import N_GROUPS, Matter
from halo_cm.universe.particle_mesh import deposit

#: Smoothing of each density group, sparse to dense, in mean particle spacings.
_MATTER_SMOOTHING = (0.31, 0.13, 0.0)
_GAS_SMOOTHING = (0.38, 0.20, 0.08)

Map = NDArray[np.float32]


class Projector:
    """Mass maps of a box and of its hydrodynamic draws, by channel.

    Sparse particles are smoothed, which hides their shot noise: a group of density has a Gaussian
    of a fixed part of the mean particle spacing. All of it conserves mass.

    Parameters
    ----------
    matter
        The dark-matter-only box.
    n_map
        Cells along each side of a map.
    """

    def __init__(self, matter: Matter, n_map: int) -> None:
        self.matter, self.n_map = matter, n_map
        spacing = matter.boxsize / round(matter.n_particles ** (1 / 3))
        cells = spacing * n_map / matter.boxsize
        self._matter_widths = [width * cells for width in _MATTER_SMOOTHING]
        self._gas_widths = [width * cells for width in _GAS_SMOOTHING]
        moving, fixed = matter.groups[:N_GROUPS], matter.groups[N_GROUPS:]
        self._moving = moving
        self.dmo: list[Map] = []
        self._fixed_gas: list[Map] = []
        self._fixed_matter: list[Map] = []
        for axis in range(3):
            counts = [self._deposit(matter.positions[g], axis) for g in fixed]
            self._fixed_matter.append(_smoothed(counts, self._matter_widths))
            self._fixed_gas.append(_smoothed(counts, self._gas_widths))
            counts = [self._deposit(matter.positions[g], axis) for g in moving]
            near = _smoothed(counts, self._matter_widths)
            self.dmo.append((near + self._fixed_matter[axis]) * np.float32(matter.particle_mass))

    def project(self, draw: HydroDraw, axis: int) -> Map:
        """Mass per cell of dark matter, gas and stars [Msun/h].

        Parameters
        ----------
        draw
            A hydrodynamic draw of the box.
        axis
            Axis of projection: 0, 1 or 2.

        Returns
        -------
        NDArray
            Shape (3, n_map, n_map), float32; the other two axes in rising order.
        """
        matter = self.matter
        dm_mass = np.float32((1 - matter.baryon_fraction) * matter.particle_mass)
        dm = [self._deposit(draw.dm_positions[g], axis) for g in self._moving]
        dark = _smoothed(dm, self._matter_widths) + self._fixed_matter[axis]
        gas = _smoothed(
            [self._deposit(draw.gas_positions[g], axis, draw.gas_masses[g]) for g in self._moving],
            self._gas_widths,
        )
        gas += self._fixed_gas[axis] * np.float32(draw.field_gas_mass)
        stars = self._deposit(draw.star_positions, axis, draw.star_masses)
        return np.stack([dark * dm_mass, gas, stars])

    def centre_cell(self, position: NDArray[np.float64], axis: int) -> tuple[int, int]:
        """Cell border nearest to a position, around which windows are cut."""
        n = self.n_map / self.matter.boxsize
        a, b = (round(position[i] * n) for i in projected_axes(axis))
        return a, b

    def _deposit(
        self, positions: NDArray[np.float32], axis: int, masses: NDArray[np.float32] | None = None
    ) -> Map:
        plane = torch.from_numpy(positions[:, projected_axes(axis)])
        weights = None if masses is None else torch.from_numpy(masses)
        return deposit(plane, self.n_map, self.matter.boxsize, weights).numpy()


def projected_axes(axis: int) -> list[int]:
    """The two axes that remain after projection along ``axis``."""
    return [i for i in range(3) if i != axis]


def periodic_window(maps: NDArray[np.floating], centre: tuple[int, int], width: int) -> Map:
    """Square of ``width`` cells around the cell border ``centre`` of periodic maps (..., n, n)."""
    n = maps.shape[-1]
    rows = np.arange(centre[0] - width // 2, centre[0] - width // 2 + width) % n
    columns = np.arange(centre[1] - width // 2, centre[1] - width // 2 + width) % n
    return maps[..., rows[:, None], columns[None, :]]


def sum_blocks(maps: NDArray[np.floating], factor: int) -> Map:
    """Mass in blocks of ``factor`` x ``factor`` cells, shape (..., n / factor, n / factor)."""
    *lead, n, m = maps.shape
    return maps.reshape(*lead, n // factor, factor, m // factor, factor).sum((-3, -1))


def context_maps(
    dmo: Map, centre: tuple[int, int], n_pixels: int, n_scales: int, oversampling: int
) -> Map:
    """Condition of a cutout: the field of view and maps twice, four times, ... as wide.

    Wider maps hold the mean over the pixels of the field of view that each of their pixels covers
    (the convention of vdm_BIND), so that all scales share one unit of mass.

    Parameters
    ----------
    dmo
        Mass per cell of the box [Msun/h], shape (n, n).
    centre
        Cell border at the halo's centre.
    n_pixels
        Pixels along each side of a cutout.
    n_scales
        Number of maps.
    oversampling
        Cells along each side of a pixel of the field of view.

    Returns
    -------
    NDArray
        Mass per pixel [Msun/h], shape (n_scales, n_pixels, n_pixels).
    """
    maps = []
    for scale in range(n_scales):
        factor = oversampling * 2**scale
        window = periodic_window(dmo, centre, n_pixels * factor)
        maps.append(sum_blocks(window, factor) / np.float32(4**scale))
    return np.stack(maps)


def target_maps(hydro: Map, centre: tuple[int, int], n_pixels: int, oversampling: int) -> Map:
    """Mass per pixel of each channel in the field of view, shape (3, n_pixels, n_pixels)."""
    return sum_blocks(periodic_window(hydro, centre, n_pixels * oversampling), oversampling)


def _smoothed(groups: Iterable[Map], widths: Iterable[float]) -> Map:
    """Sum of the maps, each under a periodic Gaussian of its width [cells]."""
    maps = [
        gaussian_filter(group, width, mode="wrap", truncate=3.0) if width > 0 else group
        for group, width in zip(groups, widths, strict=True)
    ]
    total = maps[0]
    for other in maps[1:]:
        total += other
    return total
