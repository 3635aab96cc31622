"""What putting particles on a mesh does to its power: a window, and aliased shot noise."""

from __future__ import annotations

from typing import Literal

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_boxsize, check_finite

MassAssignment = Literal["NGP", "CIC", "TSC"]

#: Order p of the window W(k) = prod_i sinc(k_i cell_size / 2)^p (Hockney & Eastwood 1981).
_ORDERS: dict[MassAssignment, int] = {"NGP": 1, "CIC": 2, "TSC": 3}


def axis_factors(
    cycles: FloatArray, mass_assignment: MassAssignment | None
) -> tuple[FloatArray, FloatArray]:
    """Factors of one axis: the squared window, and shot noise on the mesh over white shot noise.

    Both are the products of their factors over the axes. The aliased shot noise is that of Jing
    (2005, ApJ 620, 559, eqs. 19-21).

    Parameters
    ----------
    cycles
        k cell_size / (2 pi), between -1/2 and 1/2, shape (n,).
    mass_assignment
        How particles were put on the mesh; None for neither window nor aliasing.

    Returns
    -------
    tuple
        Two arrays of shape (n,).
    """
    one = np.ones(len(cycles))
    if mass_assignment is None:
        return one, one
    s = np.sin(np.pi * cycles) ** 2
    noise = {"NGP": one, "CIC": 1 - 2 / 3 * s, "TSC": 1 - s + 2 / 15 * s**2}[mass_assignment]
    return np.sinc(cycles) ** (2 * _ORDERS[mass_assignment]), noise


def poisson_shot_noise(masses: FloatArray, boxsize: float, n_axes: Literal[2, 3]) -> float:
    """White power of discrete particles, V sum(m^2) / sum(m)^2: V / N for N equal masses.

    Parameters
    ----------
    masses
        Mass of each particle [Msun/h], any shape.
    boxsize
        Side of the box or map [Mpc/h].
    n_axes
        3 for a box, 2 for a map: V = boxsize^n_axes.

    Returns
    -------
    float
        [(Mpc/h)^n_axes], the ``shot_noise`` of `power_spectrum_2d` and `power_spectrum_3d`.

    Raises
    ------
    DataError
        If a mass is NaN, or there is no mass.
    """
    masses = np.asarray(masses, np.float64)
    check_boxsize(boxsize)
    check_finite(masses, "masses")
    total = masses.sum()
    if not total > 0:
        raise DataError(f"{masses.size} particles hold no mass: there is no shot noise to subtract")
    return float(boxsize**n_axes * (masses**2).sum() / total**2)


def check_options(mass_assignment: str | None, shot_noise: float) -> None:
    """Raise a `DataError` if an option of a power spectrum has no meaning."""
    if mass_assignment is not None and mass_assignment not in _ORDERS:
        raise DataError(
            f"mass_assignment {mass_assignment!r} is unknown, expected None or one of "
            f"{', '.join(_ORDERS)}"
        )
    if not 0 <= shot_noise < np.inf:
        raise DataError(
            f"shot_noise must not be negative [(Mpc/h)^2 or (Mpc/h)^3], found {shot_noise}"
        )
