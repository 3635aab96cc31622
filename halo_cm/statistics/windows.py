"""Apodisation of cutouts, whose opposite edges do not match, and what it does to white noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.fft import fft
from scipy.signal.windows import hann

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError

Window = Literal["hann"]


def window_profile(name: Window | None, n: int) -> FloatArray:
    """Weights along one axis, shape (n,); the window of a map is their product over its axes."""
    if name is None:
        return np.ones(n)
    if name == "hann":
        # without its two zeros at the ends, which would waste the outermost pixels
        return np.asarray(hann(n + 2)[1:-1])
    raise DataError(f"window {name!r} is unknown, expected None (periodic) or 'hann'")


def axis_transforms(profile: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Transforms of the weights and of their squares along one axis, each of shape (n,)."""
    return fft(profile), fft(profile**2)


def response(
    first: FloatArray, second: FloatArray, at_zero: tuple[float, float], n_cells: int
) -> FloatArray:
    """Power of windowed white noise of variance 1 without its mean, over ``n_cells``, at each mode.

    Parameters
    ----------
    first, second
        Transforms W of the window and V of its square, equal shapes.
    at_zero
        W(0) and V(0).
    n_cells
        Cells of the map or box.
    """
    share, total = first / at_zero[0], at_zero[1]
    power = total - 2 * (np.conj(share) * second).real + total * np.abs(share) ** 2
    return np.asarray(power / n_cells)
