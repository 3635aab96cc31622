"""The figure of the physics gates, a panel a topic, and its report."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from halo_cm.atomic import write_json
from halo_cm.report.style import COLOURS, figure_style, save_figure
from halo_cm.universe.gates import Curve, Topic, UniverseCheck
from halo_cm.universe.gravity_gates import PROFILE_CONCENTRATION
from halo_cm.universe.hydro_gates import OCCUPIED_TOLERANCE
from halo_cm.universe.profiles import nfw_mass

logger = logging.getLogger(__name__)

#: Panels in a row.
_COLUMNS = 3
_VERDICTS = {True: ("passed", COLOURS[2]), False: ("failed", COLOURS[3]), None: ("", "0.45")}
_K = r"$k$ [$h$/Mpc]"
_MASS = r"$M_{200c}$ [$10^{13}\,M_\odot/h$]"
_REFERENCE_MARKERS = ("D", "s")
_EXPECTED_STYLES = ("--", (0, (1, 1)), "-.")
_GATE: dict[str, Any] = {"color": "0.72", "alpha": 0.6, "elinewidth": 7, "zorder": 0}


def universe_figure(check: UniverseCheck) -> Figure:
    """One panel a topic: measurements, what is expected beside them, and the gates.

    Grey bars are gates: a measurement inside all of them is passed. What was measured in these
    boxes has full markers and lines with bars of one standard deviation, other simulations have
    open markers, theory has broken lines.
    """
    with figure_style():
        n_rows = -(-len(check.topics) // _COLUMNS)
        figure = Figure(figsize=(4.4 * _COLUMNS, 3.6 * n_rows + 0.5), layout="constrained")
        panels = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
        for axes, topic in zip(panels, check.topics, strict=False):
            _DRAW[topic.name](axes, topic)
            _title(axes, topic)
        for axes in panels[len(check.topics) :]:
            axes.set_axis_off()
        figure.suptitle(
            f"Universe {check.preset!r}, seed {check.seed}: {check.boxes}, "
            f"{check.n_haloes} haloes, {check.n_cutouts:,} cutouts. Gates: {check.summary}",
            fontsize=12,
        )
        return figure


def write_universe_report(folder: str | os.PathLike[str], check: UniverseCheck) -> list[Path]:
    """Write universe.png and, last, universe.json.

    Parameters
    ----------
    folder
        Made if it does not exist; files of an earlier report are replaced.
    check
        What `halo_cm.universe.check.check_universe` returned.

    Returns
    -------
    list[Path]
        The two files.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder = Path(folder)
    picture = save_figure(universe_figure(check), folder / "universe.png")
    numbers = folder / "universe.json"
    write_json(numbers, check.as_dict())
    logger.info("report: %s", folder)
    return [picture, numbers]


def _title(axes: Axes, topic: Topic) -> None:
    """Title on the left, and how many gates passed and were judged on the right."""
    axes.set_title(topic.title, loc="left", fontsize=10)
    judged = [gate.passed for gate in topic.gates if gate.passed is not None]
    text, colour = _VERDICTS[topic.passed]
    words = f"{sum(judged)}/{len(judged)} {text}" if topic.passed else text
    if topic.passed is False:
        words = f"{judged.count(False)}/{len(judged)} {text}"
    n_unjudged = len(topic.gates) - len(judged)
    if judged and n_unjudged:
        words += f", {n_unjudged} not judged"
    axes.set_title(words or "not judged", loc="right", fontsize=9, color=colour)


def _draw_curves(axes: Axes, topic: Topic) -> None:
    """Measurements as lines with error bars, theory as broken lines, gates as grey bars."""
    counts = {"measured": 0, "expected": 0, "reference": 0}
    for curve in topic.curves:
        if curve.kind == "gate":
            axes.errorbar(curve.x, curve.y, curve.error, fmt="none", label=curve.label, **_GATE)
        elif curve.kind == "points":
            axes.plot(curve.x, curve.y, ".", color="0.6", ms=3, label=curve.label, zorder=1)
        else:
            number = counts[curve.kind]
            counts[curve.kind] += 1
            _draw_curve(axes, curve, number)


