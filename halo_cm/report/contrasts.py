"""The first model against every other row: paired differences, as Markdown and for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from halo_cm.benchmark import Summary
from halo_cm.benchmark.summary import Contrast
from halo_cm.report.columns import MILLIDEX, score_unit
from halo_cm.report.table import plain_markdown, readable

#: A difference is called clear beyond so many of its standard errors.
CLEAR = 2.0
#: How figures are shown: factor on them, and most decimals.
PERCENT, RATIO, SCORE = (100.0, 2), (1.0, 3), (MILLIDEX, 3)


@dataclass(frozen=True)
class Figure:
    """How a figure of merit is shown.

    Attributes
    ----------
    heading, meaning
        Of its column.
    shown_as
        Factor and most decimals.
    stars_only
        Whether other channels do not have it.
    absent
        Why no row may have it.
    """

    heading: str
    meaning: str
    shown_as: tuple[float, int] = PERCENT
    stars_only: bool = False
    absent: str = "It was not measured."


FIGURES = {
    "power": Figure("P(k) [%]", "mean of |P / P_true - 1| up to half the Nyquist wavenumber"),
    "mass": Figure("mass [%]", "|mean mass / true one - 1|"),
    "occupied": Figure(
        "star pixels [%]", "|share of star pixels / true one - 1|, of stars alone", stars_only=True
    ),
    "pixels": Figure("CRPS pixels", "that of the table above", shown_as=SCORE),
    "features": Figure("CRPS features", "that of the table above", shown_as=SCORE),
    "bispectrum": Figure(
        "bispectrum [%]",
        "mean of |B / B_true - 1|, both configurations, where the true one is positive",
    ),
    "scattering": Figure(
        "scattering [%]",
        "mean of |coefficient / true one - 1|",
        absent="kymatio is not installed.",
    ),
    "pdf": Figure("PDF [%]", "half the integral of |p - p_true|"),
    "correlation": Figure(
        "r(k) [%]",
        "mean of |r - r of exact draws| up to half the Nyquist wavenumber",
        absent="There are no exact draws.",
    ),
    "scatter": Figure(
        "scatter [%]",
        "mean over rings of |deviation within a halo / that of true draws - 1|",
        absent="It needs several true draws of a halo.",
    ),
}


@dataclass(frozen=True)
class Difference:
    """A difference with its error.

    Attributes
    ----------
    text
        ``-`` where it does not exist.
    verdict
        ``"better"`` or ``"worse"`` where it is clear, else ``""``.
    """

    text: str
    verdict: str = ""


@dataclass(frozen=True)
class Comparison:
    """The differences as texts.

    Attributes
    ----------
    first
        Label of the model that the others are compared with.
    figures
        Those that exist, in the order of the cells.
    absent
        The others.
    rows
        Label of another row, and for each figure its differences by channel.
    n_models
        How many of the rows are models.
    n_samples
        Samples of each row that are compared.
    """

    first: str
    figures: list[Figure]
    absent: list[Figure]
    rows: list[tuple[str, list[list[Difference]]]]
    n_models: int
    n_samples: int

    @property
    def meaning(self) -> str:
        """Sentences on what the numbers are."""
        return (
            f"{self.first} minus each other row, with the bootstrap error of the difference (the "
            f"same haloes in both; {self.n_samples} samples a halo of each, all samples for the "
            "scores): below zero the first is better. Clear differences, beyond "
            f"{CLEAR:g} errors, stand out; of rows that are alike about one in twenty does by "
            "chance."
        )


def comparison(summary: Summary) -> Comparison | None:
    """What `Summary.contrasts` says; None for a single row."""
    if not summary.contrasts:
        return None
    shown = [name for name in FIGURES if _exists(name, summary.contrasts)]
    figures = {name: _with_unit(FIGURES[name], summary) for name in shown}
    return Comparison(
        first=readable(summary.rows[0].label),
        figures=list(figures.values()),
        absent=[figure for name, figure in FIGURES.items() if name not in shown],
        rows=[
            (readable(label), [_cell(figure, found[name]) for name, figure in figures.items()])
            for label, found in summary.contrasts.items()
        ],
        n_models=len(summary.rows) - 1,
        n_samples=summary.settings["samples_compared"],
    )


def markdown_comparison(summary: Summary) -> str:
    """The differences as a Markdown table, clear ones bold; empty for a single row."""
    found = comparison(summary)
    if found is None:
        return ""
    titles = [
        f"{plain_markdown(found.first)}, minus",
        *(figure.heading for figure in found.figures),
    ]
    texts = [
        [plain_markdown(label), *(" / ".join(map(_bold, cell)) for cell in cells)]
        for label, cells in found.rows
    ]
    rule = ["---", *["---:"] * len(found.figures)]
    lines = ["| " + " | ".join(row) + " |\n" for row in (titles, rule, *texts)]
    meanings = [
        f"- {figure.heading}: {plain_markdown(figure.meaning)}.\n" for figure in found.figures
    ]
    absent = [f"- {figure.heading} is left out. {figure.absent}\n" for figure in found.absent]
    return "".join([*lines, "\n", plain_markdown(found.meaning), "\n\n", *meanings, *absent])


def _exists(name: str, contrasts: Mapping[str, Contrast]) -> bool:
    values = (value for found in contrasts.values() for value in found[name]["difference"].values())
    return any(value is not None for value in values)


def _with_unit(figure: Figure, summary: Summary) -> Figure:
    if figure.shown_as != SCORE:
        return figure
    shown_as = RATIO if summary.over_exact else SCORE
    return replace(figure, heading=f"{figure.heading} {score_unit(summary)}", shown_as=shown_as)


def _cell(figure: Figure, found: dict[str, dict[str, float | None]]) -> list[Difference]:
    pairs = {
        name: (found["difference"][name], found["error"][name])
        for name in found["difference"]
        if name == "star" or not figure.stars_only
    }
    return [_difference(*pair, figure.shown_as) for pair in pairs.values()]


def _difference(
    value: float | None, error: float | None, shown_as: tuple[float, int]
) -> Difference:
    if value is None or error is None:
        return Difference("-")
    scale, most = shown_as
    value, error = scale * value, scale * error
    # two digits of the error
    digits = most if error == 0 else min(max(1 - math.floor(math.log10(error)), 0), most)
    # what is shown as zero is none, be it the rounding of sums
    clear = abs(value) > max(CLEAR * error, 0.5 * 10.0**-digits)
    verdict = "" if not clear else "better" if value < 0 else "worse"
    return Difference(f"{value:+.{digits}f} ± {error:.{digits}f}", verdict)


def _bold(difference: Difference) -> str:
    return f"**{difference.text}**" if difference.verdict else difference.text
