"""Differentiable features of fields that the energy score compares (torch; B fields, C channels).

Each returns vectors along the last axis; the score takes the norm of each vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, reduce
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

Feature = Callable[[Tensor], Tensor]

#: What keeps logs finite: mass of an empty aperture [Msun/h], its share of occupied pixels, power
#: without structure, and mean prominence of a field without peaks.
MASS_FLOOR, SHARE_FLOOR, POWER_FLOOR, PROMINENCE_FLOOR = 1e8, 0.01, 1e-3, 1e-4


def pixels(x: Tensor) -> Tensor:
    """Every pixel alone, shape (B, C, H, W, 1): the score is then the CRPS."""
    return x.unsqueeze(-1)


def patches(coarsen: int, width: int) -> Feature:
    """Overlapping square patches of all channels, (B, n_patches, C width^2), scaled to unit size.

    Parameters
    ----------
    coarsen
        Pixels averaged before; the mean is multiplied by ``coarsen``, which keeps white noise at
        its amplitude.
    width
        Side of a patch [coarse pixels]; patches overlap by half.
    """

    def feature(x: Tensor) -> Tensor:
        if coarsen > 1:
            x = functional.avg_pool2d(x, coarsen) * coarsen
        stride = width // 2 if x.shape[-1] > width else width
        folded = functional.unfold(x, width, stride=stride).transpose(1, 2)
        return folded / math.sqrt(folded.shape[-1])

    return feature


def logs(amounts: Feature, floor: float) -> Feature:
    """Log of each amount, a vector of its own: (..., n) -> (..., n, 1)."""
    return lambda x: (amounts(x) + floor).log().unsqueeze(-1)


def pooled(amounts: Feature, floor: float) -> Feature:
    """Log of the mean over the batch, (1, ..., n, 1).

    Mean power and mean mass, which a model is judged by, are carried by a few haloes. Logs of
    single haloes give these no more weight than the others.
    """
    return logs(lambda x: amounts(x).mean(0, keepdim=True), floor)


def band_powers(*, contrast: bool) -> Feature:
    """Log power in rings of integer wavenumber below Nyquist, (B, C, n_rings, 1)."""
    return logs(powers(contrast=contrast), POWER_FLOOR)


def apertures(mass: Tensor) -> Tensor:
    """Log mass in centred squares, (B, C, 4, 1)."""
    return logs(masses, MASS_FLOOR)(mass)


def powers(*, contrast: bool) -> Feature:
    """Power in rings of integer wavenumber below Nyquist, (B, C, n_rings).

    Apodised as `halo_cm.statistics.power` does it: the mean that is subtracted is weighted by the
    window.

    Parameters
    ----------
    contrast
        Take the power of the overdensity (mass maps) rather than of the field itself.
    """

    def feature(x: Tensor) -> Tensor:
        weights = _rings(x.shape[-1])[0].to(x.device)
        scale = x.mean((-1, -2), keepdim=True).clamp(min=1e-30) if contrast else 1.0
        x = (x - (x * weights).sum((-1, -2), keepdim=True) / weights.sum()) / scale
        return _ring_power(x)

    return feature


def masses(mass: Tensor) -> Tensor:
    """Mass in centred squares of 1/8, 1/4, 1/2 and all of the width, (B, C, 4)."""
    return torch.stack([part.sum((-1, -2)) for part in _squares(mass)], -1)


def shares(occupied: Tensor) -> Tensor:
    """Mean of an indicator of pixels over the same squares, (B, C, 4)."""
    return torch.stack([part.mean((-1, -2)) for part in _squares(occupied)], -1)


def prominences(x: Tensor) -> Tensor:
    """How far peaks stand above the highest of their eight neighbours, (B, C).

    The mean over all pixels but those of the edge, where a pixel that is no peak counts 0. Pixels
    that are bright alone, as speckles, stand far above; galaxies reach into their neighbours.
    """
    height, width = x.shape[-2:]
    neighbours = [
        x[..., 1 + i : height - 1 + i, 1 + j : width - 1 + j]
        for i, j in product((-1, 0, 1), repeat=2)
        if (i, j) != (0, 0)
    ]
    excess = x[..., 1:-1, 1:-1] - reduce(torch.maximum, neighbours)
    return excess.relu().mean((-1, -2))


def with_total(mass: Tensor) -> Tensor:
    """Append the total mass as one more channel."""
    return torch.cat([mass, mass.sum(1, keepdim=True)], 1)


def _squares(x: Tensor) -> list[Tensor]:
    half = x.shape[-1] // 2
    widths = (max(half // 8, 1), max(half // 4, 1), max(half // 2, 1), half)
    return [x[..., half - w : half + w, half - w : half + w] for w in widths]


def _ring_power(x: Tensor) -> Tensor:
    """Mean squared Fourier amplitude of apodised fields in rings, (B, C, n // 2 - 1).

    Divided by what white noise without its mean keeps, so that it is level in all rings.
    """
    window, mix = _rings(x.shape[-1])
    window, mix = window.to(x.device), mix.to(x.device)
    power = torch.fft.rfft2(x * window).abs().square()
    return power.flatten(-2) @ mix


@cache
def _rings(n: int) -> tuple[Tensor, Tensor]:
    """Hann window (n, n) and the matrix (n (n // 2 + 1), n // 2 - 1) that averages over rings."""
    hann = torch.hann_window(n + 2, periodic=False)[1:-1]
    frequency = torch.fft.fftfreq(n) * n
    half = torch.fft.rfftfreq(n) * n
    ring = torch.hypot(frequency[:, None], half[None]).round().long()
    # modes of the half plane stand for their mirror images too, except on its edges
    weight = torch.full(ring.shape, 2.0)
    weight[:, 0] = 1.0
    if n % 2 == 0:
        weight[:, -1] = 1.0
    matrix = torch.stack([(ring == k) * weight for k in range(1, n // 2)], -1).flatten(0, 1)
    window, matrix = hann[:, None] * hann[None], matrix / matrix.sum(0)
    first, second = torch.fft.rfft2(window), torch.fft.rfft2(window**2)
    share, total = first / first[0, 0], second[0, 0].real
    # the response of halo_cm.statistics.power over mean(w^2): 1 to 0.2% beyond the first ring
    kept = 1 - 2 * (share.conj() * second).real / total + share.abs().square()
    return window, matrix / (kept.flatten() @ matrix)