def _draw_curve(axes: Axes, curve: Curve, number: int) -> None:
    if curve.kind == "measured":
        axes.errorbar(
            curve.x,
            curve.y,
            curve.error,
            fmt="o-",
            ms=4,
            lw=1.4,
            capsize=2,
            color=COLOURS[number % len(COLOURS)],
            label=curve.label,
            zorder=3,
        )
    elif curve.kind == "expected":
        style = _EXPECTED_STYLES[number % len(_EXPECTED_STYLES)]
        axes.plot(curve.x, curve.y, color="black", ls=style, lw=1.2, label=curve.label, zorder=2)
    else:
        look: Any = {"color": COLOURS[3], "zorder": 4}
        marker = _REFERENCE_MARKERS[number % len(_REFERENCE_MARKERS)]
        axes.plot(curve.x, curve.y, marker, mfc="none", ms=5, label=curve.label, **look)
        if curve.error is not None:
            axes.errorbar(curve.x, curve.y, curve.error, fmt="none", lw=1, **look)


def _counts(axes: Axes, topic: Topic) -> None:
    _draw_curves(axes, topic)
    axes.axhline(1, color="black", lw=0.6)
    _mass_axis(axes)
    axes.set(ylabel=r"$N\,/\,N_{\rm Tinker08}$", ylim=(0, 1.75))
    axes.legend(loc="upper left", fontsize=8, ncols=2)


def _power(axes: Axes, topic: Topic) -> None:
    _draw_curves(axes, topic)
    axes.axhline(1, color="black", lw=0.6)
    axes.set(xscale="log", xlabel=_K, ylabel=r"$P_{\rm DMO}\,/\,P_{\rm halofit}$", ylim=(0.3, 1.5))
    _plain_ticks(axes.xaxis)
    axes.legend(loc="upper left", fontsize=8, ncols=2)


def _growth(axes: Axes, topic: Topic) -> None:
    _draw_curves(axes, topic)
    axes.axhline(1, color="black", lw=0.6)
    axes.set(
        xlabel="waves per box", ylabel="growth / linear growth", xlim=(0.5, 8.5), ylim=(0.93, 1.015)
    )
    axes.legend(loc="lower left", fontsize=8)


def _profiles(axes: Axes, topic: Topic) -> None:
    """Everything over one NFW profile, since masses span a factor of 20."""
    ratios = []
    for curve in topic.curves:
        nfw = nfw_mass(PROFILE_CONCENTRATION * np.array(curve.x)) / nfw_mass(PROFILE_CONCENTRATION)
        error = None if curve.error is None else tuple((np.array(curve.error) / nfw).tolist())
        ratios.append(replace(curve, y=tuple((np.array(curve.y) / nfw).tolist()), error=error))
    _draw_curves(axes, replace(topic, curves=tuple(ratios)))
    axes.axhline(1, color="black", lw=0.6)
    axes.set(
        xscale="log",
        xlabel=r"$x = r\,/\,R_{200c}$",
        ylabel=rf"$M(<xR_{{200c}})/M_{{200c}}$ over NFW, $c = {PROFILE_CONCENTRATION:g}$",
        ylim=(0.6, 1.5),
    )
    _plain_ticks(axes.xaxis)
    axes.legend(loc="upper center", fontsize=8, ncols=2)


