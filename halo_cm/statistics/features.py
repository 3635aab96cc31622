"""Numbers that summarise a halo's fields: logarithms of aperture masses and band powers."""

from __future__ import annotations

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.apertures import aperture_masses
from halo_cm.statistics.power import power_spectrum_2d

#: Added to aperture masses [Msun/h] and band powers [(Mpc/h)^2] to keep logarithms finite.
_LEAST_MASS, _LEAST_POWER = 1e8, 1e-6
#: Radii of the apertures as fractions of the width of the map.
_RADII = {"mass_1_16": 1 / 16, "mass_1_8": 1 / 8, "mass_1_4": 1 / 4}
#: Upper ends of adjacent bands of wavenumbers, as fractions of Nyquist; the lowest band of a small
#: map holds at least the fundamental mode.
_BANDS = {"power_0.10": 0.1, "power_0.25": 0.25, "power_0.50": 0.5, "power_1.00": 1.0}

#: Names of the last axis of `field_features`: masses within a fraction of the width and in the
#: whole map, and powers up to a fraction of the Nyquist wavenumber from the band below.
FEATURES = (*_RADII, "mass_map", *_BANDS)


def field_features(maps: FloatArray, boxsize: float) -> FloatArray:
    """Logarithms (base 10) of aperture masses and apodised band powers, shape (..., F).

    Parameters
    ----------
    maps
        Mass per pixel [Msun/h], shape (..., n, n).
    boxsize
        Width of a map [Mpc/h].

    Returns
    -------
    FloatArray
        In the order of `FEATURES`: log10(m + 1e8 Msun/h) and log10(P + 1e-6 (Mpc/h)^2).
    """
    radii = tuple(fraction * boxsize for fraction in _RADII.values())
    inner = aperture_masses(maps, boxsize, radii)
    whole = maps.sum((-2, -1), dtype=np.float64)[..., None]
    spectrum = power_spectrum_2d(maps, boxsize, window="hann", empty="zero")
    bands, first = [], 0
    for name, fraction in _BANDS.items():
        last = max(spectrum.bins_up_to(fraction), 1)
        if last <= first:
            raise DataError(f"feature {name}: maps of {maps.shape[-1]} pixels are too small for it")
        bands.append(spectrum.power[..., first:last].mean(axis=-1))
        first = last
    masses = np.log10(np.concatenate([inner, whole], axis=-1) + _LEAST_MASS)
    powers = np.log10(np.stack(bands, axis=-1) + _LEAST_POWER)
    return np.asarray(np.concatenate([masses, powers], axis=-1))
