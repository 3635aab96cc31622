"""One-point distributions and counts of peaks, with the truth and over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from halo_cm.benchmark import RowSummary, Summary
from halo_cm.containers import FloatArray
from halo_cm.report.lines import (
    Line,
    add_legend,
    channel_panels,
    draw_lines,
    draw_truth,
    ratio_limits,
)
from halo_cm.report.style import curve_rows, figure_style, looks

#: Bins and thresholds where the truth has less than this share of its largest value hold too few
#: pixels or peaks for a ratio.
_FAINTEST = 1e-3


def pdf_figure(summary: Summary) -> Figure:
    """One-point distribution of log mass, and below it that over the truth's."""
    with figure_style():
        figure, panels = _over_truth(summary, "pdf", lambda row, channel: row.pdf[channel])
        for axes, channel in zip(panels[1], summary.channels, strict=True):
            exponent = np.log10(summary.settings["pixel_mass"][channel])
            axes.set_xlabel(rf"$\log_{{10}}(1 + m / 10^{{{exponent:g}}}\,M_\odot/h)$ of a pixel")
        panels[0, 0].set_ylabel("pixels per dex")
        panels[1, 0].set_ylabel("over the truth")
        add_legend(figure, panels[0, 0])
        return figure


def peaks_figure(summary: Summary) -> Figure:
    """Mean number of peaks of a field above thresholds, and below it that over the truth's."""
    with figure_style():
        figure, panels = _over_truth(summary, "peaks", lambda row, channel: row.peaks[channel])
        for axes in panels[1]:
            axes.set(xscale="log", xlabel=r"threshold [$M_\odot/h$ per pixel]")
        panels[0, 0].set_ylabel("peaks in a field")
        panels[1, 0].set_ylabel("over the truth")
        add_legend(figure, panels[0, 0])
        return figure


def _over_truth(
    summary: Summary, name: str, values: Callable[[RowSummary, str], list[float]]
) -> tuple[Figure, Any]:
    look, rows = looks(summary), curve_rows(summary)
    figure, panels = channel_panels(summary, 2, (2.6, 2.2))
    for (top, bottom), channel in zip(panels.T, summary.channels, strict=True):
        x, truth = np.array(summary.axes[name][channel]), np.array(summary.truth[name][channel])
        lines = [Line.of(look[row.label], x, values(row, channel)) for row in rows]
        draw_truth(top, x, truth)
        draw_lines(top, [Line(line.look, x, _positive(line.y)) for line in lines])
        top.set_yscale("log")
        if truth.max() > 0:
            top.set_ylim(truth.max() * _FAINTEST / 3, truth.max() * 3)
        known = truth > _FAINTEST * truth.max()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = [Line(line.look, x, np.where(known, line.y / truth, np.nan)) for line in lines]
        draw_lines(bottom, ratios, around=1)
        if known.any():
            bottom.set_ylim(ratio_limits(ratios))
            bottom.set_xlim(x[0], x[known][-1])
    return figure, panels


def _positive(values: FloatArray) -> FloatArray:
    """Gaps where a logarithmic axis has no place."""
    return np.where(values > 0, values, np.nan)
