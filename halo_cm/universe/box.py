"""One box from its seed to its cutout file: gravity, haloes, baryons, maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple
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
from halo_cm.universe.baryons import BaryonModel
from halo_cm.universe.cosmology import Cosmology, linear_power, sobol_design
from halo_cm.universe.haloes import find_haloes, haloes_with_nfw, particle_tree
from halo_cm.universe.initial_conditions import density_modes, initial_particles
from halo_cm.universe.latents import Astrophysics
from halo_cm.universe.maps import Projector, context_maps, target_maps
from halo_cm.universe.matter import Matter, arrange_matter, particle_mass
from halo_cm.universe.particle_mesh import ParticleMesh, evolve
from halo_cm.universe.sharpening import sharpen

Report = Callable[[], None]


def cosmologies(config: UniverseConfig) -> list[Cosmology]:
    """Cosmology of each box: a Sobol design in Omega_m and sigma_8."""
    ranges = [config.omega_m, config.sigma_8]
    return [
        Cosmology(
            omega_m=float(omega_m),
            sigma_8=float(sigma_8),
            omega_b=config.omega_b,
            hubble=config.hubble,
            spectral_index=config.spectral_index,
        )
        for omega_m, sigma_8 in sobol_design(config.n_boxes, ranges, config.seed, "cosmology")
    ]


def astrophysics(config: UniverseConfig, box: int) -> list[Astrophysics]:
    """Parameter vectors of a box: its part of one Sobol design that spans all boxes."""
    log_a_star = (math.log(config.a_star[0]), math.log(config.a_star[1]))
    ranges = [config.log10_mc, config.theta_ej, log_a_star, config.s_scatter]
    first, last = box * config.n_draws, (box + 1) * config.n_draws
    points = sobol_design(last, ranges, config.seed, "astrophysics")[first:]
    return [
        Astrophysics(float(mc), float(ejection), math.exp(star), float(scatter))
        for mc, ejection, star, scatter in points
    ]


def n_reports(config: UniverseConfig, box: int) -> int:
    """How often `simulate_box` reports progress: time steps, haloes, draws."""
    return config.n_steps + 1 + config.n_draws * config.n_realizations(box)


def geometry(config: UniverseConfig) -> Geometry:
    """Geometry of the cutouts, with their provenance."""
    provenance: dict[str, str | int | float] = {
        "preset": config.preset,
        "seed": config.seed,
        "fingerprint": config.fingerprint(),
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


def simulate_box(
    config: UniverseConfig, box: int, path: Path, report: Report = lambda: None
) -> None:
    """Simulate one box and write its cutouts.

    Parameters
    ----------
    config
        The universe.
    box
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
    cosmology = cosmologies(config)[box]
    matter = matter_of_box(config, box, cosmology, path.parent, report)
    if not (matter.haloes.m200 >= config.min_halo_mass).any():
        raise DataError(
            f"box {box} (Omega_m = {cosmology.omega_m:.3f}, sigma_8 = {cosmology.sigma_8:.3f}) has "
            f"no halo above M200c = {config.min_halo_mass:.3g} Msun/h: lower min_halo_mass, or use "
            "a larger boxsize or more n_particles"
        )
    model = BaryonModel(matter, config.baryons)
    projector = Projector(matter, config.n_map)
    cutter = _Cutter(config, projector, geometry(config))
    n_repeats = config.n_realizations(box)
    n_rows = len(cutter.chosen) * config.n_projections * config.n_draws * n_repeats
    with CutoutWriter(path, cutter.geometry, n_rows) as writer:
        for j, parameters in enumerate(astrophysics(config, box)):
            axes = [(j + i) % 3 for i in range(config.n_projections)]
            hydro = []
            for r in range(n_repeats):
                draw = model.draw(parameters, config.seed, "box", box, "draw", j, "realization", r)
                hydro.append([projector.project(draw, axis) for axis in axes])
                report()
            values = [cosmology.omega_m, cosmology.sigma_8, *astuple(parameters)]
            for i, axis in enumerate(axes):
                writer.append(cutter.cut([maps[i] for maps in hydro], axis, values, box, j))


def matter_of_box(
    config: UniverseConfig,
    box: int,
    cosmology: Cosmology,
    cache: Path | None = None,
    report: Report = lambda: None,
) -> Matter:
    """Dark-matter-only box today, its haloes found and sharpened.

    Parameters
    ----------
    config
        The universe.
    box
        Index of the box.
    cosmology
        Its cosmology.
    cache
        Folder of linear power spectra.
    report
        Called after each time step and once at the end.
    """
    positions = particles_today(config, box, cosmology, cache, report)
    matter = find_matter(config, box, cosmology, positions)
    report()
    return matter


