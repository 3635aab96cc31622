"""What is expected of a box: halo counts and power for the modes that it has, and suppression.

A box of 50 Mpc/h lacks all waves longer than itself, and has few of the longest that fit, whose
amplitudes are drawn once. Massive haloes, and the power at scales of a few Mpc/h that comes from
inside them, are thus fewer than in an infinite universe (Bagla & Ray 2005, New Astron. 10, 665;
Power & Knebe 2006, MNRAS 370, 691). The initial modes of a box are known, so that its expectation
is computed from them: Tinker et al. (2008) with the variance of *these* modes, and a halo model
with these haloes. Halofit of the truncated spectrum is no alternative: the cut distorts the slope
and curvature it is fitted in, and it misses the measured power by a factor of 1.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import sici

from halo_cm.config.universe import UniverseConfig
from halo_cm.seeding import generator
from halo_cm.units import RHO_CRITICAL
from halo_cm.universe.cosmology import Cosmology, linear_power
from halo_cm.universe.design import BoxPlan
from halo_cm.universe.haloes import overdensity_radius
from halo_cm.universe.initial_conditions import density_modes, largest_wavenumber
from halo_cm.universe.perturbation_theory import one_loop
from halo_cm.universe.profiles import nfw_mass

Array = NDArray[np.float64]

#: Masses at which mass functions are tabulated [Msun/h].
MASSES: Array = np.geomspace(1e10, 3e15, 500, dtype=np.float64)

#: S(k) at theta_ej = 4, A_star = 0.06, s_scatter = 1 for each log10 Mc, in `SUPPRESSION_BANDS` and
#: at the baryon fraction of Omega_m = 0.3, that an independent implementation (halo finder,
#: sharpening and baryons of the prototype) gives with c = 4.8 for the particles of boxes 0 to 7 of
#: the preset default: benchmarks/suppression_table.py, three draws a box (c = 4.9, as in the
#: presets, would lower it by up to 0.005). Good to about 0.01: boxes differ by 0.02 (standard
#: deviation), draws of one box by 0.01-0.02.
SUPPRESSION = {
    12.0: (1.004, 1.002, 0.991, 0.960, 0.927, 0.899, 0.886),
    12.6: (1.002, 0.991, 0.956, 0.897, 0.852, 0.818, 0.809),
    13.2: (0.994, 0.965, 0.897, 0.813, 0.762, 0.732, 0.747),
}

#: P(k) in boxes of 50 Mpc/h with sigma_8 = 0.8 over halofit and `BoxTheory.finite_box_factor`, in
#: `COUPLING_BANDS` [h/Mpc], that JaxPM, an independent code, gives for the initial modes of boxes
#: of the preset default (benchmarks/finite_box_power.py, 64 boxes), and its relative change with
#: sigma_8 (-0.4 +- 0.1). The error is that of the means over the bands of the gates.
COUPLING = (0.862, 0.850, 0.883, 0.890, 0.947)
COUPLING_BANDS = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
COUPLING_SIGMA_8, COUPLING_SLOPE, COUPLING_ERROR = 0.8, -0.4, 0.025
#: Size of these boxes [Mpc/h], and relative difference up to which another is the same.
COUPLING_BOXSIZE, COUPLING_SIZES = 50.0, 0.02

#: The linear spectrum of theory goes at least this far [h/Mpc].
_LARGEST_K = 40.0


def initial_modes(config: UniverseConfig, plan: BoxPlan) -> NDArray[np.complex64]:
    """Fourier modes of the overdensity that `box.particles_today` starts from, scaled to today.

    Shape (n, n, n // 2 + 1) for n particles along each side.
    """
    n, boxsize = config.n_particles, config.boxsize
    k, power = linear_power(plan.cosmology, largest_wavenumber(n, boxsize))
    rng = generator(config.seed, "box", plan.phases, "initial conditions")
    noise = rng.standard_normal((n, n, n), dtype=np.float32)
    modes: NDArray[np.complex64] = density_modes(noise, boxsize, k, power).numpy()
    return modes


@dataclass(frozen=True)
class BoxTheory:
    """Linear theory of one box.

    Attributes
    ----------
    cosmology
        Cosmology of the box.
    boxsize
        Side of the box [Mpc/h].
    k, power
        Linear power spectrum today [h/Mpc], [(Mpc/h)^3].
    box_k, box_power, box_modes
        Wavenumber, power and number of the initial modes of this box, scaled to today, in shells
        around multiples of 2 pi / boxsize up to the particles' Nyquist wavenumber.
    """

    cosmology: Cosmology
    boxsize: float
    k: Array
    power: Array
    box_k: Array
    box_power: Array
    box_modes: Array

    @classmethod
    def of_box(cls, config: UniverseConfig, plan: BoxPlan) -> BoxTheory:
        """Linear theory, and the initial modes that `box.particles_today` starts from."""
        n, boxsize = config.n_particles, config.boxsize
        modes = initial_modes(config, plan)
        # beyond the particles' waves, for the haloes that they do not resolve
        k_max = max(_LARGEST_K, largest_wavenumber(n, boxsize))
        k, power = linear_power(plan.cosmology, k_max)
        full, half = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
        radius = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half**2).ravel()
        count = np.where((half == 0) | (2 * half == n), 1.0, 2.0)
        count = np.broadcast_to(count, modes.shape).ravel()
        shell = np.rint(radius).astype(int)
        n_modes, squares, radii = (
            np.bincount(shell, count * weight)[1 : n // 2]
            for weight in (1.0, np.abs(modes.ravel()) ** 2, radius)
        )
        return cls(
            cosmology=plan.cosmology,
            boxsize=boxsize,
            k=k,
            power=power,
            box_k=radii / n_modes * (2 * math.pi / boxsize),
            box_power=squares / n_modes * boxsize**3 / n**6,
            box_modes=n_modes.astype(float),
        )

    def linear(self, k: Array) -> Array:
        """Linear power at ``k``."""
        return np.exp(np.interp(np.log(k), np.log(self.k), np.log(self.power)))

    def linear_of_box(self, k: Array) -> Array:
        """Power of the initial modes of the box at ``k``, linear theory where there are none."""
        ratio = self.box_power / self.linear(self.box_k)
        return self.linear(k) * np.interp(k, self.box_k, ratio, right=1.0)

    def sigma(self, masses: Array, *, of_box: bool) -> Array:
        """Standard deviation of the linear density in spheres that hold ``masses`` [Msun/h].

        Parameters
        ----------
        masses
            Shape (M,).
        of_box
            Of the modes in the box, and of theory above its Nyquist wavenumber; otherwise of all
            waves of an infinite universe.
        """
        density = self.cosmology.omega_m * RHO_CRITICAL
        radius = np.cbrt(3 * masses / (4 * math.pi * density))[:, None]
        first = self.box_k[-1] + math.pi / self.boxsize if of_box else self.k[0]
        k = np.geomspace(first, self.k[-1], 2000)
        integrand = self.linear(k) * k**3 / (2 * math.pi**2) * _top_hat(k * radius) ** 2
        variance = np.trapezoid(integrand, np.log(k), axis=1)
        if of_box:
            weights = self.box_modes * self.box_power / self.boxsize**3
            variance += _top_hat(self.box_k * radius) ** 2 @ weights
        return np.sqrt(variance)

    def mass_function(self, *, of_box: bool) -> Array:
        """Haloes per (Mpc/h)^3 and ln M200c at `MASSES` (Tinker et al. 2008, as in colossus)."""
        from colossus.lss.mass_function import modelTinker08

        _set_colossus(self.cosmology)
        sigma = self.sigma(MASSES, of_box=of_box)
        slope = -np.gradient(np.log(sigma), np.log(MASSES))
        multiplicity = modelTinker08(sigma, 0.0, "200c")
        return multiplicity * self.cosmology.omega_m * RHO_CRITICAL / MASSES * slope

    def counts(self, edges: tuple[float, ...], *, of_box: bool) -> Array:
        """Haloes that the box should have between neighbouring ``edges`` of M200c [Msun/h]."""
        log_mass, density = np.log(MASSES), self.mass_function(of_box=of_box)
        steps = 0.5 * (density[1:] + density[:-1]) * np.diff(log_mass)
        below = np.concatenate([[0.0], np.cumsum(steps)]) * self.boxsize**3
        return np.diff(np.interp(np.log(edges), log_mass, below))

    def finite_box_factor(self, k: Array, config: UniverseConfig) -> Array:
        """P(k) that this box should have over that of an infinite universe.

        A halo model, P = P_linear + integral n(M) (M / rho)^2 u^2(k, M) dM with NFW haloes
        (Cooray & Sheth 2002, eqs. 86-88), once for the modes of this box, whose haloes below
        ``min_displaced_mass`` are not resolved, over once for all waves and all haloes. Ratios of
        halo models are accurate where halo models are not (Mead et al. 2015; Cataneo et al. 2019).
        """
        c = config.concentration * (MASSES / 1e13) ** config.concentration_slope
        squared = (_nfw_transform(k[:, None] * overdensity_radius(MASSES, 200.0) / c, c)) ** 2
        mean_density = self.cosmology.omega_m * RHO_CRITICAL
        squared *= (MASSES / mean_density) ** 2

        def one_halo(number: Array) -> Array:
            return np.asarray(np.trapezoid(number * squared, np.log(MASSES), axis=1), float)

        resolved = np.where(config.min_displaced_mass <= MASSES, 1.0, 0.0)
        box = self.linear_of_box(k) + one_halo(self.mass_function(of_box=True) * resolved)
        return box / (self.linear(k) + one_halo(self.mass_function(of_box=False)))

    def coupling(self, k: Array) -> Array:
        """P(k) of boxes of this size over halofit and `finite_box_factor`.

        Waves grow on longer ones. A periodic box has none longer than itself and few of the
        longest, so that up to 1 h/Mpc it has less power than the halo model says, which adds up
        waves and haloes alone. There is no theory of this beyond 0.25 h/Mpc; simulations by another
        code (`COUPLING`) say it. 1 beyond 1 h/Mpc, NaN below for boxes of another size than theirs.
        """
        inside = k < COUPLING_BANDS[-1]
        if abs(self.boxsize / COUPLING_BOXSIZE - 1) > COUPLING_SIZES:
            return np.where(inside, np.nan, 1.0)
        found = np.array([*COUPLING, 1.0])[np.digitize(k, COUPLING_BANDS[1:])]
        growth = 1 + COUPLING_SLOPE * (self.cosmology.sigma_8 - COUPLING_SIGMA_8)
        return np.where(inside, growth * found, 1.0)

    def coupling_of_longest(self, k: Array) -> Array:
        """P(k) over linear power of waves almost as long as the box, to one loop."""
        return one_loop(k, self.linear, 2 * math.pi / self.boxsize)

    def halofit(self, k: Array) -> Array:
        """Nonlinear power of Takahashi et al. (2012, arXiv:1208.2701), from CAMB."""
        import camb

        ours = self.cosmology
        model = camb.CAMBparams()
        model.set_cosmology(
            H0=100 * ours.hubble,
            ombh2=ours.omega_b * ours.hubble**2,
            omch2=(ours.omega_m - ours.omega_b) * ours.hubble**2,
            mnu=0.0,
            num_massive_neutrinos=0,
            omk=0.0,
            tau=0.06,
        )
        model.InitPower.set_params(As=2e-9, ns=ours.spectral_index)
        model.set_matter_power(redshifts=[0.0], kmax=1.1 * k[-1] * ours.hubble)
        model.WantCls = False
        sigma_8 = camb.get_results(model).get_sigma8_0()
        amplitude = 2e-9 * (ours.sigma_8 / sigma_8) ** 2
        model.InitPower.set_params(As=amplitude, ns=ours.spectral_index)
        model.NonLinear = camb.model.NonLinear_pk
        model.NonLinearModel.set_params(halofit_version="takahashi")
        found, _, power = camb.get_results(model).get_matter_power_spectrum(
            minkh=0.9 * k[0], maxkh=1.05 * k[-1], npoints=500
        )
        return np.exp(np.interp(np.log(k), np.log(found), np.log(power[0])))


def _top_hat(x: Array) -> Array:
    """Fourier transform of a sphere of radius R at x = k R."""
    # the series below 0.01, where the difference loses its digits
    safe = np.maximum(x, 1e-2)
    return np.where(x < 1e-2, 1 - x**2 / 10, 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)


def _nfw_transform(q: Array, c: Array) -> Array:
    """Transform of an NFW halo cut at R200c, 1 at q = k r_s -> 0 (Cooray & Sheth 2002, eq. 81)."""
    si, ci = sici(q)
    si_out, ci_out = sici(q * (1 + c))
    found = np.sin(q) * (si_out - si) + np.cos(q) * (ci_out - ci) - np.sin(c * q) / (q * (1 + c))
    return found / nfw_mass(c)


def _set_colossus(ours: Cosmology) -> None:
    """Give colossus the cosmology: its mass functions ask for Omega_m, not for a spectrum."""
    from colossus.cosmology import cosmology

    cosmology.setCosmology(
        "halo_cm",
        params={
            "flat": True,
            "H0": 100 * ours.hubble,
            "Om0": ours.omega_m,
            "Ob0": ours.omega_b,
            "sigma8": ours.sigma_8,
            "ns": ours.spectral_index,
            "relspecies": False,
            "persistence": "",
        },
    )
