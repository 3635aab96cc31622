"""Quality against what a sample costs: the Pareto picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from halo_cm.benchmark import TRUTH_VS_TRUTH, RowSummary, Summary
from halo_cm.containers import FloatArray
from halo_cm.report.columns import MILLIDEX, score_unit
from halo_cm.report.lines import choose_scale, plain_log_ticks
from halo_cm.report.style import figure_style, looks, plain_label

#: Room on both sides of the horizontal axes.
_MARGIN = 1.6

Measure = Callable[[RowSummary], float | None]


@dataclass(frozen=True)
class _Quantity:
    """One number of a row, for an axis."""

    label: str
    of: Measure
    base: int | None = None


_COSTS = (
    _Quantity("network evaluations a field (NFE)", lambda row: row.nfe, base=2),
    _Quantity("seconds per halo", lambda row: row.seconds_per_halo),
    _Quantity("core-seconds of training", lambda row: row.training_core_seconds),
)


def pareto_figure(summary: Summary) -> Figure:
    """Errors against costs; lower and further left is better.

    A row of panels for each error (means over channels), a column for each cost that some model
    has. The grey line joins the rows that no other beats in both, the broken line is truth against
    truth.
    """
    with figure_style():
        costs = [cost for cost in _COSTS if any(cost.of(row) for row in summary.rows)]
        errors = _errors(summary)
        size = (4.2 * max(len(costs), 1), 2.8 * len(errors) + 0.8)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(
            len(errors), max(len(costs), 1), squeeze=False, sharex="col", sharey="row"
        )
        for row_of_panels, error in zip(panels, errors, strict=True):
            for axes, cost in zip(row_of_panels, costs, strict=False):
                _draw_trade(axes, summary, cost, error)
            known = [error.of(row) for row in _compared(summary)]
            choose_scale(row_of_panels[0], np.array(known, dtype=np.float64))
            row_of_panels[0].set_ylabel(error.label)
        for axes, cost in zip(panels[-1], costs, strict=False):
            prices = [price for row in summary.rows if (price := cost.of(row))]
            limits = (min(prices) / _MARGIN, max(prices) * _MARGIN)
            axes.set(xscale="log", xlabel=cost.label, xlim=limits)
            if cost.base:
                axes.xaxis.set_major_locator(LogLocator(base=cost.base))
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.xaxis.set_minor_locator(NullLocator())
            else:
                plain_log_ticks(axes.xaxis)
        figure.legend(handles=_handles(summary), loc="outside lower center", ncols=4)
        return figure


def front(cost: FloatArray, error: FloatArray) -> FloatArray:
    """Points that no other one beats in both, by rising cost.

    Parameters
    ----------
    cost, error
        Shape (N,); lower is better in both.

    Returns
    -------
    FloatArray
        Indices, shape (M,).
    """
    best, kept = np.inf, []
    for i in np.lexsort((error, cost)):
        if error[i] < best:
            best = error[i]
            kept.append(i)
    return np.array(kept, dtype=int)


def _errors(summary: Summary) -> list[_Quantity]:
    over_exact = summary.over_exact
    return [
        _Quantity(
            "P(k) error [%]",
            lambda row: (
                100 * _mean({n: e["one_half_nyquist"] for n, e in row.power_ratio_error.items()})
            ),
        ),
        _Quantity(
            "CRPS of features\n" + ("over exact draws'" if over_exact else score_unit(summary)),
            lambda row: (
                _mean(row.crps_over_oracle["features"])
                if over_exact and row.crps_over_oracle is not None
                else MILLIDEX * np.mean([_mean(v) for v in row.crps_features.values()]).item()
            ),
        ),
        _Quantity("Fréchet distance", lambda row: _mean_if_defined(row.frechet_distance)),
    ]


def _mean_if_defined(by_channel: Mapping[str, float | None]) -> float | None:
    known = {name: value for name, value in by_channel.items() if value is not None}
    return _mean(known) if len(known) == len(by_channel) else None


def _mean(by_channel: Mapping[str, float]) -> float:
    return float(np.mean(list(by_channel.values())))


def _draw_trade(axes: Axes, summary: Summary, cost: _Quantity, error: _Quantity) -> None:
    look = looks(summary)
    points = [
        (row, float(price), float(wrong))
        for row in summary.rows
        if (price := cost.of(row)) and (wrong := error.of(row)) is not None
    ]
    x, y = np.array([p[1] for p in points]), np.array([p[2] for p in points])
    best = front(x, y)
    axes.plot(x[best], y[best], color="0.8", lw=5, solid_capstyle="round", zorder=0.5)
    for name in dict.fromkeys(row.name for row, *_ in points):
        mine = [(a, b, row) for row, a, b in points if row.name == name]
        style = look[mine[0][2].label]
        axes.plot(
            *zip(*((a, b) for a, b, _ in mine), strict=True),
            color=style.colour,
            marker=style.marker,
            ms=6,
            lw=1.0,
        )
    for exact in _compared(summary)[len(summary.rows) :]:
        if (level := error.of(exact)) is not None:
            axes.axhline(level, color="0.4", lw=1.0, ls="--")
    axes.margins(0.12)


def _compared(summary: Summary) -> list[RowSummary]:
    """Models, and truth against truth if there is one."""
    return [*summary.rows, *(row for n, row in summary.floors.items() if n == TRUTH_VS_TRUTH)]


def _handles(summary: Summary) -> list[Line2D]:
    look = looks(summary)
    first = {row.name: look[row.label] for row in reversed(summary.rows)}
    names = list(dict.fromkeys(row.name for row in summary.rows))
    handles = [
        Line2D([], [], color=first[n].colour, marker=first[n].marker, lw=1.0, label=plain_label(n))
        for n in names
    ]
    handles.append(Line2D([], [], color="0.8", lw=5, label="not beaten in both"))
    if TRUTH_VS_TRUTH in summary.floors:
        handles.append(Line2D([], [], color="0.4", lw=1.0, ls="--", label="truth vs truth"))
    return handles
