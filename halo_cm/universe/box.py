"""One box from its seed to its cutout file: gravity, haloes, baryons, maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from halo_cm.config.universe import PARAMETER_NAMES, UniverseConfig
from halo_cm.containers import Cutouts, Geometry
from halo_cm.data.cutouts import CutoutWriter, software_versions
from halo_cm.errors import DataError
from halo_cm.seeding import generator
from halo_cm.units import CHANNELS
from halo_cm.universe.baryons import BaryonModel, HydroDraw
from halo_cm.universe.cosmology import linear_power
from halo_cm.universe.design import BoxPlan, plan_box
from halo_cm.universe.haloes import find_haloes, haloes_with_nfw, particle_tree
from halo_cm.universe.initial_conditions import (
    density_modes,
    initial_particles,
    largest_wavenumber,
)
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.maps import Projector, context_maps, target_maps
from halo_cm.universe.matter import Matter, arrange_matter, particle_mass
from halo_cm.universe.particle_mesh import ParticleMesh, evolve
from halo_cm.universe.sharpening import sharpen

Report = Callable[[], None]

#: Runs of haloes that a message lists.
_MOST_RUNS = 8


def _ignore() -> None:
    """Progress that nobody asked for."""


def n_gravity_reports(config: UniverseConfig) -> int:
    """How often `Box.simulate` reports progress: time steps, haloes."""
    return config.n_steps + 1


def n_reports(config: UniverseConfig, box: int) -> int:
    """How often `simulate_box` reports progress: gravity, then draws."""
    n_draws = len(plan_box(config, box).draws)
    return n_gravity_reports(config) + n_draws * config.n_realizations(box)


def geometry(config: UniverseConfig) -> Geometry:
    """Geometry of the cutouts, with their provenance.

    ``fingerprint`` tells files of equal content, ``universe_fingerprint`` the universe that any
    file of its cutouts comes from.
    """
    provenance: dict[str, str | int | float] = {
        "preset": config.preset,
        "seed": config.seed,
        "fingerprint": config.fingerprint(),
        "universe_fingerprint": config.fingerprint(),
        "universe": config.model_dump_json(),
        **software_versions(),
    }
    return Geometry(
        boxsize=config.boxsize,
        scales=config.scales,
        depth=config.boxsize,
        n_pixels=config.n_pixels,
        parameter_names=PARAMETER_NAMES,
        omega_b=config.omega_b,
        provenance=provenance,
    )


class Box:
    """A box at redshift 0, ready for hydrodynamic draws.

    Parameters
    ----------
    config
        The universe.
    index
        Index of the box in it.
    matter
        Its sharpened particles and haloes.

    Attributes
    ----------
    plan
        Cosmology, and parameters of its draws.
    chosen
        Indices of the haloes that are cut out. Haloes are sorted by falling M80c and chosen by
        M200c, so that there may be gaps near the limit.
    """

    def __init__(self, config: UniverseConfig, index: int, matter: Matter) -> None:
        self.config, self.index, self.matter = config, index, matter
        self.plan: BoxPlan = plan_box(config, index)
        self.chosen = np.flatnonzero(matter.haloes.m200 >= config.min_halo_mass)
        self._conditions: dict[int, NDArray[np.float32]] = {}

    @classmethod
    def simulate(
        cls,
        config: UniverseConfig,
        index: int,
        cache: Path | None = None,
        report: Report = _ignore,
    ) -> Box:
        """Run gravity, find the haloes and sharpen them.

        Parameters
        ----------
        config, index
            The universe, and the box in it.
        cache
            Folder of linear power spectra.
        report
            Called `n_gravity_reports` times.

        Raises
        ------
        DataError
            If the box has no halo that is heavy enough.
        """
        plan = plan_box(config, index)
        box = cls(
            config,
            index,
            find_matter(config, plan, particles_today(config, plan, cache, report)),
        )
        report()
        if not len(box.chosen):
            cosmology = plan.cosmology
            raise DataError(
                f"box {index} (Omega_m = {cosmology.omega_m:.3f}, sigma_8 = "
                f"{cosmology.sigma_8:.3f}) has no halo above M200c = {config.min_halo_mass:.3g} "
                "Msun/h: lower min_halo_mass (to min_displaced_mass = "
                f"{config.min_displaced_mass:.3g} at least), or use a larger boxsize or more "
                "n_particles"
            )
        return box

    @cached_property
    def model(self) -> BaryonModel:
        """Draws hydrodynamic realizations of the box."""
        return BaryonModel(self.matter, self.config.baryons)

    @cached_property
    def projector(self) -> Projector:
        """Projects them into maps of the whole box."""
        return Projector(self.matter, self.config.n_map)

    def draw(self, parameters: Astrophysics, *words: int | str) -> HydroDraw:
        """One draw of the whole box; the same words (behind the seed) give the same draw."""
        return self.model.draw(parameters, self.config.seed, *words)

    def conditions(self, axis: int, haloes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Conditions of some haloes (Msun/h per pixel), shape (n, S, n_pixels, n_pixels).

        Raises
        ------
        DataError
            If a halo is not cut out.
        """
        self.check_chosen(haloes)
        config = self.config
        if axis not in self._conditions:
            dmo = self.projector.dmo[axis]
            layout = (config.n_pixels, config.n_scales, config.oversampling)
            maps = [context_maps(dmo, self._centre(h, axis), *layout) for h in self.chosen]
            self._conditions[axis] = np.array(maps, np.float32)
        return self._conditions[axis][np.searchsorted(self.chosen, haloes)]

    def targets(self, draw: HydroDraw, axis: int, haloes: Iterable[int]) -> NDArray[np.float32]:
        """Targets of some haloes (Msun/h per pixel), shape (n, 3, n_pixels, n_pixels).

        Raises
        ------
        DataError
            If a halo is not cut out.
        """
        haloes = list(haloes)
        self.check_chosen(haloes)
        n_pixels, side = self.config.n_pixels, self.config.oversampling
        hydro = self.projector.project(draw, axis)
        maps = [target_maps(hydro, self._centre(h, axis), n_pixels, side) for h in haloes]
        return np.array(maps, np.float32).reshape(-1, len(CHANNELS), n_pixels, n_pixels)

    def check_chosen(self, haloes: Sequence[int] | NDArray[np.integer]) -> None:
        """Raise a `DataError` if one of these haloes is not cut out."""
        wanted = np.asarray(haloes)
        unknown = wanted[~np.isin(wanted, self.chosen)]
        if unknown.size:
            raise DataError(
                f"box {self.index} has no cutout of halo {unknown.flat[0]}: its {len(self.chosen)} "
                f"haloes of at least M200c = {self.config.min_halo_mass:.3g} Msun/h are "
                f"{_in_words(self.chosen)}; take one of the variable 'halo' of a file of this box"
            )

    def parameters(self, draw: Astrophysics, haloes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Conditioning numbers of some haloes in the order of `PARAMETER_NAMES`, shape (n, 7)."""
        rows = np.empty((len(haloes), len(PARAMETER_NAMES)), np.float32)
        cosmology = self.plan.cosmology
        rows[:, :-1] = [cosmology.omega_m, cosmology.sigma_8, *astuple(draw)]
        rows[:, -1] = np.log10(self.matter.haloes.m200[haloes])
        return rows

    def cutouts(
        self,
        targets: NDArray[np.float32],
        haloes: NDArray[np.integer],
        axis: int,
        parameters: Astrophysics,
        draw: int,
    ) -> Cutouts:
        """Cutouts of some haloes; repeated draws of one halo are neighbouring rows.

        Parameters
        ----------
        targets
            Shape (R, n, 3, n_pixels, n_pixels).
        haloes
            Indices of the haloes, shape (n,).
        axis
            Axis of projection.
        parameters, draw
            Parameters of the draws, and the index of this parameter vector.
        """
        n_repeats, found = len(targets), self.matter.haloes
        halo = np.repeat(haloes, n_repeats)
        n = len(halo)
        return Cutouts(
            condition=np.repeat(self.conditions(axis, haloes), n_repeats, axis=0),
            target=np.moveaxis(targets, 0, 1).reshape(n, *targets.shape[2:]),
            parameters=self.parameters(parameters, halo),
            halo_mass=found.m200[halo].astype(np.float32),
            halo_radius=found.r200[halo].astype(np.float32),
            halo_position=found.position[halo].astype(np.float32),
            box=np.full(n, self.index),
            halo=halo,
            axis=np.full(n, axis),
            draw=np.full(n, draw),
            realization=np.tile(np.arange(n_repeats), len(haloes)),
            split=np.full(n, self.config.split_of(self.index)),
            geometry=geometry(self.config),
        )

    def _centre(self, halo: int, axis: int) -> tuple[int, int]:
        """Cell border at a halo's centre."""
        return self.projector.centre_cell(self.matter.haloes.position[halo], axis)


def _in_words(indices: NDArray[np.integer]) -> str:
    """Rising numbers as ``0 to 28, 30``: runs, of which the last ones may be counted only."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    words = [f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    rest = sum(len(run) for run in runs[_MOST_RUNS:])
    more = f" and {rest} more up to {indices[-1]}" if rest else ""
    return ", ".join(words[:_MOST_RUNS]) + more


def simulate_box(config: UniverseConfig, index: int, path: Path, report: Report = _ignore) -> None:
    """Simulate one box and write its cutouts.

    Parameters
    ----------
    config
        The universe.
    index
        Index of the box.
    path
        File of the box; its folder also keeps the linear power spectra.
    report
        Called `n_reports` times.

    Raises
    ------
    DataError
        If the box has no halo that is heavy enough.
    OutputError
        If the file cannot be written.
    """
    box = Box.simulate(config, index, path.parent, report)
    n_repeats, haloes = config.n_realizations(index), box.chosen
    n_rows = len(haloes) * config.n_projections * len(box.plan.draws) * n_repeats
    whole = geometry(config)
    fingerprint = f"{whole.provenance['fingerprint']}-box-{index}"  # not the file of all boxes
    part = replace(whole, provenance={**whole.provenance, "fingerprint": fingerprint})
    with CutoutWriter(path, part, n_rows) as writer:
        for j, parameters in enumerate(box.plan.draws):
            # axes change with the stream, so that draws of equal streams show the same projections
            axes = [(box.plan.streams[j] + i) % 3 for i in range(config.n_projections)]
            targets = []
            for r in range(n_repeats):
                draw = box.draw(parameters, *box.plan.words(j, r))
                targets.append([box.targets(draw, axis, haloes) for axis in axes])
                report()
            for i, axis in enumerate(axes):
                repeats = np.stack([maps[i] for maps in targets])
                writer.append(box.cutouts(repeats, haloes, axis, parameters, j))


def particles_today(
    config: UniverseConfig,
    plan: BoxPlan,
    cache: Path | None = None,
    report: Report = _ignore,
) -> NDArray[np.float32]:
    """Particles of a box under gravity alone, at redshift 0 [Mpc/h], shape (n^3, 3).

    Parameters
    ----------
    config
        The universe.
    plan
        Cosmology and phases of the box.
    cache
        Folder of linear power spectra.
    report
        Called after each time step.
    """
    n, cosmology = config.n_particles, plan.cosmology
    k, power = linear_power(cosmology, largest_wavenumber(n, config.boxsize), cache)
    rng = generator(config.seed, "box", plan.phases, "initial conditions")
    noise = rng.standard_normal((n, n, n), dtype=np.float32)
    modes = density_modes(noise, config.boxsize, k, power)
    start = 1 / (1 + config.initial_redshift)
    positions, momenta = initial_particles(modes, config.boxsize, start, cosmology.omega_m)
    del modes, noise
    steps = torch.linspace(start, 1.0, config.n_steps + 1, dtype=torch.float64)
    mesh = ParticleMesh(config.n_mesh, config.boxsize)
    evolve(positions, momenta, mesh, cosmology.omega_m, steps, on_step=report)
    return positions.numpy()


def find_matter(config: UniverseConfig, plan: BoxPlan, positions: NDArray[np.float32]) -> Matter:
    """Find the haloes of ``positions``, sharpen them, and arrange all for hydrodynamic draws."""
    boxsize, cosmology = config.boxsize, plan.cosmology
    mass = particle_mass(len(positions), cosmology.omega_m, boxsize)
    tree = particle_tree(positions, boxsize)
    centres, m80 = find_haloes(positions, tree, boxsize, mass, config.min_displaced_mass)
    scatter = generator(config.seed, "box", plan.phases, "concentration").normal(size=len(m80))
    factors = 10 ** (config.concentration_scatter * scatter)
    haloes = haloes_with_nfw(
        centres, m80, config.concentration, config.concentration_slope, factors
    )
    return arrange_matter(
        sharpen(positions, tree, boxsize, haloes),
        haloes,
        boxsize,
        cosmology.omega_m,
        cosmology.baryon_fraction,
        config.baryons.reach,
    )