def particles_today(
    config: UniverseConfig,
    box: int,
    cosmology: Cosmology,
    cache: Path | None = None,
    report: Report = lambda: None,
) -> NDArray[np.float32]:
    """Particles of a box under gravity alone, at redshift 0 [Mpc/h], shape (n^3, 3).

    The parameters are those of `matter_of_box`.
    """
    n = config.n_particles
    # the largest wavenumber of the particle lattice is sqrt(3) times its Nyquist wavenumber
    k_max = 1.01 * math.sqrt(3) * math.pi * n / config.boxsize
    k, power = linear_power(cosmology, k_max, cache)
    rng = generator(config.seed, "box", box, "initial conditions")
    noise = rng.standard_normal((n, n, n), dtype=np.float32)
    modes = density_modes(noise, config.boxsize, k, power)
    start = 1 / (1 + config.initial_redshift)
    positions, momenta = initial_particles(modes, config.boxsize, start, cosmology.omega_m)
    del modes, noise
    steps = torch.linspace(start, 1.0, config.n_steps + 1, dtype=torch.float64)
    mesh = ParticleMesh(config.n_mesh, config.boxsize)
    evolve(positions, momenta, mesh, cosmology.omega_m, steps, on_step=report)
    return positions.numpy()


def find_matter(
    config: UniverseConfig, box: int, cosmology: Cosmology, positions: NDArray[np.float32]
) -> Matter:
    """Find the haloes of ``positions``, sharpen them, and arrange all for hydrodynamic draws."""
    boxsize = config.boxsize
    mass = particle_mass(len(positions), cosmology.omega_m, boxsize)
    tree = particle_tree(positions, boxsize)
    centres, m80 = find_haloes(positions, tree, boxsize, mass, config.min_displaced_mass)
    scatter = generator(config.seed, "box", box, "concentration").normal(size=len(m80))
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


class _Cutter:
    """Cuts windows around the chosen haloes of a box; conditions are cut only once."""

    def __init__(self, config: UniverseConfig, projector: Projector, geometry: Geometry) -> None:
        self.config, self.projector, self.geometry = config, projector, geometry
        self.haloes = projector.matter.haloes
        self.chosen = np.flatnonzero(self.haloes.m200 >= config.min_halo_mass)
        self._conditions: dict[int, NDArray[np.float32]] = {}

    def centre(self, halo: int, axis: int) -> tuple[int, int]:
        """Cell border at a halo's centre."""
        return self.projector.centre_cell(self.haloes.position[halo], axis)

    def conditions(self, axis: int) -> NDArray[np.float32]:
        """Conditions of all chosen haloes, shape (H, S, n_pixels, n_pixels)."""
        config = self.config
        if axis not in self._conditions:
            maps = [
                context_maps(
                    self.projector.dmo[axis],
                    self.centre(h, axis),
                    config.n_pixels,
                    config.n_scales,
                    config.oversampling,
                )
                for h in self.chosen
            ]
            shape = (len(maps), config.n_scales, config.n_pixels, config.n_pixels)
            self._conditions[axis] = np.array(maps, np.float32).reshape(shape)
        return self._conditions[axis]

    def targets(self, hydro: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Targets of all chosen haloes, shape (H, 3, n_pixels, n_pixels)."""
        n_pixels, side = self.config.n_pixels, self.config.oversampling
        maps = [target_maps(hydro, self.centre(h, axis), n_pixels, side) for h in self.chosen]
        return np.array(maps, np.float32).reshape(-1, len(CHANNELS), n_pixels, n_pixels)

    def cut(
        self,
        hydro: list[NDArray[np.float32]],
        axis: int,
        parameters: list[float],
        box: int,
        draw: int,
    ) -> Cutouts:
        """Cutouts of all chosen haloes; repeated draws of one halo are neighbouring rows."""
        n_repeats = len(hydro)
        halo = np.repeat(self.chosen, n_repeats)
        n, mass = len(halo), self.haloes.m200[halo]
        rows = np.empty((n, len(PARAMETER_NAMES)), np.float32)
        rows[:, :-1] = parameters
        rows[:, -1] = np.log10(mass)
        target = np.stack([self.targets(maps, axis) for maps in hydro], axis=1)
        return Cutouts(
            condition=np.repeat(self.conditions(axis), n_repeats, axis=0),
            target=target.reshape(n, *target.shape[2:]),
            parameters=rows,
            halo_mass=mass.astype(np.float32),
            halo_radius=self.haloes.r200[halo].astype(np.float32),
            halo_position=self.haloes.position[halo].astype(np.float32),
            box=np.full(n, box),
            halo=halo,
            axis=np.full(n, axis),
            draw=np.full(n, draw),
            realization=np.tile(np.arange(n_repeats), len(self.chosen)),
            split=np.full(n, self.config.split_of(box)),
            geometry=self.geometry,
        )
