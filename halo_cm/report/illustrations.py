"""All figures of a report, each with its title, its caption, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from halo_cm.benchmark import Benchmark, Summary
from halo_cm.report.calibration import coverage_figure, ranks_figure
from halo_cm.report.fields import fields_figure, gallery_figure
from halo_cm.report.pareto import pareto_figure
from halo_cm.report.pixels import pdf_figure, peaks_figure
from halo_cm.report.radial import deviation_figure, profiles_figure
from halo_cm.report.spectra import (
    bispectrum_figure,
    correlation_figure,
    power_figure,
    scattering_figure,
)
from halo_cm.report.style import curve_rows
from halo_cm.report.training import training_figure
from halo_cm.report.training_log import PhaseCurve

_BANDS = (
    "Coloured bands: one standard error of a model, from a bootstrap over haloes. Grey band: that "
    "of truth vs truth (independent draws of the truth at the same haloes) around 1, one "
    "standard error too: an exact emulator of as many draws lies within it in two of three cases. "
    "Black thin lines: floors."
)


@dataclass(frozen=True)
class Illustration:
    """A figure of the report.

    Attributes
    ----------
    name
        Of its file, without ``.png``.
    title, caption
        What it shows, and how to read it.
    figure
        None if the benchmark has nothing to draw.
    absent
        Why it may be missing.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    absent: str = ""

    @property
    def width(self) -> float:
        """Of the figure [inches]; 0 without one."""
        return 0.0 if self.figure is None else float(self.figure.get_figwidth())


def illustrations(
    benchmark: Benchmark, shown: str, phases: Sequence[PhaseCurve] | None
) -> list[Illustration]:
    """Figures of a benchmark in the order of the page.

    Parameters
    ----------
    benchmark
        What is drawn.
    shown
        Label of the row with a figure of samples of its own.
    phases
        Curves of a training, if there is one.

    Raises
    ------
    DataError
        If no fields of ``shown`` were kept.
    """
    summary = benchmark.summary
    return [
        *_trade(summary),
        *_clustering(summary),
        *_maps(summary),
        *_haloes(summary),
        *_calibration(summary),
        *_pictures(benchmark, shown),
        _training(phases),
    ]


def omitted_rows(summary: Summary) -> list[str]:
    """Labels of models and step counts whose curves are not drawn."""
    drawn = {row.label for row in curve_rows(summary)}
    return [row.label for row in summary.rows if row.label not in drawn]


def _trade(summary: Summary) -> list[Illustration]:
    return [
        Illustration(
            "pareto",
            "Quality against cost",
            "Errors (means over the channels) against network evaluations, time and, where the "
            "model files say it, training. Lower and further left is better. A line joins the step "
            "counts of one model; the thick grey line joins the rows that no other beats in both; "
            "the broken line is truth vs truth.",
            pareto_figure(summary),
        )
    ]


def _clustering(summary: Summary) -> list[Illustration]:
    return [
        Illustration(
            "power",
            "Power spectra",
            f"Mean power of the overdensity of a field (above), and over the truth's (below). "
            f"{_BANDS}",
            power_figure(summary),
        ),
        Illustration(
            "correlation",
            "Cross-correlation and suppression",
            "r(k) between a sample and a true field of the same halo. Fields scatter at given "
            "input, so that an exact emulator lies on the grey line of truth vs truth, not at "
            "1. S(k): power of all matter over that of the dark-matter-only field; coloured bands "
            "are one standard error.",
            correlation_figure(summary),
        ),
        Illustration(
            "bispectrum",
            "Bispectrum",
            "Equilateral and squeezed triangles, over the truth; k is that of the two equal "
            f"sides. {_BANDS}",
            bispectrum_figure(summary),
        ),
        Illustration(
            "scattering",
            "Wavelet scattering",
            "Scattering coefficients of the log masses of pixels over the truth's: of first order "
            "at one scale, of second order at a scale and a larger one, averaged over "
            f"orientations. {_BANDS}",
            scattering_figure(summary) if summary.axes["scattering"] else None,
            "kymatio could not be imported: pip install 'halo_cm[scattering]'.",
        ),
    ]


