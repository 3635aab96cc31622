"""Flat LCDM: expansion, growth, linear power spectrum."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import hyp2f1

from halo_cm.atomic import atomic_path

logger = logging.getLogger(__name__)

#: Wavenumbers of a linear power spectrum.
_N_WAVENUMBERS = 600


@dataclass(frozen=True)
class Cosmology:
    """A flat LCDM cosmology without radiation and massive neutrinos.

    Attributes
    ----------
    omega_m, omega_b
        Densities of matter and baryons today, in units of the critical density.
    sigma_8
        Standard deviation of the linear density in spheres of 8 Mpc/h today.
    hubble
        Hubble constant [100 km/s/Mpc].
    spectral_index
        Slope n_s of the primordial spectrum.
    """

    omega_m: float
    sigma_8: float
    omega_b: float = 0.049
    hubble: float = 0.6711
    spectral_index: float = 0.9624

    @property
    def baryon_fraction(self) -> float:
        """Omega_b / Omega_m."""
        return self.omega_b / self.omega_m


def expansion_rate(a: float, omega_m: float) -> float:
    """E(a) = H(a) / H0."""
    return math.sqrt(omega_m / a**3 + 1 - omega_m)


def matter_fraction(a: float, omega_m: float) -> float:
    """Omega_m(a)."""
    return omega_m / a**3 / expansion_rate(a, omega_m) ** 2


def growth_factor(a: float, omega_m: float) -> float:
    """Linear growth D(a), normalised to D(1) = 1."""
    return _growing_mode(a, omega_m) / _growing_mode(1.0, omega_m)


def growth_rate(a: float, omega_m: float) -> float:
    """Logarithmic growth rate f = d ln D / d ln a.

    From the growth equation in its integral form: f = Omega_m(a) (5 a / D - 3) / 2, where D is
    normalised to D -> a at early times.
    """
    return 0.5 * matter_fraction(a, omega_m) * (5 * a / _growing_mode(a, omega_m) - 3)


def second_order_growth(a: float, omega_m: float) -> tuple[float, float]:
    """Second-order growth factor D2 and its rate f2 (Bouchet et al. 1995, eqs. 50 and 52)."""
    fraction = matter_fraction(a, omega_m)
    d2 = -3 / 7 * growth_factor(a, omega_m) ** 2 * fraction ** (-1 / 143)
    return d2, 2 * fraction ** (6 / 11)


def linear_power(
    cosmology: Cosmology, k_max: float, cache: Path | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear matter power spectrum today from CAMB, scaled to ``cosmology.sigma_8``.

    Parameters
    ----------
    cosmology
        The cosmology.
    k_max
        Largest wavenumber [h/Mpc].
    cache
        Folder where the spectrum is kept and looked for; a damaged file there is replaced.

    Returns
    -------
    k, power
        Wavenumbers [h/Mpc] and power [(Mpc/h)^3], shape (600,) each.
    """
    name = json.dumps([asdict(cosmology), k_max], sort_keys=True)
    digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    path = None if cache is None else cache / f"linear_power_{digest}.npy"
    kept = None if path is None or not path.is_file() else _read_power(path)
    if kept is not None:
        return kept[0], kept[1]
    k, power = _camb_power(cosmology, k_max)
    if path is not None:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.stack([k, power]), allow_pickle=False)
    return k, power


def _read_power(path: Path) -> NDArray[np.float64] | None:
    """Wavenumbers and power from the cache; None where a crash or a full disk left something else.

    The file can be made again in half a second, so that a damaged one need not stop anything.
    """
    try:
        with path.open("rb") as file:
            # unlike np.load, it takes nothing else for an array: neither archives nor pickles
            found = np.lib.format.read_array(file, allow_pickle=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        logger.warning("%s: damaged (%s); the spectrum is computed again", path, error)
        return None
    expected = (2, _N_WAVENUMBERS)
    if found.shape != expected or found.dtype != np.float64 or not np.isfinite(found).all():
        logger.warning(
            "%s: found %s numbers of shape %s, expected finite float64 of %s; the spectrum is "
            "computed again",
            path,
            found.dtype,
            found.shape,
            expected,
        )
        return None
    return np.asarray(found)


def _growing_mode(a: float, omega_m: float) -> float:
    """Growing mode with D -> a at early times: a 2F1(1/3, 1; 11/6; -a^3 (1 - Om) / Om)."""
    return float(a * hyp2f1(1 / 3, 1.0, 11 / 6, -(a**3) * (1 - omega_m) / omega_m))


def _camb_power(
    cosmology: Cosmology, k_max: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import camb  # 0.5 s, and not needed where the spectrum is cached

    h = cosmology.hubble
    model = camb.CAMBparams()
    model.set_cosmology(
        H0=100 * h,
        ombh2=cosmology.omega_b * h**2,
        omch2=(cosmology.omega_m - cosmology.omega_b) * h**2,
        mnu=0.0,
        num_massive_neutrinos=0,
        omk=0.0,
        tau=0.06,
    )
    model.InitPower.set_params(As=2e-9, ns=cosmology.spectral_index)
    model.set_matter_power(redshifts=[0.0], kmax=1.05 * k_max * h)
    model.WantCls = False
    model.NonLinear = camb.model.NonLinear_none
    results = camb.get_results(model)
    k, _, power = results.get_matter_power_spectrum(minkh=1e-4, maxkh=k_max, npoints=_N_WAVENUMBERS)
    return k, power[0] * (cosmology.sigma_8 / results.get_sigma8_0()) ** 2
