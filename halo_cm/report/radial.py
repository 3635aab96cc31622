"""Around haloes: mean profiles, and how far samples of one halo scatter, by radius."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from halo_cm.benchmark import Summary
from halo_cm.containers import FloatArray
from halo_cm.report.lines import (
    Line,
    add_legend,
    channel_panels,
    draw_lines,
    draw_truth,
    mass_ticks,
    plain_log_ticks,
    ratio_limits,
)
from halo_cm.report.style import curve_rows, figure_style, looks

_RADIUS = r"$R$ [Mpc/$h$]"


def profiles_figure(summary: Summary) -> Figure:
    """Mean surface density around haloes, and below it that over the truth's."""
    with figure_style():
        look, radius = looks(summary), np.array(summary.axes["radius"])
        figure, panels = channel_panels(summary, 2, (2.6, 2.4))
        for (top, bottom), channel in zip(panels.T, summary.channels, strict=True):
            truth = np.array(summary.truth["profile"][channel])
            ratios = [
                Line.of(
                    look[row.label],
                    radius,
                    row.profile_ratio[channel],
                    row.profile_ratio_uncertainty[channel],
                )
                for row in curve_rows(summary)
            ]
            draw_truth(top, radius, truth)
            draw_lines(top, [Line(r.look, radius, truth * r.y) for r in ratios])
            top.set_yscale("log")
            mass_ticks(top.yaxis)
            draw_lines(bottom, ratios, around=1)
            bottom.set(ylim=ratio_limits(ratios), xlabel=_RADIUS)
            _radius_axis(bottom, radius)
        panels[0, 0].set_ylabel(r"$\Sigma$ [$(M_\odot/h)\,/\,({\rm Mpc}/h)^2$]")
        panels[1, 0].set_ylabel(r"$\Sigma\,/\,\Sigma_{\rm true}$")
        add_legend(figure, panels[0, 0])
        return figure


def deviation_figure(summary: Summary) -> Figure:
    """Standard deviation between samples of one halo by radius, beside the exact draws'."""
    with figure_style():
        look, radius = looks(summary), np.array(summary.axes["radius"])
        figure, panels = channel_panels(summary)
        for axes, channel in zip(panels[0], summary.channels, strict=True):
            lines = [
                Line.of(look[row.label], radius, row.deviation[channel])
                for row in curve_rows(summary)
                if row.deviation is not None
            ]
            exact = summary.truth["deviation"]
            if exact is not None:
                draw_truth(axes, radius, exact[channel], "exact draws")
            draw_lines(axes, lines)
            axes.set_ylim(bottom=0)
            axes.set_xlabel(_RADIUS)
            _radius_axis(axes, radius)
        panels[0, 0].set_ylabel("deviation between samples of a halo [dex]")
        add_legend(figure, panels[0, 0])
        return figure


def _radius_axis(axes: Axes, radius: FloatArray) -> None:
    axes.set(xscale="log", xlim=(radius[0], radius[-1]))
    plain_log_ticks(axes.xaxis)