def _maps(summary: Summary) -> list[Illustration]:
    rare = "Where the truth holds less than a thousandth of its maximum, no ratio is drawn."
    return [
        Illustration(
            "pdf",
            "One-point distributions",
            f"Distribution of the log mass of pixels, and over the truth's. {rare}",
            pdf_figure(summary),
        ),
        Illustration(
            "peaks",
            "Peak counts",
            "Mean number of peaks of a field at or above a threshold (a peak is a pixel above its "
            f"8 neighbours), and over the truth's. {rare}",
            peaks_figure(summary),
        ),
    ]


def _haloes(summary: Summary) -> list[Illustration]:
    scatter = any(row.deviation is not None for row in curve_rows(summary))
    return [
        Illustration(
            "profiles",
            "Radial profiles",
            f"Mean surface density around the halo, and over the truth's. {_BANDS}",
            profiles_figure(summary),
        ),
        Illustration(
            "deviation",
            "Scatter at given input",
            "Root mean square deviation of log mass between the samples of one halo, in rings "
            "around it. A model below the exact draws (black) is too sure of itself, one "
            "above them too noisy."
            + (
                ""
                if summary.truth["deviation"] is not None
                else " There is one draw of the truth, so that the exact scatter is not known."
            ),
            deviation_figure(summary) if scatter else None,
            "Every row has a single sample of each halo, and hence no scatter.",
        ),
    ]


def _calibration(summary: Summary) -> list[Illustration]:
    rows = curve_rows(summary)
    single = "Every row has a single sample of each halo: there is no ensemble to calibrate."
    return [
        Illustration(
            "ranks",
            "Rank histograms",
            "Where the true mass ranks among the samples of its halo, over an even histogram: "
            "filled for the whole field, outlined for its centre. Grey band: each bar of a "
            "calibrated ensemble lies inside with 95% probability. A hollow: samples too far "
            "apart; a U: too close; a slope: biased. p: chance of a histogram at least as uneven "
            "if calibrated.",
            ranks_figure(summary) if any(row.rank_histogram is not None for row in rows) else None,
            single,
        ),
        Illustration(
            "coverage",
            "Coverage",
            "Share of haloes whose truth lies within the credible region (TARP, Lemos et al. 2023) "
            "against the credibility of it; right: the difference. Grey band: holds a calibrated "
            "ensemble at each single credibility with 95% probability.",
            coverage_figure(summary) if any(row.coverage is not None for row in rows) else None,
            single,
        ),
    ]


def _pictures(benchmark: Benchmark, shown: str) -> list[Illustration]:
    return [
        Illustration(
            "gallery",
            "Fields side by side",
            "One sample of each model and floor below the truth, for a massive and a light halo. "
            "Each channel has one logarithmic colour scale in all rows; empty pixels have its "
            "lowest colour. A good sample need not equal the truth, but must look like it.",
            gallery_figure(benchmark.gallery, [row.label for row in curve_rows(benchmark.summary)]),
        ),
        Illustration(
            "fields",
            "Samples of one model",
            f"Input, truth and two samples of {shown.replace('_', ' ')} for several haloes.",
            fields_figure(benchmark.gallery, shown),
        ),
    ]


def _training(phases: Sequence[PhaseCurve] | None) -> Illustration:
    marked = any(phase.kept.size for phase in phases or ())
    star = " The star marks the model of the run, the last not clearly worse than the best."
    return Illustration(
        "training",
        "Training",
        "Loss of each phase (thin: as logged; bold: running median), and the sampled validation "
        "score, lower is better." + (star if marked else ""),
        None if phases is None else training_figure(phases),
        "The report is not of a training run, or has no log of it.",
    )
