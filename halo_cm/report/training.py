"""Figure of a training: losses of the phases, and sampled validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import median_filter

from halo_cm.report.lines import choose_scale
from halo_cm.report.style import COLOURS, figure_style
from halo_cm.report.training_log import PhaseCurve


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


def _draw_loss(axes: Axes, phase: PhaseCurve, colour: str) -> None:
    # an odd number of steps, so that the median lies in the middle
    window = 2 * (len(phase.loss) // 60) + 1
    axes.plot(phase.step, phase.loss, color=colour, alpha=0.35, lw=0.8)
    axes.plot(phase.step, median_filter(phase.loss, window, mode="nearest"), color=colour)
    axes.set(title=phase.name.replace("_", " "), xlabel="step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    choose_scale(axes, phase.loss)


def _draw_scores(axes: Axes, phases: Sequence[PhaseCurve]) -> None:
    """Validation scores over shaded phases."""
    first, last = phases[0].step[0], phases[-1].end
    for number, phase in enumerate(phases):
        colour = COLOURS[number % len(COLOURS)]
        start = phases[number - 1].end if number else first
        axes.axvspan(start, phase.end, color=colour, alpha=0.12, lw=0)
        axes.plot(phase.validation_step, phase.score, "o-", color=colour, ms=4)
    model = [(step, phase) for phase in phases for step in phase.kept]
    if model:
        step, phase = model[-1]
        score = phase.score[phase.validation_step == step]
        (star,) = axes.plot([step], score, "*", color="black", ms=13, label="model of the run")
        star.set(clip_on=False, zorder=5)  # the end of the training is the edge of the panel
        axes.legend()
    axes.set(xlabel="step", ylabel="sampled validation score", xlim=(first, max(last, first + 1)))
    choose_scale(axes, np.concatenate([phase.score for phase in phases]))
    if not any(len(phase.score) for phase in phases):
        axes.text(0.5, 0.5, "no validation yet", transform=axes.transAxes, ha="center")
