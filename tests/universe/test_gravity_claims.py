"""What the documentation says of gravity in real boxes, measured again (slow)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from halo_cm.config.universe import UniverseConfig
from halo_cm.seeding import generator
from halo_cm.statistics import PowerSpectrum3D, power_spectrum_3d
from halo_cm.universe import box as box_module
from halo_cm.universe.box import particles_today
from halo_cm.universe.cosmology import linear_power
from halo_cm.universe.design import plan_box
from halo_cm.universe.initial_conditions import (
    density_modes,
    initial_particles,
    largest_wavenumber,
    wavenumbers,
)
from halo_cm.universe.particle_mesh import ParticleMesh, deposit, evolve


class AliasFreeMesh(ParticleMesh):
    """A mesh whose force has neither window nor aliases of the particles' lattice.

    Twice as fine as the particles, without modes beyond their Nyquist wavenumber, and with both CIC
    windows undone.
    """

    def __init__(self, n_mesh: int, boxsize: float) -> None:
        super().__init__(n_mesh, boxsize)
        waves = wavenumbers(n_mesh, boxsize)
        for k in waves:
            self._kernel /= torch.special.sinc(k * (boxsize / n_mesh / (2 * math.pi))) ** 2
        size = (waves[0] ** 2 + waves[1] ** 2 + waves[2] ** 2).sqrt()
        self._kernel *= size < math.pi * n_mesh / 2 / boxsize


def _power(positions: NDArray[np.float32], boxsize: float, n_mesh: int) -> PowerSpectrum3D:
    mesh = deposit(torch.from_numpy(positions), n_mesh, boxsize).numpy()
    return power_spectrum_3d(mesh, boxsize, mass_assignment="CIC")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("index", [0, 2])
def test_small_waves_grow_slightly_too_little(index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes of 25 Mpc/h at the resolution of the preset default against the alias-free mesh.

    Boxes 0, 1, 2 and 4 gave 0.991-0.996 at 1.0, 0.984-0.993 at 1.3, 0.972-0.989 at 1.8 h/Mpc.
    """
    config = UniverseConfig.from_preset(
        "default", boxsize=25.0, n_particles=64, n_mesh=96, n_scales=3
    )
    plan = plan_box(config, index)
    ours = _power(particles_today(config, plan), 25.0, 128)
    monkeypatch.setattr(box_module, "ParticleMesh", AliasFreeMesh)
    fine = config.model_copy(update={"n_mesh": 128})
    reference = _power(particles_today(fine, plan), 25.0, 128)
    ratio = ours.power / reference.power
    assert np.abs(ratio[ours.k < 0.9] - 1).max() < 0.005
    assert np.abs(ratio[ours.k < 1.1] - 1).max() < 0.01
    assert np.abs(ratio[ours.k < 1.4] - 1).max() < 0.02
    # the deviation is there: 0.5% up to 1.3 h/Mpc would be too much to say
    assert 0.98 < ratio[(ours.k > 1.1) & (ours.k < 1.4)].min() < 0.995


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("index", [0, 1])
def test_missing_long_waves_lower_the_power(index: int) -> None:
    """Boxes of 200 Mpc/h with and without the waves that boxes of 50 Mpc/h cannot hold.

    Those are the modes of the cell around k = 0 of the reciprocal lattice of the small box. Boxes 0
    to 3 (sigma_8 of 0.74, 0.89, 0.81, 0.66) gave 0.960, 0.934, 0.922, 0.968 at 0.13-0.5 h/Mpc and
    0.945, 0.899, 0.964, 0.956 at 0.5-1 h/Mpc.
    """
    n, n_mesh, boxsize = 96, 144, 200.0
    config = UniverseConfig.from_preset(
        "default", boxsize=boxsize, n_particles=n, n_mesh=n_mesh, field_of_view=25.0
    )
    plan = plan_box(config, index)
    omega_m = plan.cosmology.omega_m
    k, power = linear_power(plan.cosmology, largest_wavenumber(n, boxsize))
    rng = generator(config.seed, "box", plan.phases, "initial conditions")
    modes = density_modes(rng.standard_normal((n,) * 3, dtype=np.float32), boxsize, k, power)
    kx, ky, kz = (wave.abs() < math.pi / 50 for wave in wavenumbers(n, boxsize))
    found = []
    for field in (modes, torch.where(kx & ky & kz, 0, modes)):
        positions, momenta = initial_particles(field, boxsize, 0.05, omega_m)
        steps = torch.linspace(0.05, 1.0, config.n_steps + 1, dtype=torch.float64)
        evolve(positions, momenta, ParticleMesh(n_mesh, boxsize), omega_m, steps)
        found.append(_power(positions.numpy(), boxsize, n_mesh))
    ratio = found[1].power / found[0].power
    for low, high in ((0.126, 0.5), (0.5, 1.0)):
        band = (found[0].k >= low) & (found[0].k < high)
        mean = np.average(ratio[band], weights=found[0].n_modes[band])
        assert 0.88 < mean < 0.98
