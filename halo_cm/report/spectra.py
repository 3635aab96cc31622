"""Statistics by scale: P(k), r(k), S(k), the bispectrum and wavelet scattering."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from halo_cm.benchmark import Summary
from halo_cm.report.lines import (
    Line,
    add_legend,
    channel_panels,
    draw_lines,
    draw_truth,
    limits,
    mark_half_nyquist,
    ratio_limits,
    wavenumber_axis,
)
from halo_cm.report.style import CHANNEL_NAMES, curve_rows, figure_style, looks

_K = r"$k$ [$h$/Mpc]"


def power_figure(summary: Summary) -> Figure:
    """P(k) of samples above, over P(k) of the truth below, one column a channel.

    Models are bold lines with bands of one bootstrap standard error, floors thin lines. The grey
    band is the standard error of truth against truth (second draws of the same haloes), the ratio
    of which is the grey line.
    """
    with figure_style():
        look, k = looks(summary), np.array(summary.k)
        figure, panels = channel_panels(summary, 2, (2.4, 3.2))
        for (top, bottom), channel in zip(panels.T, summary.channels, strict=True):
            ratios = [
                Line.of(
                    look[row.label],
                    k,
                    row.power_ratio[channel],
                    row.power_ratio_uncertainty[channel],
                )
                for row in curve_rows(summary)
            ]
            mean = np.array(summary.truth["power"][channel])
            draw_lines(top, [Line(r.look, k, mean * r.y) for r in ratios])
            draw_truth(top, k, mean)
            top.set(yscale="log")
            draw_lines(bottom, ratios, around=1)
            bottom.set(ylim=ratio_limits(ratios), xlabel=_K)
            for axes in (top, bottom):
                wavenumber_axis(axes, summary, summary.k)
            mark_half_nyquist(top, summary)
        panels[0, 0].set_ylabel(r"$P(k)$ [(Mpc/$h$)$^2$]")
        panels[1, 0].set_ylabel(r"$P(k)\,/\,P_{\rm true}(k)$")
        add_legend(figure, panels[0, 0])
        return figure


def correlation_figure(summary: Summary) -> Figure:
    """Cross-correlation r(k) with the truth by channel, and the suppression S(k) of the total."""
    with figure_style():
        look, k = looks(summary), np.array(summary.k)
        rows = curve_rows(summary)
        channels = summary.channels
        figure = Figure(figsize=(3.6 * (len(channels) + 1), 4.4), layout="constrained")
        panels = figure.subplots(1, len(channels) + 1)
        for axes, channel in zip(panels, channels, strict=False):
            draw_lines(
                axes, [Line.of(look[row.label], k, row.cross_correlation[channel]) for row in rows]
            )
            axes.set(title=CHANNEL_NAMES[channel], xlabel=_K)
            axes.set_ylim(top=1.02)
        panels[0].set_ylabel(r"cross-correlation $r(k)$")
        last = panels[-1]
        lines = [
            Line.of(look[row.label], k, row.suppression, row.suppression_uncertainty)
            for row in rows
        ]
        truth = draw_truth(last, k, summary.truth["suppression"])
        draw_lines(last, lines)
        last.set_ylim(limits([truth, *lines]))
        last.set(title="total", xlabel=_K, ylabel=r"suppression $S(k) = P / P_{\rm DMO}$")
        for axes in panels:
            wavenumber_axis(axes, summary, summary.k)
        add_legend(figure, last)
        return figure


def bispectrum_figure(summary: Summary) -> Figure:
    """Bispectrum over that of the truth: a row a configuration, a column a channel."""
    with figure_style():
        look, axes_of = looks(summary), summary.axes["bispectrum"]
        figure, panels = channel_panels(summary, len(axes_of), (2.6,) * len(axes_of))
        for row_of_panels, (configuration, k) in zip(panels, axes_of.items(), strict=True):
            for axes, channel in zip(row_of_panels, summary.channels, strict=True):
                lines = [
                    Line.of(
                        look[row.label],
                        k,
                        row.bispectrum_ratio[configuration][channel],
                        row.bispectrum_ratio_uncertainty[configuration][channel],
                    )
                    for row in curve_rows(summary)
                ]
                draw_lines(axes, lines, around=1)
                axes.set_ylim(ratio_limits(lines))
                wavenumber_axis(axes, summary, k)
            row_of_panels[0].set_ylabel(rf"{configuration} $B(k)\,/\,B_{{\rm true}}(k)$")
        for axes in panels[-1]:
            axes.set_xlabel(_K)
        add_legend(figure, panels[0, 0])
        return figure


def scattering_figure(summary: Summary) -> Figure:
    """Wavelet scattering coefficients over those of the truth, one column a channel.

    First order: one scale in pixels; second order: the scale whose modulus is transformed, and the
    scale that this is transformed at.
    """
    with figure_style():
        look, scales = looks(summary), summary.axes["scattering"]
        n_first = sum(len(one) == 1 for one in scales)
        # a place between the orders stays empty, so that no line joins them
        place = [i + (i >= n_first) for i in range(len(scales))]
        figure, panels = channel_panels(summary)
        for axes, channel in zip(panels[0], summary.channels, strict=True):
            lines = [
                Line.of(
                    look[row.label],
                    [*place[:n_first], n_first, *place[n_first:]],
                    _parted((row.scattering_ratio or {})[channel], n_first),
                    _parted((row.scattering_ratio_uncertainty or {})[channel], n_first),
                )
                for row in curve_rows(summary)
            ]
            draw_lines(axes, lines, around=1)
            axes.set_ylim(ratio_limits(lines))
            axes.set_xticks(place, [", ".join(map(str, one)) for one in scales])
            axes.set_xlabel("scales of the coefficient [pixels]")
        panels[0, 0].set_ylabel("scattering of log masses / true")
        add_legend(figure, panels[0, 0])
        return figure


def _parted(values: Sequence[float | None], n: int) -> list[float | None]:
    return [*values[:n], None, *values[n:]]
