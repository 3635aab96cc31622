"""The simplest prediction: the input copied, scaled by mean mass fractions."""

from __future__ import annotations

import numpy as np

from halo_cm.benchmark.rows import Row
from halo_cm.containers import Cutouts, FloatArray
from halo_cm.errors import DataError


def stellar_fraction(training: Cutouts) -> float:
    """Mean stellar mass over mean DMO mass of the cutouts, f_star.

    Raises
    ------
    DataError
        If the cutouts have no target.
    """
    if training.target is None:
        raise DataError("the mean stellar fraction needs training cutouts with a target")
    star = training.target[:, training.geometry.channels.index("star")]
    dmo = training.condition[:, 0]
    return float(star.sum(dtype=np.float64) / dmo.sum(dtype=np.float64))


def copied_input(f_star: float) -> Row:
    """Floor that copies the DMO mass m: (1 - f_b) m, (f_b - f_star) m and f_star m.

    f_b = Omega_b / Omega_m of each cutout; ``f_star`` is that of the training split, from
    `stellar_fraction`.
    """

    def generate(cutouts: Cutouts, members: int, seed: int) -> FloatArray:
        geometry = cutouts.geometry
        if "Omega_m" not in geometry.parameter_names:
            raise DataError(
                "the copied input needs the baryon fraction Omega_b / Omega_m, but 'Omega_m' is "
                f"not among the parameters {', '.join(geometry.parameter_names)}"
            )
        omega_m = cutouts.parameters[:, geometry.parameter_names.index("Omega_m")]
        f_b = geometry.omega_b / omega_m
        if (f_b <= f_star).any():
            raise DataError(
                f"the mean stellar fraction {f_star:.4g} exceeds the baryon fraction "
                f"{f_b.min():.4g} of a cutout: check omega_b, Omega_m and the stellar masses"
            )
        by_channel = {"dm": 1 - f_b, "gas": f_b - f_star, "star": np.full_like(f_b, f_star)}
        share = np.stack([by_channel[name] for name in geometry.channels], axis=-1)
        copy: FloatArray = share[:, None, :, None, None] * cutouts.condition[:, None, :1]
        return np.repeat(copy, members, axis=1).astype(cutouts.condition.dtype)

    return Row("copied input", None, None, generate, kind="floor", scoring="deterministic")
