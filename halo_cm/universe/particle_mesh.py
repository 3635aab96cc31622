"""Particle-mesh gravity with time steps that are exact for linear growth (FastPM)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from halo_cm.universe.cosmology import expansion_rate, growth_factor, growth_rate
from halo_cm.universe.initial_conditions import gradient_factors, wavenumbers

#: Particles per block: the block's indices and weights stay in the processor's cache.
_BLOCK = 1 << 15


def cloud_in_cell(
    positions: Tensor, n_mesh: int, boxsize: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """The mesh cells that share each particle (cloud in cell), one of the 2^d corners at a time.

    Cell centres lie at (i + 1/2) boxsize / n_mesh.

    Parameters
    ----------
    positions
        Positions in d dimensions [Mpc/h], shape (n, d).
    n_mesh
        Cells along each side.
    boxsize
        Side of the periodic box [Mpc/h].

    Yields
    ------
    index, weight
        Flat cell index and share of the particle, shape (n,) each.
    """
    scaled = positions.T * (n_mesh / boxsize) - 0.5
    floor = scaled.floor()
    share = scaled - floor
    lower = floor.to(torch.int32).remainder_(n_mesh)
    upper = torch.where(lower == n_mesh - 1, 0, lower + 1)
    sides = [
        ((low, 1 - part), (high, part)) for low, high, part in zip(lower, upper, share, strict=True)
    ]

    def corners(index: Tensor, weight: Tensor, axis: int) -> Iterator[tuple[Tensor, Tensor]]:
        if axis == len(sides):
            yield index, weight
            return
        for cell, part in sides[axis]:
            yield from corners(index * n_mesh + cell, weight * part, axis + 1)

    for cell, part in sides[0]:
        yield from corners(cell, part, 1)


def deposit(
    positions: Tensor, n_mesh: int, boxsize: float, weights: Tensor | None = None
) -> Tensor:
    """Particles (or their weights) per cell of a mesh, by cloud in cell.

    Parameters
    ----------
    positions
        Positions in d dimensions [Mpc/h], shape (n, d).
    n_mesh
        Cells along each side.
    boxsize
        Side of the periodic box [Mpc/h].
    weights
        Weight of each particle, shape (n,); one if not given.

    Returns
    -------
    Tensor
        Shape (n_mesh,) * d, float32.
    """
    n_dims = positions.shape[1]
    mesh = torch.zeros(n_mesh**n_dims)
    for start in range(0, len(positions), _BLOCK):
        block = slice(start, start + _BLOCK)
        for index, share in cloud_in_cell(positions[block], n_mesh, boxsize):
            mesh.index_add_(0, index, share if weights is None else share * weights[block])
    return mesh.view((n_mesh,) * n_dims)


def gather(vectors: Tensor, positions: Tensor, n_mesh: int, boxsize: float) -> Iterator[Tensor]:
    """Vectors of shape (n_mesh^3, 3) interpolated to the particles, block by block of positions."""
    for block in positions.split(_BLOCK):
        total = torch.zeros_like(block)
        for index, weight in cloud_in_cell(block, n_mesh, boxsize):
            total.addcmul_(vectors.index_select(0, index), weight[:, None])
        yield total


class ParticleMesh:
    """Gravity of equal particles in a periodic box.

    Parameters
    ----------
    n_mesh
        Cells along each side.
    boxsize
        Side of the box [Mpc/h].
    """

    def __init__(self, n_mesh: int, boxsize: float) -> None:
        self.n_mesh, self.boxsize = n_mesh, boxsize
        kx, ky, kz = wavenumbers(n_mesh, boxsize)
        self._kernel = -1.0 / (kx**2 + ky**2 + kz**2)
        self._kernel[0, 0, 0] = 0.0
        for k in (kx, ky, kz):  # one of the two CIC windows (deposit and gather) is undone
            self._kernel /= torch.special.sinc(k * (boxsize / n_mesh / (2 * math.pi))) ** 2
        self._gradient = gradient_factors(n_mesh, boxsize)
        self._force = torch.empty(n_mesh**3, 3)  # reused: fresh pages cost as much as a transform

    def force(self, positions: Tensor) -> Tensor:
        """-grad of the potential with laplace phi = overdensity, shape (n_mesh^3, 3) [Mpc/h].

        The array is overwritten by the next call.
        """
        n = self.n_mesh
        density = deposit(positions, n, self.boxsize)
        density *= n**3 / len(positions)
        potential = torch.fft.rfftn(density).mul_(self._kernel)
        del density
        for i, factor in enumerate(self._gradient):
            self._force[:, i] = torch.fft.irfftn(potential * -factor, s=(n, n, n)).view(-1)
        return self._force

    def kick(self, positions: Tensor, momenta: Tensor, factor: float) -> None:
        """Add ``factor`` times the force to the momenta, in place."""
        force = self.force(positions)
        blocks = momenta.split(_BLOCK)
        for block, value in zip(
            blocks, gather(force, positions, self.n_mesh, self.boxsize), strict=True
        ):
            block.add_(value, alpha=factor)


def step_factors(a0: float, a1: float, omega_m: float) -> tuple[float, float, float]:
    """Drift, kick and drift factors of one step, exact for linear growth.

    Feng et al. (2016, arXiv:1603.00476, eqs. 15-17), for a drift-kick-drift step whose force is
    taken at the middle: the momentum of a growing mode is p = G(a) psi, G = a^2 E f D.

    Parameters
    ----------
    a0, a1
        Scale factors at the ends of the step.
    omega_m
        Matter density today.
    """

    def momentum(a: float) -> float:
        rate = growth_rate(a, omega_m) * growth_factor(a, omega_m)
        return a**2 * expansion_rate(a, omega_m) * rate

    middle = 0.5 * (a0 + a1)
    d0, dm, d1 = (growth_factor(a, omega_m) for a in (a0, middle, a1))
    kick = (momentum(a1) - momentum(a0)) / dm
    return (dm - d0) / momentum(a0), kick, (d1 - dm) / momentum(a1)


def evolve(
    positions: Tensor,
    momenta: Tensor,
    mesh: ParticleMesh,
    omega_m: float,
    scale_factors: Tensor,
    *,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Move particles through the given scale factors, in place (drift-kick-drift).

    Parameters
    ----------
    positions, momenta
        Particles at the first scale factor, shape (n, 3) [Mpc/h]; momenta are a^2 dx/dt / H0.
    mesh
        The gravity solver.
    omega_m
        Matter density today.
    scale_factors
        Ends of the steps, rising, shape (n_steps + 1,).
    on_step
        Called after each step.
    """
    boxsize = mesh.boxsize
    ends = scale_factors.tolist()
    for a0, a1 in itertools.pairwise(ends):
        first, kick, second = step_factors(a0, a1, omega_m)
        positions.add_(momenta, alpha=first).remainder_(boxsize)
        mesh.kick(positions, momenta, kick)
        positions.add_(momenta, alpha=second).remainder_(boxsize)
        on_step()
    # float32 remainder may round up to the boxsize itself
    positions[positions >= boxsize] = 0.0
