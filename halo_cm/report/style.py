"""One look for all figures: fonts, a palette for colour-blind readers, a look for each row."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from halo_cm.atomic import atomic_path
from halo_cm.benchmark import TRUTH_VS_TRUTH, RowSummary, Summary

#: Palette of Okabe & Ito (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
#: Curves of more rows than these cannot be told apart.
MOST_CURVES = 8

CHANNEL_NAMES = {"dm": "dark matter", "gas": "gas", "star": "stars"}
#: Perceptually uniform colour maps, one for each kind of matter.
COLOUR_MAPS = {"dm": "viridis", "gas": "inferno", "star": "cividis"}

_DPI = 150
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.grid": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "figure.dpi": 100,
    "savefig.dpi": _DPI,
    "text.usetex": False,
}

_FLOOR_STYLES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


@dataclass(frozen=True)
class Look:
    """How one row is drawn in every figure.

    Attributes
    ----------
    label
        Of the legend.
    kind
        ``"model"`` (bold, with a band), ``"exact"`` (truth against truth, grey) or ``"floor"``
        (thin).
    colour, style, marker
        Colour and marker stand for the model, the style of the line for its number of steps.
    """

    label: str
    kind: str
    colour: str
    style: Any
    marker: str = "o"


def looks(summary: Summary) -> dict[str, Look]:
    """Look of each row and floor by `RowSummary.label`, models first, truth against truth last."""
    names = list(dict.fromkeys(row.name for row in summary.rows))
    found: dict[str, Look] = {}
    for row in summary.rows:
        number = names.index(row.name)
        steps = [other.label for other in summary.rows if other.name == row.name]
        # a second round of the palette begins with another style
        style_number = steps.index(row.label) + number // len(COLOURS)
        found[row.label] = Look(
            plain_label(row.label),
            "model",
            COLOURS[number % len(COLOURS)],
            LINE_STYLES[style_number % len(LINE_STYLES)],
            MARKERS[number % len(MARKERS)],
        )
    floors = [row for name, row in summary.floors.items() if name != TRUTH_VS_TRUTH]
    for number, row in enumerate(floors):
        found[row.label] = Look(
            plain_label(row.label), "floor", "black", _FLOOR_STYLES[number % len(_FLOOR_STYLES)]
        )
    if TRUTH_VS_TRUTH in summary.floors:
        label = summary.floors[TRUTH_VS_TRUTH].label
        found[label] = Look(plain_label(label), "exact", "0.5", "-")
    return found


def curve_rows(summary: Summary) -> list[RowSummary]:
    """Rows and floors whose curves are drawn, in the order of `looks`.

    Of more than `MOST_CURVES` models and step counts only the first step count of each model.
    """
    rows = list(summary.rows)
    if len(rows) > MOST_CURVES:
        rows = list({row.name: row for row in reversed(rows)}.values())[::-1]
    floors = [row for name, row in summary.floors.items() if name != TRUTH_VS_TRUTH]
    exact = [row for name, row in summary.floors.items() if name == TRUTH_VS_TRUTH]
    return [*rows, *floors, *exact]


def plain_label(text: str) -> str:
    """Label without underscores; a dollar sign starts no formula."""
    return text.replace("_", " ").strip().replace("$", r"\$")


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style to figures made within, starting from the defaults of matplotlib.

    A user's own settings do not change the report, and are restored afterwards.
    """
    with style.context(_STYLE, after_reset=True):
        yield


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as PNG, whole or not at all.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with atomic_path(path) as temporary, figure_style():
        figure.savefig(temporary, format="png", dpi=_DPI)
    return Path(path)
