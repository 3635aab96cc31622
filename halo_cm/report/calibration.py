"""Calibration of ensembles: rank histograms and TARP coverage."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binom

from halo_cm.benchmark import RowSummary, Summary
from halo_cm.errors import DataError
from halo_cm.report.lines import Line, draw_lines
from halo_cm.report.style import CHANNEL_NAMES, Look, curve_rows, figure_style, looks

#: Probability that a calibrated ensemble stays within the bands.
_LEVEL = 0.95
_QUANTITIES = {"mass": "mass of the field", "central_mass": "central mass"}


def ranks_figure(summary: Summary) -> Figure:
    """Rank histograms, a row of panels a model and a column a channel.

    Raises
    ------
    DataError
        If no row has a rank histogram.
    """
    rows = [row for row in curve_rows(summary) if row.rank_histogram is not None]
    if not rows:
        raise DataError("no row of the benchmark has a rank histogram: all are single fields")
    look, channels = looks(summary), summary.channels
    with figure_style():
        size = (4.0 * len(channels), 1.9 * len(rows) + 1.0)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(rows), len(channels), squeeze=False, sharex=True)
        for row_of_panels, row in zip(panels, rows, strict=True):
            for axes, channel in zip(row_of_panels, channels, strict=True):
                _draw_ranks(axes, row, channel, look[row.label])
            label = look[row.label].label.replace(", ", ",\n")
            row_of_panels[0].set_ylabel(f"{label}\nhaloes / even")
        for axes, channel in zip(panels[0], channels, strict=True):
            axes.set_title(CHANNEL_NAMES[channel], loc="left")
        for axes in panels[-1]:
            axes.set_xlabel("rank of the truth / number of samples")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return figure


def coverage_figure(summary: Summary) -> Figure:
    """TARP coverage against credibility, and the difference of the two.

    Raises
    ------
    DataError
        If no row has a coverage.
    """
    rows = [row for row in curve_rows(summary) if row.coverage is not None]
    if not rows:
        raise DataError("no row of the benchmark has a coverage: all are single fields")
    look, level = looks(summary), np.array(summary.axes["credibility"])
    with figure_style():
        figure = Figure(figsize=(10, 4.8), layout="constrained")
        whole, difference = figure.subplots(1, 2)
        # the band depends on the number of haloes alone
        low, high = (np.array(edge) for edge in rows[0].coverage_band or ())
        for axes, zero in ((whole, level), (difference, np.zeros_like(level))):
            axes.fill_between(
                level,
                low - level + zero,
                high - level + zero,
                color="0.85",
                lw=0,
                label="calibrated, 95%",
            )
            axes.plot(level, zero, color="black", lw=0.8)
            lines = [
                Line.of(look[row.label], level, np.array(row.coverage) - level + zero)
                for row in rows
            ]
            draw_lines(axes, lines)
            axes.set(xlabel="credibility", xlim=(0, 1))
        whole.set(ylabel="expected coverage", ylim=(0, 1), aspect="equal")
        difference.set_ylabel("expected coverage - credibility")
        handles, labels = whole.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        return figure


def _draw_ranks(axes: Axes, row: RowSummary, channel: str, look: Look) -> None:
    """Counts over even ones, filled for the first quantity, outlined for the others."""
    found, pvalues = row.rank_histogram or {}, row.rank_pvalue or {}
    written = []
    for number, (quantity, by_channel) in enumerate(found.items()):
        counts = np.array(by_channel[channel])
        n, n_bins = counts.sum(), len(counts)
        edges = np.linspace(0, 1, n_bins + 1)
        if not number:
            band = binom.ppf([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], n, 1 / n_bins) * n_bins / n
            axes.axhspan(*band, color="0.85", lw=0, label="calibrated, 95%")
            axes.axhline(1, color="black", lw=0.8)
        name = _QUANTITIES.get(quantity, quantity.replace("_", " "))
        axes.stairs(
            counts * n_bins / n,
            edges,
            fill=not number,
            color="black" if number else look.colour,
            alpha=1.0 if number or look.kind == "exact" else 0.7,
            lw=1.2,
            label=name,
        )
        if quantity in pvalues:
            written.append(f"p = {pvalues[quantity][channel]:.2g} ({name})")
    axes.set(xlim=(0, 1), ylim=(0, max(axes.get_ylim()[1], 2) * 1.3))
    axes.text(
        0.5, 0.97, "\n".join(written), transform=axes.transAxes, ha="center", va="top", fontsize=8
    )
