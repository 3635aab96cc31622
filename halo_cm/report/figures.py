"""Figures of a benchmark and of a training. Each returns a matplotlib figure, never shown.

Figures are made without pyplot, so that a session keeps its backend, settings and open figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy.ndimage import median_filter

from halo_cm.benchmark import TRUTH_VS_TRUTH, Gallery, RowSummary, Summary
from halo_cm.containers import FloatArray, Geometry
from halo_cm.errors import DataError
from halo_cm.report.style import (
    CHANNEL_NAMES,
    COLOUR_MAPS,
    COLOURS,
    LINE_STYLES,
    figure_style,
)
from halo_cm.report.training_log import PhaseCurve

#: Masses are drawn over at most this many decades below the largest true one.
_DECADES = 5


def power_figure(summary: Summary) -> Figure:
    """P(k) of samples over P(k) of the truth, one panel a channel.

    Models are bold lines with bands of one bootstrap standard error, floors thin lines. The grey
    band is the standard error of truth against truth (second draws of the same haloes), the ratio
    of which is the grey line.
    """
    with figure_style():
        channels = summary.channels
        figure = Figure(figsize=(4.2 * len(channels), 4.4), layout="constrained")
        panels = figure.subplots(1, len(channels), squeeze=False)[0]
        for axes, channel in zip(panels, channels, strict=True):
            _draw_ratios(axes, summary, channel)
        panels[0].set_ylabel(r"$P(k)\,/\,P_{\rm true}(k)$")
        handles, labels = panels[0].get_legend_handles_labels()
        columns = min(4, len(labels))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        return figure


def fields_figure(gallery: Gallery, label: str) -> Figure:
    """Input, truth and samples of a few haloes, on logarithmic scales shared by each channel.

    Parameters
    ----------
    gallery
        Fields kept by the benchmark.
    label
        Row whose samples are shown, for example ``"consistency, 1 step"``.

    Raises
    ------
    DataError
        If the gallery has no such row.
    """
    if label not in gallery.samples:
        raise DataError(f"no fields of {label!r} were kept, only of {', '.join(gallery.samples)}")
    cutouts, samples = gallery.cutouts, gallery.samples[label]
    if cutouts.target is None:
        raise DataError("the gallery has no true fields")
    with figure_style():
        n_rows, n_samples = samples.shape[:2]
        channels = cutouts.geometry.channels
        # the input is dark matter too, and shares its scale
        n_columns = [1 + n_samples + (name == "dm") for name in channels]
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        size = (1.55 * sum(n_columns) + 0.5, 1.6 * n_rows + 1.3)
        figure = Figure(figsize=size, layout=layout)
        blocks = _blocks(figure, n_rows, n_columns)
        for i, (channel, block) in enumerate(zip(channels, blocks, strict=True)):
            reference = {"truth": cutouts.target[:, i]}
            if channel == "dm":
                reference = {"input": cutouts.condition[:, 0], **reference}
            drawn = {f"sample {j + 1}": samples[:, j, i] for j in range(n_samples)}
            norm = _mass_scale(np.stack(list(reference.values())))
            _draw_channel(figure, block, {**reference, **drawn}, norm, channel)
        for axes, mass in zip(blocks[0][:, 0], cutouts.halo_mass, strict=True):
            axes.set_ylabel(rf"$M_{{200c}} = 10^{{{np.log10(mass):.1f}}}\,M_\odot/h$", fontsize=9)
        _draw_ruler(blocks[0][-1, 0], cutouts.geometry)
        figure.suptitle(f"{label}: fields {cutouts.geometry.field_of_view:g} Mpc/h wide")
        return figure


def training_figure(phases: Sequence[PhaseCurve]) -> Figure:
    """Losses of each phase, and the sampled validation metric through all phases."""
    with figure_style():
        figure = Figure(figsize=(10, 6), layout="constrained")
        grid = figure.add_gridspec(2, len(phases))
        for number, phase in enumerate(phases):
            axes = figure.add_subplot(grid[0, number])
            _draw_loss(axes, phase, COLOURS[number % len(COLOURS)])
            if number == 0:
                axes.set_ylabel("loss")
        _draw_scores(figure.add_subplot(grid[1, :]), phases)
        return figure


def _draw_ratios(axes: Axes, summary: Summary, channel: str) -> None:
    k = np.array(summary.k)
    axes.axhline(1, color="black", lw=0.8)
    exact = summary.floors.get(TRUTH_VS_TRUTH)
    if exact is not None:
        error = np.array(exact.power_ratio_uncertainty[channel])
        axes.fill_between(
            k, 1 - error, 1 + error, color="0.85", lw=0, label="truth against truth: error"
        )
        axes.plot(k, exact.power_ratio[channel], color="0.5", lw=1.2, label="truth against truth")
    for number, row in enumerate(summary.rows):
        colour = COLOURS[number % len(COLOURS)]
        style = LINE_STYLES[number % len(LINE_STYLES)]
        ratio, error = _ratio(row, channel)
        axes.fill_between(k, ratio - error, ratio + error, color=colour, alpha=0.18, lw=0)
        axes.plot(k, ratio, color=colour, ls=style, label=row.label)
    floors = [row for name, row in summary.floors.items() if name != TRUTH_VS_TRUTH]
    for row, style in zip(floors, ("--", ":", "-."), strict=False):
        axes.plot(k, row.power_ratio[channel], color="black", ls=style, lw=0.9, label=row.label)
    half = summary.k_nyquist / 2
    axes.axvline(half, color="0.5", lw=0.8, ls=(0, (4, 3)))
    axes.set(xscale="log", xlim=(k[0], k[-1]), ylim=_ratio_limits(summary, channel))
    axes.text(
        half,
        1.01,
        "half Nyquist",
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=8,
        color="0.35",
    )
    axes.set_title(CHANNEL_NAMES[channel], loc="left")
    axes.set_xlabel(r"$k$ [$h$/Mpc]")
    _plain_log_ticks(axes.xaxis)


def _ratio(row: RowSummary, channel: str) -> tuple[FloatArray, FloatArray]:
    return np.array(row.power_ratio[channel]), np.array(row.power_ratio_uncertainty[channel])


def _ratio_limits(summary: Summary, channel: str) -> tuple[float, float]:
    """Room for all models and for the grey band, between 0 and 4; floors may leave the panel."""
    shown = [_ratio(row, channel) for row in summary.rows]
    exact = summary.floors.get(TRUTH_VS_TRUTH)
    if exact is not None:
        ratio, error = _ratio(exact, channel)
        shown += [(np.ones_like(error), error), (ratio, np.zeros_like(error))]
    low = min([0.9, *(float((ratio - error).min()) for ratio, error in shown)])
    high = max([1.1, *(float((ratio + error).max()) for ratio, error in shown)])
    margin = 0.05 * (high - low)
    return max(low - margin, 0.0), min(high + margin, 4.0)


def _blocks(figure: Figure, n_rows: int, n_columns: Sequence[int]) -> list[Any]:
    """Arrays of axes (n_rows, n_columns[i]), side by side with gaps between them."""
    gap = 0.1
    widths = [width for n in n_columns for width in (*([1] * n), gap)][:-1]
    grid = figure.add_gridspec(n_rows, len(widths), width_ratios=widths)
    blocks, first = [], 0
    for n in n_columns:
        places = [[grid[row, first + i] for i in range(n)] for row in range(n_rows)]
        blocks.append(np.array([[figure.add_subplot(p) for p in row] for row in places]))
        first += n + 1
    return blocks


def _mass_scale(maps: FloatArray) -> LogNorm:
    """Logarithmic scale from the faint to the brightest occupied pixels."""
    occupied = maps[maps > 0]
    if not len(occupied):
        return LogNorm(0.1, 1)
    lowest, highest = float(np.percentile(occupied, 1)), float(occupied.max())
    return LogNorm(float(np.clip(lowest, highest / 10**_DECADES, highest / 10)), highest)


def _draw_channel(
    figure: Figure, block: Any, columns: Mapping[str, FloatArray], norm: LogNorm, channel: str
) -> None:
    """Columns of maps (G, H, W) by title, on one colour scale, with its bar below them."""
    # empty pixels, which have no logarithm, take the lowest colour
    plain = colormaps[COLOUR_MAPS[channel]]
    colours = plain.with_extremes(bad=plain(0.0))
    for axes_of_column, (title, maps) in zip(block.T, columns.items(), strict=True):
        name = "DMO" if title == "input" else CHANNEL_NAMES[channel]
        axes_of_column[0].set_title(f"{name}\n{title}", fontsize=10)
        for axes, field in zip(axes_of_column, maps, strict=True):
            axes.imshow(field, norm=norm, cmap=colours, origin="lower", interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    bar = figure.colorbar(
        ScalarMappable(norm, colours),
        ax=block.ravel().tolist(),
        location="bottom",
        aspect=35,
        pad=0.01,
        extend="min",
    )
    bar.set_label(rf"{CHANNEL_NAMES[channel]} [$M_\odot/h$ per pixel]")


def _draw_ruler(axes: Axes, geometry: Geometry) -> None:
    """A bar of a round length, below 0.4 of the width of the map [Mpc/h]."""
    longest, n_pixels = 0.4 * geometry.field_of_view, geometry.n_pixels
    decade = 10.0 ** np.floor(np.log10(longest))
    length = decade * max(digit for digit in (1, 2, 5) if digit * decade <= longest)
    start, end = 0.06 * n_pixels, 0.06 * n_pixels + length / geometry.cell_size
    outline = [Stroke(linewidth=2.5, foreground="black"), Normal()]
    axes.plot([start, end], [0.08 * n_pixels] * 2, color="white", lw=1.5, path_effects=outline)
    text = axes.text(start, 0.12 * n_pixels, f"{length:g} Mpc/h", color="white", fontsize=8)
    text.set_path_effects([Stroke(linewidth=1.5, foreground="black"), Normal()])


def _draw_loss(axes: Axes, phase: PhaseCurve, colour: str) -> None:
    # an odd number of steps, so that the median lies in the middle
    window = 2 * (len(phase.loss) // 60) + 1
    axes.plot(phase.step, phase.loss, color=colour, alpha=0.35, lw=0.8)
    axes.plot(phase.step, median_filter(phase.loss, window, mode="nearest"), color=colour)
    axes.set(title=phase.name.replace("_", " "), xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    _choose_scale(axes, phase.loss)


def _draw_scores(axes: Axes, phases: Sequence[PhaseCurve]) -> None:
    """Validation scores over shaded phases."""
    first, last = phases[0].step[0], phases[-1].end
    for number, phase in enumerate(phases):
        colour = COLOURS[number % len(COLOURS)]
        start = phases[number - 1].end if number else first
        axes.axvspan(start, phase.end, color=colour, alpha=0.12, lw=0)
        axes.plot(phase.validation_step, phase.score, "o-", color=colour, ms=4)
    axes.set(xlabel="step", ylabel="sampled validation score", xlim=(first, max(last, first + 1)))
    _choose_scale(axes, np.concatenate([phase.score for phase in phases]))
    if not any(len(phase.score) for phase in phases):
        axes.text(0.5, 0.5, "no validation yet", transform=axes.transAxes, ha="center")


def _choose_scale(axes: Axes, values: FloatArray) -> None:
    """Logarithmic where positive values span more than a factor of five."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 5 * finite.min():
        axes.set_yscale("log")
        _plain_log_ticks(axes.yaxis)


def _plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
