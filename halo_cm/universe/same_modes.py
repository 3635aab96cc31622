"""P(k) of an independent code from the initial modes of the boxes of the preset default."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halo_cm.universe.expectations import BoxTheory

Array = NDArray[np.float64]

#: Largest relative error of the power in the table beside that of JaxPM itself: of what 128^3
#: particles give over 64^3, from four boxes.
SAME_MODES_ERROR = 0.005
#: Relative differences up to which a box is one of the table, by column.
_SAME = {"boxsize": 1e-6, "omega_m": 1e-6, "sigma_8": 1e-6, "longest_waves": 1e-3}


def power_of_same_modes(theory: BoxTheory, k: Array) -> Array | None:
    """P(k) over halofit today that JaxPM gives for the initial modes of this box, shape (n,).

    Waves of a box couple in their own way, so that boxes of 50 Mpc/h scatter by a fifth below 1
    h/Mpc around what is expected of their cosmology and of the power of their modes. Another code
    that starts from the same modes has the same of it. It was run for boxes 0 to 31 of the preset
    default at seed 0 (``benchmarks/finite_box_power.py --reference``), which their cosmology and
    the power of their longest waves tell from others.

    Parameters
    ----------
    theory
        Linear theory of the box.
    k
        Wavenumbers [h/Mpc], shape (n,).

    Returns
    -------
    NDArray or None
        Means over the bands of the table; NaN beyond them. None for a box that JaxPM was not run
        for.
    """
    table = _table()
    row = next((row for row in table["boxes"] if _is_of(row, theory)), None)
    if row is None:
        return None
    values = np.array([np.nan, *row["power_over_halofit"], np.nan])
    return np.asarray(values[np.digitize(k, table["bands"])], float)


def identity(theory: BoxTheory) -> dict[str, Any]:
    """What tells the modes of a box from others: cosmology, and power of the longest waves."""
    return {
        "boxsize": theory.boxsize,
        "omega_m": round(theory.cosmology.omega_m, 8),
        "sigma_8": round(theory.cosmology.sigma_8, 8),
        "longest_waves": [float(f"{power:.4g}") for power in theory.box_power[:3]],
    }


def _is_of(row: dict[str, Any], theory: BoxTheory) -> bool:
    return all(
        np.allclose(value, row[name], rtol=_SAME[name], atol=0)
        for name, value in identity(theory).items()
    )


@cache
def _table() -> dict[str, Any]:
    source = resources.files("halo_cm.universe").joinpath("jaxpm.json")
    table: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return table
