"""Panels of curves: one line a row, bands of one standard error, limits that show the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogFormatterSciNotation,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from halo_cm.benchmark import Summary
from halo_cm.containers import FloatArray
from halo_cm.report.style import CHANNEL_NAMES, Look

#: Ratios further from 1 than this leave the panel.
_LARGEST_RATIO = 4.0
#: A list of a summary, or an array.
Values = Sequence[float] | Sequence[float | None] | FloatArray

#: The bands of more models than these are fainter.
_FEW = 4
_WIDTHS = {"model": 1.6, "exact": 1.2, "floor": 0.9}


@dataclass(frozen=True)
class Line:
    """A curve of one row: values y and their standard errors at x, all of shape (K,)."""

    look: Look
    x: FloatArray
    y: FloatArray
    error: FloatArray | None = None

    @classmethod
    def of(cls, look: Look, x: Values, y: Values, error: Values | None = None) -> Line:
        """Line of lists as a summary holds them; None leaves a gap."""
        band = None if error is None else np.array(error, dtype=np.float64)
        return cls(look, np.array(x, dtype=np.float64), np.array(y, dtype=np.float64), band)


def draw_lines(axes: Axes, lines: Sequence[Line], *, around: float | None = None) -> None:
    """Draw lines, models with their bands.

    Parameters
    ----------
    axes
        The panel.
    lines
        What is drawn.
    around
        Where an exact emulator lies: a black line, and around it the band of truth against truth.
    """
    n_models = sum(line.look.kind == "model" for line in lines)
    if around is not None:
        axes.axhline(around, color="black", lw=0.8)
    for line in lines:
        look, error = line.look, line.error
        if error is not None and look.kind == "exact" and around is not None:
            axes.fill_between(
                line.x, around - error, around + error, color="0.85", lw=0, zorder=0.5
            )
        if error is not None and look.kind == "model":
            axes.fill_between(
                line.x,
                line.y - error,
                line.y + error,
                color=look.colour,
                alpha=0.18 if n_models <= _FEW else 0.1,
                lw=0,
            )
        axes.plot(
            line.x,
            line.y,
            color=look.colour,
            ls=look.style,
            lw=_WIDTHS[look.kind],
            label=look.label,
            zorder={"model": 2.2, "exact": 2.1, "floor": 2.0}[look.kind],
        )


def draw_truth(axes: Axes, x: Values, y: Values, label: str = "truth") -> Line:
    """Black line of the truth itself, below those of the rows."""
    line = Line.of(Look(label, "truth", "black", "-"), x, y)
    axes.plot(line.x, line.y, color="black", lw=1.6, label=label, zorder=1.9)
    return line


def ratio_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Room for all models and for the band of the truth, between 0 and 4; floors may leave."""
    bands = [replace(line, y=np.ones_like(line.y)) for line in lines if line.look.kind == "exact"]
    least = Line.of(Look("", "truth", "black", "-"), [0.0, 0.0], [0.9, 1.1])
    low, high = limits([*lines, *bands, least])
    return max(low, 0.0), min(high, _LARGEST_RATIO)


def limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Room for all lines with their bands but those of floors, which may leave the panel."""
    values: list[FloatArray] = []
    for line in lines:
        if line.look.kind != "floor":
            error = np.zeros_like(line.y) if line.error is None else line.error
            values += [line.y - error, line.y + error]
    found = np.concatenate(values)
    found = found[np.isfinite(found)]
    low, high = float(found.min()), float(found.max())
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def channel_panels(
    summary: Summary, n_rows: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, Any]:
    """Figure and axes (n_rows, channels); the rows of a column share the horizontal axis."""
    channels = summary.channels
    heights = heights or [3.6] * n_rows
    figure = Figure(figsize=(4.2 * len(channels), sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(
        n_rows,
        len(channels),
        squeeze=False,
        sharex="col",
        gridspec_kw={"height_ratios": heights},
    )
    for axes, channel in zip(panels[0], channels, strict=True):
        axes.set_title(CHANNEL_NAMES[channel], loc="left")
    return figure, panels


def add_legend(figure: Figure, axes: Axes) -> None:
    """Legend of one panel below the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))


def wavenumber_axis(axes: Axes, summary: Summary, k: Sequence[float]) -> None:
    """Logarithmic axis of k, half the Nyquist wavenumber marked."""
    axes.set(xscale="log", xlim=(k[0], k[-1]))
    axes.axvline(summary.k_nyquist / 2, color="0.5", lw=0.8, ls=(0, (4, 3)))
    plain_log_ticks(axes.xaxis)


def mark_half_nyquist(axes: Axes, summary: Summary) -> None:
    """The name of the broken vertical line, above the panel."""
    axes.text(
        summary.k_nyquist / 2,
        1.01,
        "half Nyquist",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=8,
        color="0.35",
    )


def choose_scale(axes: Axes, values: FloatArray) -> None:
    """Logarithmic vertical axis where positive values span more than a factor of five."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 5 * finite.min():
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)


def mass_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis as powers of ten, and three times these on a short one."""
    low, high = sorted(axis.get_view_interval())
    short = high < 100 * low
    axis.set_major_locator(LogLocator(subs=(1, 3) if short else (1,)))
    axis.set_major_formatter(LogFormatterSciNotation())
    axis.set_minor_formatter(NullFormatter())


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
