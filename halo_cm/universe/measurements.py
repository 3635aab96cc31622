"""What the gates compare: numbers measured in one box, in cutouts of a file, and of gravity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from halo_cm.config.universe import UniverseConfig
from halo_cm.data.cutouts import open_cutouts
from halo_cm.errors import DataError
from halo_cm.processes import Report
from halo_cm.seeding import generator
from halo_cm.universe.baryons import HydroDraw
from halo_cm.universe.box import Box, n_gravity_reports
from halo_cm.universe.box_power import LARGEST_K, BoxPower, noise_of_haloes
from halo_cm.universe.expectations import BoxTheory
from halo_cm.universe.haloes import periodic_difference
from halo_cm.universe.initial_conditions import (
    initial_particles,
    lagrangian_displacements,
    wavenumbers,
)
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.matter import Matter
from halo_cm.universe.particle_mesh import ParticleMesh, evolve
from halo_cm.universe.same_modes import power_of_same_modes

Array = NDArray[np.float64]

#: Borders of halo masses M200c [Msun/h]; the last is beyond all haloes.
MASS_EDGES = (1e13, 2e13, 5e13, 1e14, 2.9e15)
#: Radii at which halo profiles are measured [R200c].
RADII = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0)
#: Feedback strengths log10 Mc of the draws, at fixed other parameters.
STRENGTHS = (12.0, 12.6, 13.2)
THETA_EJ, A_STAR, S_SCATTER = 4.0, 0.06, 1.0
#: Borders of the bands in k of the power and its suppression [h/Mpc].
POWER_BANDS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 14.0, 25.0)
SUPPRESSION_BANDS = (0.3, 0.7, 1.5, 3.0, 6.0, 10.0, 16.0, LARGEST_K)
#: Narrower bins for curves [h/Mpc].
FINE_BANDS: tuple[float, ...] = tuple(np.geomspace(0.1, LARGEST_K, 25).tolist())
#: Stars are compared in pixels of these widths [Mpc/h] (64 and 32 pixels of a CAMELS cutout).
STAR_CELLS = (6.25 / 64, 6.25 / 32)
#: Mass of an occupied pixel [Msun/h].
OCCUPIED = 1e6
#: Haloes like that of the CAMELS pair, of about 2e13 Msun/h: most massive one compared.
STAR_HALOES = 3e13

#: Growth: particles along each side, rms displacement today [particle spacings], and shells of
#: modes, in waves per box.
_GROWTH_PARTICLES, _GROWTH_AMPLITUDE, _GROWTH_SHELLS = 128, 0.01, 16
#: Rows of a file that are read: this many blocks of so many.
_BLOCKS, _BLOCK_ROWS = 32, 128


@dataclass(frozen=True)
class GravityMeasurement:
    """Dark matter of one box (H haloes of cutouts).

    Attributes
    ----------
    counts
        Haloes in `MASS_EDGES`: found, of Tinker08, and of Tinker08 for the modes of the box,
        shape (3, 4).
    power, fine_power
        P over halofit in `POWER_BANDS` and `FINE_BANDS`: measured less the noise of haloes'
        particles, expected of the box, of linear theory, and of the halo model with the coupling
        of waves in such boxes, which is the expectation where another code does not say it, shape
        (4, n_bands).
    longest
        Wavenumber [h/Mpc] of the longest modes, P over the power of the initial modes, and what
        perturbation theory expects of this.
    profiles
        M(<x R200c) / M200c of each halo at `RADII`, shape (H, n_radii).
    from_same_modes
        Whether the power expected up to 1 h/Mpc is that of another code from the same modes.
    """

    counts: Array
    power: Array
    fine_power: Array
    longest: Array
    profiles: Array
    from_same_modes: bool = False


@dataclass(frozen=True)
class BoxMeasurement:
    """One box with draws (H haloes of cutouts, D draws).

    Attributes
    ----------
    gravity
        Its dark matter.
    baryon_fraction
        Omega_b / Omega_m.
    suppression, fine_suppression
        P_hydro / P_dmo for each of `STRENGTHS`, shape (3, n_bands).
    haloes
        M200c [Msun/h], and gas over Omega_b / Omega_m M200c and stars over M200c inside R200c at
        the middle strength, shape (3, H). Mass and radius are those of the DMO halo.
    conservation
        Hydro mass / DMO mass - 1 and baryon mass / (Omega_b / Omega_m) / mass - 1, shape (2, D).
    """

    gravity: GravityMeasurement
    baryon_fraction: float
    suppression: Array
    fine_suppression: Array
    haloes: Array
    conservation: Array


@dataclass(frozen=True)
class CutoutMeasurement:
    """Cutouts of a file.

    Attributes
    ----------
    n_rows
        Number of cutouts that were read.
    mass_ratio
        Sum of hydro over sum of DMO mass of each, shape (n_rows,).
    stars
        For each of `STAR_CELLS`: fraction of pixels above `OCCUPIED`, of pixels above zero, and
        mean log10 mass of the latter [Msun/h], NaN where there are none.
    stars_unjudged
        For each of `STAR_CELLS`: why the file holds nothing to compare; empty if it does.
    """

    n_rows: int
    mass_ratio: Array
    stars: Array
    stars_unjudged: tuple[str, ...] = ("",) * len(STAR_CELLS)


def n_reports(config: UniverseConfig) -> int:
    """How often `measure_box` reports progress."""
    return n_gravity_only_reports(config) + len(STRENGTHS)


def n_gravity_only_reports(config: UniverseConfig) -> int:
    """How often `measure_gravity` reports progress."""
    return n_gravity_reports(config) + 1


def measure_gravity(config: UniverseConfig, index: int, report: Report) -> GravityMeasurement:
    """Simulate one box of a universe and measure its dark matter, without draws."""
    box = Box.simulate(config, index, report=report)
    found = _gravity(box, _dmo_power(box))
    report()
    return found


def measure_box(config: UniverseConfig, index: int, report: Report) -> BoxMeasurement:
    """Simulate one box of a universe, draw from it and measure it."""
    box = Box.simulate(config, index, report=report)
    matter, dmo = box.matter, _dmo_power(box)
    gravity = _gravity(box, dmo)
    report()
    hydro, conservation = [], []
    for strength in STRENGTHS:
        values = Astrophysics(strength, THETA_EJ, A_STAR, S_SCATTER)
        draw = box.draw(values, "check", index)
        hydro.append(BoxPower.of_parts(all_matter(draw, matter), matter).power / dmo.power)
        conservation.append(_conservation(draw, matter))
        if strength == STRENGTHS[1]:
            haloes = np.array([_contents(draw, box, h) for h in box.chosen]).T
        report()
    return BoxMeasurement(
        gravity=gravity,
        baryon_fraction=matter.baryon_fraction,
        suppression=dmo.averages(np.array(hydro), SUPPRESSION_BANDS),
        fine_suppression=dmo.averages(np.array(hydro), FINE_BANDS),
        haloes=haloes,
        conservation=np.array(conservation).T,
    )


def _dmo_power(box: Box) -> BoxPower:
    return BoxPower.of_parts([(box.matter.positions, box.matter.particle_mass)], box.matter)


def _gravity(box: Box, dmo: BoxPower) -> GravityMeasurement:
    """Counts, power and profiles of a box beside those that theory expects of it."""
    theory, matter = BoxTheory.of_box(box.config, box.plan), box.matter
    mass = matter.haloes.m200
    counts = [np.histogram(mass, MASS_EDGES)[0]]
    counts += [theory.counts(MASS_EDGES, of_box=of_box) for of_box in (False, True)]
    k = np.geomspace(dmo.k.min(), dmo.k.max(), 400)
    reference = np.interp(dmo.k, k, theory.halofit(k))
    noise = np.interp(dmo.k, k, noise_of_haloes(matter, k))
    of_theory = np.interp(dmo.k, k, theory.finite_box_factor(k, box.config))
    of_theory *= theory.coupling(dmo.k)
    same_modes = power_of_same_modes(theory, dmo.k)
    known = np.full(len(dmo.k), np.nan) if same_modes is None else same_modes
    ratios = np.stack(
        [
            (dmo.power - noise) / reference,
            np.where(np.isfinite(known), known, of_theory),
            theory.linear(dmo.k) / reference,
            of_theory,
        ]
    )
    inside = [
        [matter.neighbourhoods[h].count_within(x) * matter.particle_mass / mass[h] for x in RADII]
        for h in box.chosen
    ]
    return GravityMeasurement(
        counts=np.array(counts, float),
        power=dmo.averages(ratios, POWER_BANDS),
        fine_power=dmo.averages(ratios, FINE_BANDS),
        longest=np.array(
            [
                dmo.k[0],
                dmo.power[0] / theory.linear_of_box(dmo.k[:1])[0],
                theory.coupling_of_longest(dmo.k[:1])[0],
            ]
        ),
        profiles=np.array(inside),
        from_same_modes=same_modes is not None,
    )


def all_matter(
    draw: HydroDraw, matter: Matter
) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | float]]:
    """Positions [Mpc/h] and masses [Msun/h] of every kind of particle of a draw."""
    dark = (1 - matter.baryon_fraction) * matter.particle_mass
    return [
        (draw.dm_positions, dark),
        (matter.positions[matter.n_moving :], dark + draw.field_gas_mass),
        (draw.gas_positions, draw.gas_masses),
        (draw.star_positions, draw.star_masses),
    ]


def _conservation(draw: HydroDraw, matter: Matter) -> tuple[float, float]:
    """Errors of the mass of a draw and of its baryons, relative to the DMO box."""
    fixed = matter.n_particles - matter.n_moving
    baryons = (
        draw.gas_masses.sum(dtype=np.float64)
        + draw.star_masses.sum(dtype=np.float64)
        + fixed * draw.field_gas_mass
    )
    n_dark = len(draw.dm_positions) + fixed
    dark = n_dark * (1 - matter.baryon_fraction) * matter.particle_mass
    total = matter.total_mass
    return (dark + baryons) / total - 1, baryons / (matter.baryon_fraction * total) - 1


def _contents(draw: HydroDraw, box: Box, halo: int) -> tuple[float, float, float]:
    """M200c of a halo, its gas over Omega_b / Omega_m M200c, and its stars over M200c."""
    matter = box.matter
    near, centre = matter.neighbourhoods[halo], matter.haloes.position[halo].astype(np.float32)

    def inside(positions: NDArray[np.float32]) -> NDArray[np.bool_]:
        offset = periodic_difference(positions - centre, matter.boxsize)
        return np.einsum("ij,ij->i", offset, offset) < matter.haloes.r200[halo] ** 2

    gas = draw.gas_masses[near.index][inside(draw.gas_positions[near.index])].sum()
    stars = draw.star_masses[inside(draw.star_positions)].sum()
    mass = float(matter.haloes.m200[halo])
    return mass, float(gas) / (matter.baryon_fraction * mass), float(stars) / mass


def measure_growth(config: UniverseConfig, report: Report) -> Array:
    """Growth of linear modes in a run of tiny amplitude, over that of linear theory.

    The same steps, box and ratio of mesh cells to particles, with at most 128 particles a side, at
    the middle of the range of Omega_m. Short waves grow too little, because a lattice that is still
    whole is aliased by a mesh that is 1.5 times finer. In a real box small waves dissolve it, but
    not at once: `gravity_gates.growth_topic` quotes what is left.

    Returns
    -------
    NDArray
        Waves per box, and the growth of the modes around that number, over linear theory, shape
        (2, n).
    """
    n = min(config.n_particles, _GROWTH_PARTICLES)
    n_mesh = round(n * config.n_mesh / config.n_particles)
    omega_m, boxsize = sum(config.omega_m) / 2, config.boxsize
    noise = generator(config.seed, "check", "growth").standard_normal((n, n, n), dtype=np.float32)
    size = torch.stack(torch.broadcast_tensors(*wavenumbers(n, boxsize))).norm(dim=0)
    size *= boxsize / (2 * math.pi)
    n_shells = min(_GROWTH_SHELLS, n // 4)
    # displacements ~ k^-1 of white density: all shells count alike; no waves shorter than judged
    modes = torch.where(size < n_shells + 0.5, torch.fft.rfftn(torch.from_numpy(noise)), 0)
    modes[0, 0, 0] = 0
    first = lagrangian_displacements(modes, boxsize)[0]
    modes *= _GROWTH_AMPLITUDE * boxsize / n / float(first.square().sum(-1).mean().sqrt())
    start = 1 / (1 + config.initial_redshift)
    positions, momenta = initial_particles(modes, boxsize, start, omega_m)
    psi = lagrangian_displacements(modes, boxsize)[0]
    steps = torch.linspace(start, 1.0, config.n_steps + 1, dtype=torch.float64)
    evolve(positions, momenta, ParticleMesh(n_mesh, boxsize), omega_m, steps, on_step=report)
    sites = (torch.arange(n) + 0.5) * (boxsize / n)
    lattice = torch.stack(torch.meshgrid(sites, sites, sites, indexing="ij"), -1)
    moved = positions.view(n, n, n, 3) - lattice
    moved -= boxsize * torch.round(moved / boxsize)
    initial, final = (torch.fft.rfftn(field, dim=(0, 1, 2)) for field in (psi, moved))
    shell = size.round().int().view(-1).numpy()
    product = (final * initial.conj()).real.sum(-1).view(-1).numpy()
    square = initial.abs().square().sum(-1).view(-1).numpy()
    which = range(1, n_shells + 1)
    growth = [product[shell == i].sum() / square[shell == i].sum() for i in which]
    return np.array([list(which), growth])


def measure_cutouts(path: str | PathLike[str]) -> CutoutMeasurement:
    """Conservation of mass and star pixels in cutouts spread over a file.

    Raises
    ------
    DataError
        If the file is damaged or has no hydrodynamic fields.
    """
    ratios, stars = [], []
    with open_cutouts(path) as file:
        cell_size, n = file.geometry.cell_size, len(file)
        starts = np.unique(np.linspace(0, max(n - _BLOCK_ROWS, 0), _BLOCKS).astype(int))
        stop = 0
        for start in starts.tolist():
            rows = slice(max(start, stop), min(start + _BLOCK_ROWS, n))
            stop = rows.stop
            cutouts = file.read(rows)
            if cutouts.target is None:
                raise DataError(
                    f"{path}: has no variable 'target', only DMO maps: the check needs "
                    "hydrodynamic fields; make a file with `halo-cm simulate`"
                )
            dmo = cutouts.condition[:, 0].sum((-2, -1), dtype=np.float64)
            ratios.append(cutouts.target.sum((-3, -2, -1), dtype=np.float64) / dmo)
            stars.append(cutouts.target[cutouts.halo_mass < STAR_HALOES, -1])
    ratio, maps = np.concatenate(ratios), np.concatenate(stars)
    statistics = [star_statistics(maps, cell_size, width) for width in STAR_CELLS]
    reasons = tuple(_not_comparable(maps, cell_size, width) for width in STAR_CELLS)
    return CutoutMeasurement(len(ratio), ratio, np.array(statistics), reasons)


def star_statistics(
    maps: NDArray[np.float32], cell_size: float, width: float
) -> tuple[float, float, float]:
    """Star pixels of a given width.

    Parameters
    ----------
    maps
        Stellar mass per pixel [Msun/h], shape (N, n, n).
    cell_size
        Width of a pixel [Mpc/h].
    width
        Width of the pixels in which stars are counted [Mpc/h].

    Returns
    -------
    tuple
        Fraction of pixels above `OCCUPIED`, fraction above zero, mean log10 mass of the latter, NaN
        if no pixel holds stars; all NaN if there are no maps or `_not_comparable` says why.
    """
    if _not_comparable(maps, cell_size, width):
        return math.nan, math.nan, math.nan
    factor = round(width / cell_size)
    n = maps.shape[-1] // factor
    coarse = maps.reshape(len(maps), n, factor, n, factor).sum((2, 4))
    filled = coarse[coarse > 0]
    return (
        float((coarse > OCCUPIED).mean()),
        filled.size / coarse.size,
        float(np.log10(filled).mean()) if len(filled) else math.nan,
    )


def _not_comparable(maps: NDArray[np.float32], cell_size: float, width: float) -> str:
    """Why star pixels of a width cannot be measured in ``maps``; empty if they can."""
    factor = round(width / cell_size)
    if factor < 1 or abs(factor * cell_size / width - 1) > 0.01 or maps.shape[-1] % factor:
        return f"pixels of {1000 * cell_size:.0f} kpc/h do not sum to this width"
    return "" if len(maps) else f"no haloes below {STAR_HALOES:.0e} Msun/h to compare"
