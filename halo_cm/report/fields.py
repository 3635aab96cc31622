"""Pictures of fields: input, truth and samples of a few haloes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import Normal, Stroke

from halo_cm.benchmark import Gallery
from halo_cm.containers import FloatArray, Geometry
from halo_cm.errors import DataError
from halo_cm.report.style import CHANNEL_NAMES, COLOUR_MAPS, figure_style, plain_label

#: Masses are drawn over at most this many decades below the largest true one.
_DECADES = 5


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
            axes.set_ylabel(rf"$M_{{200c}} =$ {_mass(mass)}", fontsize=9)
        _draw_ruler(blocks[0][-1, 0], cutouts.geometry)
        figure.suptitle(f"{label}: fields {cutouts.geometry.field_of_view:g} Mpc/h wide")
        return figure


def gallery_figure(gallery: Gallery, labels: Sequence[str], n_haloes: int = 2) -> Figure:
    """One sample of several rows below the truth: a row of maps each, for a few haloes.

    Every channel has one colour scale for all rows and haloes.

    Parameters
    ----------
    gallery
        Fields kept by the benchmark, the most massive halo first.
    labels
        Rows that are shown.
    n_haloes
        Most haloes: the first, the last and others between them.

    Raises
    ------
    DataError
        If the gallery has no true fields.
    """
    cutouts = gallery.cutouts
    if cutouts.target is None:
        raise DataError("the gallery has no true fields")
    n_haloes = min(n_haloes, len(cutouts))
    chosen = np.unique(np.linspace(0, len(cutouts) - 1, n_haloes).astype(int))
    channels = cutouts.geometry.channels
    maps = {"truth": cutouts.target} | {
        plain_label(label): gallery.samples[label][:, 0]
        for label in labels
        if label in gallery.samples
    }
    with figure_style():
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        n_columns = len(chosen) * len(channels)
        size = (1.5 * n_columns + 1.0, 1.5 * len(maps) + 1.2)
        figure = Figure(figsize=size, layout=layout)
        blocks = _blocks(figure, len(maps), [len(chosen)] * len(channels))
        for i, (channel, block) in enumerate(zip(channels, blocks, strict=True)):
            norm, colours = _mass_scale(cutouts.target[chosen, i]), _colours(channel)
            for row, fields in zip(block, maps.values(), strict=True):
                for axes, halo in zip(row, chosen, strict=True):
                    _draw_map(axes, fields[halo, i], norm, colours)
            for axes, halo in zip(block[0], chosen, strict=True):
                axes.set_title(f"{CHANNEL_NAMES[channel]}\n{_mass(cutouts.halo_mass[halo])}")
            _add_bar(figure, block, norm, channel)
        for axes, label in zip(blocks[0][:, 0], maps, strict=True):
            axes.set_ylabel(label.replace(", ", ",\n"), fontsize=9)
        _draw_ruler(blocks[0][0, 0], cutouts.geometry)
        return figure


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
    colours = _colours(channel)
    for axes_of_column, (title, maps) in zip(block.T, columns.items(), strict=True):
        name = "DMO" if title == "input" else CHANNEL_NAMES[channel]
        axes_of_column[0].set_title(f"{name}\n{title}", fontsize=10)
        for axes, field in zip(axes_of_column, maps, strict=True):
            _draw_map(axes, field, norm, colours)
    _add_bar(figure, block, norm, channel)


def _add_bar(figure: Figure, block: Any, norm: LogNorm, channel: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, _colours(channel)),
        ax=block.ravel().tolist(),
        location="bottom",
        aspect=35,
        pad=0.01,
        extend="min",
    )
    bar.set_label(rf"{CHANNEL_NAMES[channel]} [$M_\odot/h$ per pixel]")


def _draw_map(axes: Axes, field: FloatArray, norm: LogNorm, colours: Colormap) -> None:
    axes.imshow(field, norm=norm, cmap=colours, origin="lower", interpolation="nearest")
    axes.set(xticks=[], yticks=[])


def _colours(channel: str) -> Colormap:
    """Colours of a channel; empty pixels, which have no logarithm, take the lowest one."""
    plain = colormaps[COLOUR_MAPS[channel]]
    return plain.with_extremes(bad=plain(0.0))


def _mass(mass: float) -> str:
    return rf"$10^{{{np.log10(mass):.1f}}}\,M_\odot/h$"


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
