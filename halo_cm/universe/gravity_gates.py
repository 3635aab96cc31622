"""Gates on gravity: halo counts, power, growth and profiles of the dark-matter-only boxes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from halo_cm.universe.gates import Array, Topic, centres, curve, error_of_mean, gate, too_few
from halo_cm.universe.measurements import (
    FINE_BANDS,
    MASS_EDGES,
    POWER_BANDS,
    RADII,
    BoxMeasurement,
)
from halo_cm.universe.profiles import nfw_mass

#: Largest error of a halo count, and the same where few haloes are expected [Poisson sigma].
COUNT_TOLERANCE, COUNT_SIGMAS = 0.15, 2.0
#: Halo counts over Tinker08 of the prototype (8 boxes with other phases).
PROTOTYPE_COUNTS = (1.10, 0.92, 1.14, 0.89)
#: P(k) over halofit of the prototype, whose haloes had c = 5.6.
PROTOTYPE_POWER = (0.83, 0.77, 0.80, 0.85, 0.94, 0.95, 0.82)
#: Standard errors of 8 boxes are 0.08, 0.10, 0.07, 0.07, 0.04, 0.04 and 0.05. The long waves that a
#: box lacks also change the power below 1 h/Mpc, which the halo model leaves out.
POWER_TOLERANCES = (0.25, 0.20, 0.15, 0.15, 0.15, 0.15, 0.15)
GROWTH_TOLERANCE, GROWTH_MODES = 0.005, 2
#: Mass inside .2, .5 and 2 R200c of an NFW halo of this concentration, and of real Abacus haloes.
PROFILE_RADII, PROFILE_CONCENTRATION, PROFILE_TOLERANCE = (0.2, 0.5, 2.0), 4.75, 0.10
ABACUS_PROFILE = (0.168, 0.525, 1.66)


def mass_function_topic(boxes: Sequence[BoxMeasurement], unjudged: str) -> Topic:
    """Halo counts of all boxes over those of Tinker et al. (2008)."""
    found, tinker, of_box = np.sum([box.counts for box in boxes], axis=0)
    gates, bands = [], []
    for i, (low, high) in enumerate(itertools.pairwise(MASS_EDGES)):
        name = f"haloes of {low:.0e}" + (f"-{high:.0e}" if i < 3 else " and more")
        name = name.replace("e+", "e") + " Msun/h / Tinker08"
        poisson = 1 / math.sqrt(of_box[i])
        if poisson <= COUNT_TOLERANCE:
            reference, tolerance, reason = tinker[i], COUNT_TOLERANCE, ""
        else:
            name += " of the box's modes"
            reference, tolerance = of_box[i], COUNT_SIGMAS * poisson
            reason = f"2 sigma: the Poisson error is {100 * poisson:.0f}%"
        ratio = found[i] / reference
        gates.append(gate(name, ratio, 1, tolerance, unjudged=unjudged, reason=reason))
        bands.append((reference / tinker[i], tolerance * reference / tinker[i]))
    mass = [math.sqrt(low * high) for low, high in itertools.pairwise((*MASS_EDGES[:-1], 2e14))]
    error = np.sqrt(np.maximum(found, 1)) / tinker
    curves = (
        curve("simulated", "measured", mass, found / tinker, error),
        curve("gate", "gate", mass, *np.transpose(bands)),
        curve("prototype", "reference", mass, PROTOTYPE_COUNTS),
        curve("Tinker08, modes of the boxes", "expected", mass, of_box / tinker),
    )
    note = (
        "Errors are Poisson's. Rare haloes are compared with Tinker08 for the variance of the "
        "modes that the boxes have: waves longer than a box are missing."
    )
    return Topic("mass_function", "halo mass function", curves, tuple(gates), note)


def power_topic(boxes: Sequence[BoxMeasurement], unjudged: str) -> Topic:
    """Power of the dark-matter-only boxes over halofit, with what these boxes should have."""
    bands = np.array([box.power for box in boxes])
    fine = np.array([box.fine_power for box in boxes])
    measured, expected = bands.mean(0)
    gates = [
        gate(
            f"P(k) at {low:g}-{high:g} h/Mpc / halofit and halo model of the box's modes",
            measured[i] / expected[i],
            1,
            POWER_TOLERANCES[i],
            unjudged=unjudged,
        )
        for i, (low, high) in enumerate(itertools.pairwise(POWER_BANDS))
    ]
    linear = np.array([box.linear for box in boxes])
    long = linear[:, :, 0].mean(0)
    gates.insert(
        0,
        gate(
            f"P(k) at {long[0]:.2f} h/Mpc / power of the initial modes",
            long[1],
            1,
            0.15,
            unjudged=unjudged,
            reason="two standard errors of 8 boxes: 18 modes each, coupled by gravity",
        ),
    )
    k = centres(FINE_BANDS)
    curves = (
        curve("simulated", "measured", k, fine[:, 0].mean(0), error_of_mean(fine[:, 0])),
        curve("expected of these boxes", "expected", k, fine[:, 1].mean(0)),
        curve("gate", "gate", centres(POWER_BANDS), expected, expected * POWER_TOLERANCES),
        curve("prototype, c = 5.6", "reference", centres(POWER_BANDS), PROTOTYPE_POWER),
    )
    note = (
        "Mean over boxes of P / halofit, with its standard error. Expected: a halo model with the "
        "haloes of Tinker08 for the initial modes of these very boxes over one for all waves; "
        "haloes lighter than min_displaced_mass are not resolved. It leaves out how missing long "
        "waves change the power below 1 h/Mpc. Two boxes of 200 Mpc/h gave 0.89 and 0.99 of "
        "halofit at 0.5-0.7 h/Mpc with the same particle mesh."
    )
    return Topic("power", "power spectrum of dark matter only", curves, tuple(gates), note)


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
    curves = (
        curve("tiny amplitude", "measured", waves, ratio),
        curve(
            "gate",
            "gate",
            waves[:GROWTH_MODES],
            np.ones(GROWTH_MODES),
            np.full(GROWTH_MODES, GROWTH_TOLERANCE),
        ),
    )
    note = (
        "Particles that move by 1% of their spacing, from a lattice. Shorter waves grow too "
        "little, because the mesh aliases a lattice that stays whole. A real box loses it: at the "
        "same resolution its P(k) agrees within 0.5% up to 1.3 h/Mpc with a run free of this "
        "(one box of 25 Mpc/h)."
    )
    return Topic("growth", "growth of linear modes", curves, tuple(gates), note)


def profiles_topic(boxes: Sequence[BoxMeasurement], unjudged: str) -> Topic:
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
