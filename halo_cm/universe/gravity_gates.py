"""Gates on gravity: halo counts, power, growth and profiles of the dark-matter-only boxes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from halo_cm.universe.expectations import (
    COUPLING_BANDS,
    COUPLING_BOXSIZE,
    COUPLING_ERROR,
    COUPLING_SIZES,
)
from halo_cm.universe.gates import (
    Array,
    Curve,
    Gate,
    Topic,
    centres,
    curve,
    error_of_mean,
    gate,
    no_waves,
    too_few,
)
from halo_cm.universe.measurements import (
    FINE_BANDS,
    MASS_EDGES,
    POWER_BANDS,
    RADII,
    GravityMeasurement,
)
from halo_cm.universe.profiles import nfw_mass
from halo_cm.universe.same_modes import SAME_MODES_ERROR

#: Largest error of a halo count; bins of a larger Poisson error fail beyond so many sigma.
COUNT_TOLERANCE, COUNT_SIGMAS = 0.15, 3.0
#: Tinker08 itself decides where the modes of the boxes change it by at most this much: elsewhere a
#: universe without any error would use up most of the tolerance, or all of it.
COUNT_FINITE_BOX = 0.10
#: Halo counts over Tinker08 of the prototype (8 boxes with other phases).
PROTOTYPE_COUNTS = (1.10, 0.92, 1.14, 0.89)
#: The same of this package in 8 boxes of 100 Mpc/h, which hold the waves that massive haloes need,
#: with the resolution and the cosmologies of the preset default, and Poisson errors:
#: benchmarks/large_box_counts.py.
WIDE_COUNTS = (0.890, 0.921, 1.042, 0.947)
WIDE_ERRORS = (0.024, 0.033, 0.066, 0.088)
#: P(k) over halofit of the prototype, whose haloes had c = 5.6.
PROTOTYPE_POWER = (0.83, 0.77, 0.80, 0.85, 0.94, 0.95, 0.82)
#: Errors of P(k): this, or so many standard errors over boxes where that is more.
POWER_TOLERANCE, POWER_SIGMAS = 0.05, 2.0
GROWTH_TOLERANCE, GROWTH_MODES = 0.005, 2
#: Mass inside .2, .5 and 2 R200c of an NFW halo of this concentration, and of real Abacus haloes.
PROFILE_RADII, PROFILE_CONCENTRATION, PROFILE_TOLERANCE = (0.2, 0.5, 2.0), 4.75, 0.10
ABACUS_PROFILE = (0.168, 0.525, 1.66)

_MASS_NAMES = ("of 1e13-2e13", "of 2e13-5e13", "of 5e13-1e14", "of 1e14 and more")
_EXPECTED_POWER = "halofit in a box of these modes"
_POWER_REASON = (
    "5% or two standard errors over boxes (up to 1 h/Mpc with the 2.5% of an expectation that is "
    "not of the same modes), what is more"
)
_POWER_NOTE = (
    "Mean over all boxes of P / halofit, with its standard error. Expected: a halo model with the "
    "haloes of Tinker08 for the initial modes of these very boxes over one for all waves; haloes "
    "lighter than min_displaced_mass are not resolved. Up to 1 h/Mpc instead the power that an "
    "independent code (JaxPM, benchmarks/finite_box_power.py) gives for the same initial modes, "
    "which tests gravity alone (the modes are ours); where it was not run for a box, the halo "
    "model times what gravity makes of waves that lack longer ones, by that code in other boxes "
    "of this size: the details have the ratio to that as well. The noise of haloes' particles, "
    "whose directions are random, is subtracted. The power of the longest waves over that of their "
    "initial modes is expected to one loop without the waves that the box lacks."
)
_GROWTH_NOTE = (
    "Particles that move by 1% of their spacing, from a lattice. Shorter waves grow too little, "
    "because the mesh aliases a lattice that stays whole. A real box loses it, but its forces are "
    "softened by the mesh: at the same resolution P(k) of four boxes of 25 Mpc/h is 0-1% below a "
    "run free of both up to 1.0 h/Mpc, 0.7-1.6% at 1.3 and 1-3% at 1.8 h/Mpc "
    "(tests/universe/test_gravity_claims.py)."
)


def mass_function_topic(boxes: Sequence[GravityMeasurement], unjudged: str) -> Topic:
    """Halo counts of all boxes over those of Tinker et al. (2008)."""
    counts = np.sum([box.counts for box in boxes], axis=0)
    found, tinker, of_box = counts
    gates = [
        _count_gate(f"haloes {name} Msun/h", counts[:, i], unjudged)
        for i, name in enumerate(_MASS_NAMES)
    ]
    mass = [math.sqrt(low * high) for low, high in itertools.pairwise((*MASS_EDGES[:-1], 2e14))]
    error = np.sqrt(np.maximum(found, 1)) / tinker
    few = _poisson_errors(of_box) > COUNT_TOLERANCE
    bars = np.where(few, np.nan, 1.0)
    curves = (
        curve("simulated", "measured", mass, found / tinker, error),
        curve("gate", "gate", mass, bars, np.full(len(mass), COUNT_TOLERANCE)),
        curve("prototype", "reference", mass, PROTOTYPE_COUNTS),
        curve("8 boxes of 100 Mpc/h", "reference", mass, WIDE_COUNTS, WIDE_ERRORS),
        curve("Tinker08, modes of the boxes", "expected", mass, of_box / tinker),
    )
    note = (
        f"{len(boxes)} boxes, errors are Poisson's. Tinker08 decides, but where the waves that the "
        "boxes have change it by more than 10% (a box lacks all waves longer than itself) Tinker08 "
        "for the variance of these waves. Bins whose Poisson error exceeds the gate are not "
        "judged, but fail beyond 3 sigma from the latter."
    )
    return Topic("mass_function", "halo mass function", curves, tuple(gates), note)


def _poisson_errors(expected: Array) -> Array:
    """Relative Poisson errors of counts, infinite where nothing is expected."""
    return 1 / np.sqrt(np.maximum(expected, 1e-300))


def _count_gate(name: str, counts: Array, unjudged: str) -> Gate:
    """A bin of the mass function, which is judged if enough haloes are expected in it."""
    found, tinker, of_box = counts.tolist()
    poisson = float(_poisson_errors(np.array([of_box]))[0])
    sigmas = (found - of_box) / math.sqrt(max(of_box, 1e-300))
    ratio, ratio_of_box = found / max(tinker, 1e-300), found / max(of_box, 1e-300)
    modes = of_box / max(tinker, 1e-300)
    details = {
        "found": found,
        "expected count": of_box,
        "Poisson error": poisson,
        "over Tinker08": ratio,
        "over Tinker08 of the box's modes": ratio_of_box,
        "Tinker08 of the box's modes over Tinker08": modes,
        "sigma from that": sigmas,
    }
    judge = partial(gate, details=details)
    both = f"found {ratio:.2f} of Tinker08 and {ratio_of_box:.2f} of Tinker08 for the box's modes"
    finite = abs(modes - 1) > COUNT_FINITE_BOX
    title = f"{name} / Tinker08" + (" of the box's modes" if finite else "")
    value = ratio_of_box if finite else ratio
    if poisson <= COUNT_TOLERANCE:
        which = "these modes decide" if finite else "Tinker08 decides"
        reason = f"{both}; the box's modes give {modes:.2f} of Tinker08: {which}"
        return judge(title, value, 1, COUNT_TOLERANCE, unjudged=unjudged, reason=reason)
    reason = (
        f"{of_box:.3g} {name} expected, a Poisson error of {100 * poisson:.0f}% where the gate "
        f"is {100 * COUNT_TOLERANCE:.0f}%: {both}, {sigmas:+.1f} sigma"
    )
    if abs(sigmas) > COUNT_SIGMAS and not unjudged:
        title = f"{name} / Tinker08 of the box's modes"
        return judge(title, ratio_of_box, 1, COUNT_SIGMAS * poisson, reason=reason)
    return judge(title, value, 1, COUNT_TOLERANCE, unjudged=unjudged or reason)


def power_topic(boxes: Sequence[GravityMeasurement], unjudged: str, longest: float) -> Topic:
    """Power of the dark-matter-only boxes over halofit, with what these boxes should have.

    Parameters
    ----------
    boxes
        Their measurements.
    unjudged
        Why they cannot be judged; empty if they can.
    longest
        Wavenumber of the longest waves [h/Mpc].
    """
    bands = np.array([box.power for box in boxes])
    measured, expected, linear = bands.mean(0)[:3]
    coupled = np.array(POWER_BANDS[1:]) <= COUPLING_BANDS[-1]
    share = float(np.mean([box.from_same_modes for box in boxes]))
    ratio, errors = _power_ratio(bands[:, 0], bands[:, 1])
    error = (1 - share) * COUPLING_ERROR + share * SAME_MODES_ERROR
    errors = np.hypot(errors, np.where(coupled, error, 0.0))
    over_theory, theory_errors = _power_ratio(bands[:, 0], bands[:, 3])
    theory_errors = np.hypot(theory_errors, np.where(coupled, COUPLING_ERROR, 0.0))
    tolerances = np.fmax(POWER_TOLERANCE, POWER_SIGMAS * errors)
    waves = np.array([box.longest for box in boxes])
    error = float(np.nan_to_num(error_of_mean(waves[:, 1])))
    judge = partial(gate, reason=_POWER_REASON)
    gates = [
        judge(
            f"P(k) at {waves[:, 0].mean():.2f} h/Mpc / power of the initial modes",
            waves[:, 1].mean(),
            waves[:, 2].mean(),
            max(POWER_TOLERANCE, POWER_SIGMAS * error),
            unjudged=unjudged,
            details={"standard error": error},
        )
    ]
    for i, (low, high) in enumerate(itertools.pairwise(POWER_BANDS)):
        details = {
            "over halofit": measured[i],
            "expected over halofit": expected[i],
            "linear over halofit": linear[i],
            "standard error": errors[i],
        }
        if coupled[i]:
            details |= {
                "share of boxes with the power of their own modes": share,
                "over halofit in a box of these modes": over_theory[i],
                "standard error of that": theory_errors[i],
            }
        theory = "JaxPM from the same modes" if share == 1 and coupled[i] else _EXPECTED_POWER
        name = f"P(k) at {low:g}-{high:g} h/Mpc / {theory}"
        why = unjudged or no_waves(high, longest) or _no_coupling(low, longest)
        gates.append(judge(name, ratio[i], 1, tolerances[i], unjudged=why, details=details))
    curves = _power_curves(boxes, expected, tolerances)
    return Topic("power", "power spectrum of dark matter only", curves, tuple(gates), _POWER_NOTE)


def _no_coupling(lowest: float, longest: float) -> str:
    """Why there is no expectation for a band from ``lowest`` on; empty if there is."""
    boxsize = 2 * math.pi / longest
    if lowest >= COUPLING_BANDS[-1] or abs(boxsize / COUPLING_BOXSIZE - 1) <= COUPLING_SIZES:
        return ""
    return (
        f"what a finite box takes from waves is known for boxes of {COUPLING_BOXSIZE:g} Mpc/h, not "
        f"for {boxsize:.4g} Mpc/h"
    )


def _power_ratio(measured: Array, expected: Array) -> tuple[Array, Array]:
    """Mean power over mean expectation, and its standard error to first order, (n_bands,) each."""
    ratio, mean = measured.mean(0) / expected.mean(0), expected.mean(0)
    errors: Array = error_of_mean((measured - ratio * expected) / mean)
    return ratio, errors


def _power_curves(
    boxes: Sequence[GravityMeasurement], expected: Array, tolerances: Array
) -> tuple[Curve, ...]:
    """Power over halofit in narrow bins, with the gates around ``expected``."""
    fine = np.array([box.fine_power for box in boxes])
    k, bars = centres(FINE_BANDS), (expected, expected * tolerances)
    return (
        curve("simulated", "measured", k, fine[:, 0].mean(0), error_of_mean(fine[:, 0])),
        curve("expected of these boxes", "expected", k, fine[:, 1].mean(0)),
        curve("linear", "expected", k, fine[:, 2].mean(0)),
        curve("gate", "gate", centres(POWER_BANDS), *bars),
        curve("prototype, c = 5.6", "reference", centres(POWER_BANDS), PROTOTYPE_POWER),
    )


def growth_topic(growth: Array, unjudged: str) -> Topic:
    """Growth of linear modes over linear theory, from `measure_growth`."""
    waves, ratio = growth
    gates = [
        gate(
            f"growth of modes of {waves[i]:.0f} wave{'s' if i else ''} a box / linear",
            ratio[i],
            1,
            GROWTH_TOLERANCE,
            unjudged=unjudged,
        )
        for i in range(GROWTH_MODES)
    ]
    bars = (np.ones(GROWTH_MODES), np.full(GROWTH_MODES, GROWTH_TOLERANCE))
    curves = (
        curve("tiny amplitude", "measured", waves, ratio),
        curve("gate", "gate", waves[:GROWTH_MODES], *bars),
    )
    return Topic("growth", "growth of linear modes", curves, tuple(gates), _GROWTH_NOTE)


def profiles_topic(boxes: Sequence[GravityMeasurement], unjudged: str) -> Topic:
    """Mass inside parts of R200c, stacked over the haloes of cutouts."""
    profiles = np.concatenate([box.profiles for box in boxes])
    mean, scatter = profiles.mean(0), profiles.std(0)
    few = unjudged or too_few(len(profiles))
    gates, expected = [], [_nfw(x, PROFILE_CONCENTRATION) for x in PROFILE_RADII]
    for x, nfw in zip(PROFILE_RADII, expected, strict=True):
        name = f"M(<{x:g} R200c) / M200c over NFW with c = {PROFILE_CONCENTRATION:g}"
        ratio = mean[RADII.index(x)] / nfw
        gates.append(gate(name, ratio, 1, PROFILE_TOLERANCE, unjudged=few))
    curves = (
        curve("mean and scatter", "measured", RADII, mean, scatter),
        curve("NFW, c = 4.5", "expected", RADII, [_nfw(x, 4.5) for x in RADII]),
        curve("NFW, c = 5", "expected", RADII, [_nfw(x, 5.0) for x in RADII]),
        curve("gate", "gate", PROFILE_RADII, expected, np.multiply(PROFILE_TOLERANCE, expected)),
        curve("Abacus haloes", "reference", PROFILE_RADII, ABACUS_PROFILE),
    )
    return Topic("profiles", "mass inside x R200c, haloes of cutouts", curves, tuple(gates))


def _nfw(x: float, concentration: float) -> float:
    return float(nfw_mass(concentration * x) / nfw_mass(concentration))
