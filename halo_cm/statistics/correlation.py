"""Ratios of power spectra that compare two fields, bin by bin.

Each takes arrays (..., n_bins) or whole `PowerSpectrum` objects; of the latter it is checked that
they have one boxsize and resolution. Average powers over haloes first: the ratio of means is less
noisy than the mean of ratios.
"""

from __future__ import annotations

import numpy as np

from halo_cm.containers import FloatArray
from halo_cm.errors import DataError
from halo_cm.statistics.power import PowerSpectrum

Power = FloatArray | PowerSpectrum


def cross_correlation(cross: Power, first: Power, second: Power) -> FloatArray:
    """r(k) = P_ab / sqrt(P_aa P_bb): 1 where the phases of two fields agree, 0 where unrelated.

    Parameters
    ----------
    cross, first, second
        Cross power and the powers of the two fields, shapes (..., n_bins).

    Raises
    ------
    DataError
        If a field has no power in some bin, or the spectra do not belong together.
    """
    cross, first, second = _powers(cross=cross, first=first, second=second)
    return np.asarray(cross / np.sqrt(_positive(first, "first") * _positive(second, "second")))


def transfer_function(generated: Power, truth: Power) -> FloatArray:
    """T(k) = sqrt(P_generated / P_true), from powers (..., n_bins).

    Raises
    ------
    DataError
        If the truth has no power in some bin, the generated power is negative (was too much shot
        noise subtracted?), or the spectra do not belong together.
    """
    generated, truth = _powers(generated=generated, truth=truth)
    if (generated < 0).any():
        raise DataError(
            f"power of 'generated': {int((generated < 0).sum())} bins are negative, so that T(k) "
            "is not real; was too much shot noise subtracted?"
        )
    return np.asarray(np.sqrt(generated / _positive(truth, "truth")))


def suppression(hydro: Power, dmo: Power) -> FloatArray:
    """S(k) = P_hydro / P_dmo of all matter with and without baryons, from powers (..., n_bins).

    Raises
    ------
    DataError
        If the dark-matter-only field has no power in some bin, or the spectra do not belong
        together.
    """
    hydro, dmo = _powers(hydro=hydro, dmo=dmo)
    return np.asarray(hydro / _positive(dmo, "dmo"))


def _powers(**spectra: Power) -> list[FloatArray]:
    names = list(spectra)
    whole = {n: s for n, s in spectra.items() if isinstance(s, PowerSpectrum)}
    for name, spectrum in whole.items():
        other_name, other = next(iter(whole.items()))
        for what, a, b in (
            ("boxsize", 2 * np.pi / other.k_fundamental, 2 * np.pi / spectrum.k_fundamental),
            ("pixel size", np.pi / other.k_nyquist, np.pi / spectrum.k_nyquist),
        ):
            if not np.isclose(a, b, rtol=1e-6):
                raise DataError(
                    f"spectra of {other_name!r} and {name!r} have a {what} of {a:.6g} and {b:.6g} "
                    "Mpc/h: only bins of the same wavenumbers can be compared"
                )
    arrays = [s.power if isinstance(s, PowerSpectrum) else np.asarray(s) for s in spectra.values()]
    if len({array.shape[-1:] for array in arrays}) > 1:
        shapes = ", ".join(f"{n!r} {a.shape}" for n, a in zip(names, arrays, strict=True))
        raise DataError(f"spectra have different numbers of bins: {shapes}")
    return arrays


def _positive(power: FloatArray, name: str) -> FloatArray:
    if not (power > 0).all():
        raise DataError(
            f"power of {name!r}: {int((~(power > 0)).sum())} bins are not positive, as in a "
            "constant or empty map; such a field cannot be compared by ratios of power"
        )
    return power
