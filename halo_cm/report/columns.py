"""The statistics of the headline table: heading, meaning and value of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from halo_cm.benchmark import RowSummary, Summary

#: Shown where a figure does not exist.
NONE = "-"

#: A cell holds one text, or one for each channel.
Cell = str | list[str]


@dataclass(frozen=True)
class Column:
    """One statistic.

    Attributes
    ----------
    heading
        With breaks between lines.
    meaning
        A sentence on what the number is, and what a good one is.
    cell
        Text of a row's value, `NONE` where it has none.
    absent
        Why rows may have no value.
    in_terminal
        Whether it stands in the table of the terminal, which is 80 characters wide.
    """

    heading: str
    meaning: str
    cell: Callable[[RowSummary], Cell]
    absent: str = ""
    in_terminal: bool = False

    @property
    def title(self) -> str:
        """Heading on one line."""
        return self.heading.replace("\n", " ")


def columns(summary: Summary) -> list[Column]:
    """All columns of a summary, those without any value too."""
    return [*_cost(), *_accuracy(summary), *_scores(summary), *_calibration(), *_resources()]


#: Scores in dex are shown in thousandths: those of dark matter differ by no more.
MILLIDEX = 1000.0


def score_unit(summary: Summary) -> str:
    """Unit of scores in headings."""
    return "/ exact" if summary.over_exact else "[mdex]"


def has_values(column: Column, rows: list[RowSummary]) -> bool:
    """Whether some row has a value."""
    return any(column.cell(row) != NONE for row in rows)


def _cost() -> list[Column]:
    return [
        Column(
            "NFE",
            "Network evaluations for one field.",
            lambda row: NONE if row.nfe is None else str(row.nfe),
            "No row needs a network.",
            in_terminal=True,
        ),
        Column(
            "ms /\nhalo",
            "Time to generate one field: median of repeats on one batch, after a warm-up.",
            lambda row: (
                NONE if row.seconds_per_halo is None else f"{1e3 * row.seconds_per_halo:.3g}"
            ),
            "No row was generated.",
            in_terminal=True,
        ),
        Column(
            "channel",
            "Dark matter, gas and stars, in this order in every cell of three numbers.",
            lambda row: list(row.mass_bias),
            in_terminal=True,
        ),
    ]


def _accuracy(summary: Summary) -> list[Column]:
    truth = summary.truth
    return [
        Column(
            "P(k) error\n[%]",
            "Mean of |P / P_true - 1| up to half the Nyquist wavenumber, and its bootstrap error "
            "over haloes; P is the power of the overdensity of each field under a Hann window. "
            "Few samples of noisy power raise it.",
            _power_error,
            in_terminal=True,
        ),
        Column(
            "mass\nbias [%]",
            "Mean mass of a field over the true one, minus 1.",
            lambda row: [f"{100 * value:+.1f}" for value in row.mass_bias.values()],
            in_terminal=True,
        ),
        Column(
            "star\npixels",
            f"Share of pixels with stellar mass above {summary.settings['occupied_mass']:.0e} "
            f"Msun/h, in truth {truth['occupied_fraction']:.3f}.",
            lambda row: [
                f"{row.occupied_fraction:.3f}" if name == "star" else "" for name in row.mass_bias
            ],
            in_terminal=True,
        ),
        Column(
            "isolated\nstar pixels",
            f"Mean number in a field of star pixels above {summary.settings['bright_mass']:.0e} "
            f"Msun/h with at most one occupied neighbour, in truth {truth['isolated_pixels']:.2g}: "
            "many more are speckles, which no other column shows. Pixels of the edge do not count.",
            lambda row: [
                f"{row.isolated_pixels:.3g}" if name == "star" else "" for name in row.mass_bias
            ],
        ),
    ]


def _scores(summary: Summary) -> list[Column]:
    over_exact, unit = summary.over_exact, score_unit(summary)
    meant = "over that of exact draws of the truth: 1 is the best"
    score = (
        "Continuous ranked probability score of an ensemble (fair to its size), "
        f"{meant if over_exact else 'in thousandths of a dex'}; lower is better."
    )

    def pixels(row: RowSummary) -> list[str]:
        if over_exact and row.crps_over_oracle is not None:
            return _texts(row.crps_over_oracle["log_mass"], ".2f")
        return [_millidex(value) for value in row.crps_log_mass.values()]

    def features(row: RowSummary) -> list[str]:
        if over_exact and row.crps_over_oracle is not None:
            return _texts(row.crps_over_oracle["features"], ".2f")
        return [_millidex(float(np.mean(list(v.values())))) for v in row.crps_features.values()]

    return [
        Column(
            f"CRPS\npixels\n{unit}",
            f"{score} Of log masses of pixels.",
            pixels,
            in_terminal=True,
        ),
        Column(
            f"CRPS\nfeatures\n{unit}",
            f"{score} Of log masses in apertures and log band powers, their mean.",
            features,
            in_terminal=True,
        ),
        Column(
            "AUC",
            "Area under the curve of a classifier that tells samples from truth by their features, "
            "of haloes it was not trained on: 0.5 if it cannot, 1 if it always can.",
            lambda row: _with_error(row.two_sample_auc, row.two_sample_auc_uncertainty),
            "A classifier needs at least ten haloes.",
        ),
        Column(
            "Fréchet\ndistance",
            "Squared distance of two Gaussians, fitted to features of the samples and of the truth "
            "(the counterpart of FID): 0 for equal distributions; few fields raise it.",
            lambda row: _texts(row.frechet_distance, ".3g"),
        ),
    ]


def _millidex(dex: float) -> str:
    """Score in thousandths of a dex, to three significant digits."""
    return np.format_float_positional(MILLIDEX * dex, 3, fractional=False, trim="-")


def _calibration() -> list[Column]:
    single = "A single field of each halo has no spread."
    return [
        Column(
            "spread /\nskill",
            "Spread of log masses of the field between the samples of one halo, over the error of "
            "their mean: 1 if calibrated, below if the model is too sure.",
            lambda row: NONE if row.spread_skill is None else _texts(row.spread_skill, ".2f"),
            single,
        ),
        Column(
            "coverage\nKS p",
            "Chance that a calibrated ensemble has a coverage (TARP) at least as far from "
            "calibrated; below 0.01 the ensemble is not calibrated.",
            lambda row: _number(row.coverage_ks_pvalue, ".2g"),
            f"{single} Nor is there a coverage if a feature is equal in all truths.",
        ),
    ]


def _resources() -> list[Column]:
    return [
        Column(
            "training\n[core-min]",
            "Processor time of the training, all cores together.",
            lambda row: _number(row.training_core_seconds, ".3g", 1 / 60),
            "The model files do not say what their training cost.",
        ),
        Column(
            "memory\n[GiB]",
            "Largest resident memory of the process while the row was sampled.",
            lambda row: _number(row.peak_memory_gib, ".2f"),
            "It was not measured.",
        ),
    ]


def _power_error(row: RowSummary) -> list[str]:
    errors, uncertainties = row.power_ratio_error, row.power_ratio_error_uncertainty
    return [
        f"{_percent(errors[name]['one_half_nyquist'])} ± "
        f"{_percent(uncertainties[name]['one_half_nyquist'])}"
        for name in errors
    ]


def _texts(by_channel: Mapping[str, float | None], form: str) -> list[str]:
    return [_number(value, form) for value in by_channel.values()]


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return NONE if value is None else f"{factor * value:{form}}"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _percent(fraction: float) -> str:
    """One decimal below ten percent, whole percents above."""
    percent = 100 * fraction
    return f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}"
