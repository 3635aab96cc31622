"""One look for all figures: fonts, a palette for colour-blind readers, units in labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from halo_cm.atomic import atomic_path

#: Palette of Okabe & Ito (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
LINE_STYLES = ("-", "--", "-.", (0, (1, 1)))

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
    "figure.dpi": 100,
    "savefig.dpi": _DPI,
    "text.usetex": False,
}


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
