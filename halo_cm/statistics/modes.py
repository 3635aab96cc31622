"""Fourier modes of the overdensities of many maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.fft import rfft2

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.checks import check_boxsize, check_maps
from halo_cm.statistics.windows import Window, window_profile

Empty = Literal["raise", "zero"]

#: Pixels that are transformed at once: bounds the memory, whatever the number of maps, and lets the
#: steps of a part find it in the cache of a core, which halves the time of many small maps.
_PIXELS_AT_ONCE = 2**17


class OverdensityModes:
    """Modes of w delta of M maps of n x n pixels, made a few maps at a time.

    ``modes[i:j]`` has shape (j - i, n, n // 2 + 1): the half plane that rfft2 keeps. A constant map
    has modes of exactly zero, not of rounding noise, so that it is told apart from one with
    structure.
    """

    def __init__(
        self, maps: FloatArray, boxsize: float, window: Window | None, empty: Empty, name: str
    ) -> None:
        maps = np.asarray(maps)
        check_maps(maps, name, least=4)
        check_boxsize(boxsize)
        self.leading, self.n_pixels, self.boxsize = maps.shape[:-2], maps.shape[-1], boxsize
        self.maps = maps.reshape(-1, self.n_pixels, self.n_pixels)
        # in double precision
        self.mean = self.maps.mean((-2, -1), dtype=np.float64)
        self.window, self.subtracted = None, self.mean
        if window is not None:
            profile = window_profile(window, self.n_pixels)
            self.window = np.outer(profile, profile)
            weights = (self.window / self.window.sum()).ravel()
            rows = (m.reshape(-1).astype(np.float64) @ weights for m in self.maps)
            self.subtracted = np.array(list(rows))
        if empty == "raise" and not self.mean.all():
            raise DataError(
                f"{name}: {int((self.mean == 0).sum())} of {len(self.mean)} maps hold no mass, so "
                "that they have no overdensity; leave them out, or pass empty='zero' to give them "
                "no power"
            )
        constant = self.maps.max((-2, -1)) == self.maps.min((-2, -1))
        self.divisor = np.where(constant, np.inf, self.mean)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, which: slice) -> FloatArray:
        overdensity = self.maps[which] - self.subtracted[which, None, None]
        overdensity /= self.divisor[which, None, None]
        if self.window is not None:
            overdensity *= self.window
        modes: FloatArray = rfft2(overdensity, overwrite_x=True)
        return modes

    def parts(self) -> Iterator[slice]:
        """Slices that bound the memory together with `__getitem__`."""
        step = max(1, _PIXELS_AT_ONCE // self.n_pixels**2)
        for start in range(0, len(self), step):
            yield slice(start, start + step)


def mode_radius(n_pixels: int) -> tuple[FloatArray, FloatArray]:
    """Distance from the origin in units of 2 pi / boxsize, and modes of the plane that each holds.

    rfft2 drops the modes with negative column, which mirror those with positive column; columns 0
    and n / 2 are their own mirror images.

    Returns
    -------
    tuple
        Two arrays of shape (n, n // 2 + 1).
    """
    row, column = np.fft.fftfreq(n_pixels, 1 / n_pixels), np.arange(n_pixels // 2 + 1)
    radius = np.hypot(row[:, None], column)
    own_mirror = (column == 0) | (2 * column == n_pixels)
    return radius, np.broadcast_to(np.where(own_mirror, 1, 2), radius.shape)