def _suppression(axes: Axes, topic: Topic) -> None:
    shown: set[str] = set()
    for curve in topic.curves:
        if curve.kind == "gate":
            label = None if shown else "gate"
            shown.add(curve.label)
            axes.errorbar(curve.x, curve.y, curve.error, fmt="none", label=label, **_GATE)
    measured = [curve for curve in topic.curves if curve.kind == "measured"]
    for number, curve in enumerate(measured):
        label = curve.label.replace("log10 Mc", r"$\log_{10}\,M_c$")
        _draw_curve(axes, replace(curve, label=label), number)
    noted = [curve for curve in topic.curves if curve.kind == "reference"]
    for number, curve in enumerate(noted):
        label = "_" if number else "noted with the prototype"
        _draw_curve(axes, replace(curve, label=label), 0)
    axes.axhline(1, color="black", lw=0.6)
    axes.set(xscale="log", xlabel=_K, ylabel=r"$S(k) = P_{\rm hydro}\,/\,P_{\rm DMO}$")
    _plain_ticks(axes.xaxis)
    axes.legend(loc="lower left", fontsize=8)


def _gas(axes: Axes, topic: Topic) -> None:
    _draw_curves(axes, topic)
    _mass_axis(axes)
    axes.set(ylabel=r"$f_{\rm gas}\,\Omega_m/\Omega_b$", ylim=(0, 1.25))
    axes.legend(loc="lower right", fontsize=8)


def _star(axes: Axes, topic: Topic) -> None:
    _draw_curves(axes, topic)
    _mass_axis(axes)
    axes.set(yscale="log", ylabel=r"$f_{\rm star}$")
    _plain_ticks(axes.yaxis)
    axes.legend(loc="lower left", fontsize=8)


def _conservation(axes: Axes, topic: Topic) -> None:
    for curve in topic.curves:
        if curve.kind == "measured":
            axes.step(curve.x, curve.y, where="mid", color=COLOURS[0], label=curve.label)
        elif curve.error:
            low, high = curve.x[0] - curve.error[0], curve.x[0] + curve.error[0]
            axes.axvspan(low, high, color="0.72", alpha=0.6, lw=0, label="expected scatter")
    axes.set(
        xlabel="hydro mass / DMO mass of a cutout",
        ylabel="cutouts (largest bin = 1)",
        ylim=(0, 1.35),
        xlim=(0.975, 1.025),
    )
    axes.legend(loc="upper left", fontsize=8, ncols=2)


def _star_pixels(axes: Axes, topic: Topic) -> None:
    for curve in topic.curves:
        if curve.kind == "gate":
            axes.errorbar(
                curve.x,
                curve.y,
                yerr=curve.error,
                xerr=OCCUPIED_TOLERANCE,
                fmt="D",
                mfc="none",
                color=COLOURS[3],
                elinewidth=1,
                capsize=2,
                label=curve.label + ", gate",
            )
            for x, y, width in zip(curve.x, curve.y, ("98", "195"), strict=False):
                axes.annotate(
                    f"pixels of {width} kpc/h",
                    (x, y),
                    xytext=(8, -14),
                    textcoords="offset points",
                    fontsize=8,
                    color="0.35",
                )
        else:
            axes.plot(curve.x, curve.y, "o", ms=6, color=COLOURS[0], label=curve.label)
    axes.set(
        xlabel="fraction of pixels with stars",
        ylabel=r"mean $\log_{10}$ mass of these [$M_\odot/h$]",
        xlim=(0.1, 0.7),
        ylim=(6.6, 8.4),
    )
    axes.legend(loc="upper left", fontsize=8)


_DRAW: dict[str, Callable[[Axes, Topic], None]] = {
    "mass_function": _counts,
    "power": _power,
    "growth": _growth,
    "profiles": _profiles,
    "suppression": _suppression,
    "gas": _gas,
    "star": _star,
    "conservation": _conservation,
    "stars": _star_pixels,
}


def _mass_axis(axes: Axes) -> None:
    axes.set(xscale="log", xlabel=_MASS)
    _plain_ticks(axes.xaxis, 1e13)


def _plain_ticks(axis: Axis, unit: float = 1.0) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written as plain numbers of a unit."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
