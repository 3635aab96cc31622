"""What a benchmark found, as written to benchmark.json; the attributes below are its schema.

Figures by channel are mappings ``{"dm": ..., "gas": ..., "star": ...}``. Every statistic is taken
of each sample in physical units, then averaged over samples and haloes. ``*_uncertainty`` is the
standard error from a bootstrap over haloes, of the shape of the figure it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from halo_cm.benchmark.rows import row_label
from halo_cm.errors import DataError

#: Raised by one whenever a key comes, goes, or changes its meaning.
SCHEMA_VERSION = 6

ByChannel = dict[str, float]
Curves = dict[str, list[float]]
Counts = dict[str, list[int]]
#: Curves with None where a ratio is undefined.
Gappy = dict[str, list[float | None]]
#: By figure of merit, ``{"difference": ..., "error": ...}``, each with one number a channel.
Contrast = dict[str, dict[str, dict[str, float | None]]]


@dataclass(frozen=True)
class RowSummary:
    """Figures of merit of one model and step count, or of one floor.

    Attributes
    ----------
    name, n_sampling_steps, nfe
        The model, its number of sampling steps and of network evaluations a field; None where
        there are none.
    members, scoring
        Samples for each halo, and how they are scored (`halo_cm.benchmark.rows.Scoring`).
    seconds_per_halo
        Time to generate one field: median of repeats on a fixed batch, after a warm-up; None for
        fields that were not generated.
    power_ratio
        P(k) / P_true(k) at ``Summary.k``, by channel.
    power_ratio_error
        By channel, ``{"one_half_nyquist": ..., "nyquist": ...}``: mean of |ratio - 1| over the
        wavenumbers up to half of, and up to, the Nyquist wavenumber.
    cross_correlation
        r(k) between samples and truth, by channel.
    mass_bias
        Mean mass over mean true mass, minus 1, by channel.
    occupied_fraction
        Share of star pixels above ``Summary.settings["occupied_mass"]``.
    isolated_pixels
        `halo_cm.statistics.isolated_pixels`: mean number of star pixels of a field, but for its
        edge, above ``Summary.settings["bright_mass"]`` with at most one occupied neighbour.
    crps_log_mass
        Fair CRPS of log10(1 + m / m0) of pixels [dex], by channel; m0 is
        ``Summary.settings["pixel_mass"]``. The absolute error if ``scoring`` is
        ``"deterministic"``.
    crps_features
        Fair CRPS of log masses and log band powers [dex], by channel and feature.
    crps_over_oracle
        The two scores over those of exact draws, ``{"log_mass": ByChannel, "features":
        ByChannel}`` (features: mean of the ratios); None if no second draw of the truth is known,
        or one of its scores is zero; the uncertainty is None where it is zero in a resample.
    empty_maps
        Number of samples without any mass, by channel: their power counts as zero.
    two_sample_auc
        Area under the ROC curve of a classifier that tells samples from truth by the features, the
        parameters and masses of the condition, cross-validated over haloes: 0.5 if it cannot; None
        for fewer than ten haloes.
    suppression
        S(k) = P / P_dmo of the mean powers at ``Summary.k``, P of the sum of the channels, P_dmo of
        the dark-matter-only map.
    bispectrum_ratio
        ``{"equilateral": Curves, "squeezed": Curves}``: B over that of the truth, at
        ``Summary.axes["bispectrum"]``; None where the true one is not positive in every resample.
    scattering_ratio
        Wavelet scattering coefficients of log10(1 + m / m0) over those of the truth, by channel,
        for ``Summary.axes["scattering"]``; None without kymatio.
    pdf
        One-point distribution of log10(1 + m / m0) [1/dex] at ``Summary.axes["pdf"]``, by channel.
    pdf_distance
        Total variation between it and that of the truth, half the integral of |p - q|: 0 to 1.
    peaks
        Mean number of peaks in a field at or above the masses ``Summary.axes["peaks"]``.
    profile_ratio
        Mean surface density over the true one at the radii ``Summary.axes["radius"]``, by channel;
        None where the true one is zero in a resample.
    deviation
        Root mean square deviation of log10(1 + m / m0) [dex] between the samples of one halo, at
        ``Summary.axes["radius"]``; None for a single sample a halo.
    frechet_distance
        `halo_cm.statistics.frechet_distance` to the truth in the features of
        `halo_cm.statistics.frechet_features`, by channel, of
        ``Summary.settings["samples_told_apart"]`` samples of each cutout; None where a feature is
        equal in all truths.
    rank_histogram
        By quantity (``"mass"`` of the field, ``"central_mass"`` within 1/16 of its width) and
        channel: how many haloes have their true value at each rank 0 to R among the first R
        members, one field a halo. R leaves five haloes or more for each rank where it can. None
        without an ensemble.
    rank_pvalue
        Chance of a rank histogram at least as uneven if calibrated, by quantity and channel.
    spread_skill
        Spread of the log10 masses of the field over the error of their mean, by channel: 1 if
        calibrated, below if too sure; None if the mean has no error. None without an ensemble.
    coverage
        Share of haloes inside the TARP credible regions of ``Summary.axes["credibility"]``; equal
        to it if calibrated. None without an ensemble, or if a feature is equal in all truths.
    coverage_band
        ``[low, high]``: where ``coverage`` lies pointwise with 95% probability if calibrated.
    coverage_ks_pvalue
        Chance of a coverage at least as far from calibrated (Kolmogorov-Smirnov).
    training_core_seconds
        Processor time of the training [s], all cores together; None if the model does not say.
    peak_memory_gib
        Largest resident memory of the process while the row was sampled [GiB]; None for fields
        that were not generated.
    """

    name: str
    n_sampling_steps: int | None
    nfe: int | None
    members: int
    scoring: str
    seconds_per_halo: float | None
    power_ratio: Curves
    power_ratio_uncertainty: Curves
    power_ratio_error: dict[str, ByChannel]
    power_ratio_error_uncertainty: dict[str, ByChannel]
    cross_correlation: Curves
    mass_bias: ByChannel
    mass_bias_uncertainty: ByChannel
    occupied_fraction: float
    isolated_pixels: float
    crps_log_mass: ByChannel
    crps_features: dict[str, ByChannel]
    crps_over_oracle: dict[str, ByChannel] | None
    crps_over_oracle_uncertainty: dict[str, dict[str, float | None]] | None
    empty_maps: dict[str, int]
    two_sample_auc: float | None
    two_sample_auc_uncertainty: float | None
    suppression: list[float]
    suppression_uncertainty: list[float]
    bispectrum_ratio: dict[str, Gappy]
    bispectrum_ratio_uncertainty: dict[str, Gappy]
    scattering_ratio: Gappy | None
    scattering_ratio_uncertainty: Gappy | None
    pdf: Curves
    pdf_distance: ByChannel
    peaks: Curves
    profile_ratio: Gappy
    profile_ratio_uncertainty: Gappy
    deviation: Curves | None
    frechet_distance: dict[str, float | None]
    rank_histogram: dict[str, Counts] | None
    rank_pvalue: dict[str, ByChannel] | None
    spread_skill: dict[str, float | None] | None
    coverage: list[float] | None
    coverage_band: list[list[float]] | None
    coverage_ks_pvalue: float | None
    training_core_seconds: float | None
    peak_memory_gib: float | None

    @property
    def label(self) -> str:
        """Name for figures and tables, with the number of steps."""
        return row_label(self.name, self.n_sampling_steps)


@dataclass(frozen=True)
class Summary:
    """All rows of one benchmark.

    Attributes
    ----------
    schema_version, seed
        `SCHEMA_VERSION`, and the seed of samples and bootstrap.
    n_fields, n_haloes
        True fields, and the haloes they show (in several projections and draws).
    k, k_nyquist, field_of_view
        Wavenumbers of the curves [h/Mpc], the Nyquist wavenumber [h/Mpc] and the width of the
        fields [Mpc/h].
    axes
        What the other curves stand over: ``"bispectrum"`` (by configuration, k of the two equal
        sides [h/Mpc]), ``"pdf"`` (by channel, centres of the bins of log10(1 + m / m0) [dex]),
        ``"peaks"`` (by channel, thresholds [Msun/h per pixel]), ``"radius"`` (middles of the rings
        [Mpc/h]), ``"scattering"`` (scales of each coefficient [pixels], None without kymatio) and
        ``"credibility"`` (levels of the credible regions).
    truth
        ``"occupied_fraction"``, ``"isolated_pixels"``, ``"mean_mass"`` [Msun/h a field, by
        channel], and of the true fields ``"power"`` (mean P(k) [(Mpc/h)^2] by channel),
        ``"suppression"``, ``"pdf"``, ``"peaks"``, ``"profile"`` (mean surface density [(Msun/h) /
        (Mpc/h)^2] by channel) and ``"deviation"`` (None with one draw of the truth).
    rows
        The models, in the order they were given.
    floors
        By name, what a good model must beat, and ``"truth_vs_truth"``, an independent draw of the
        truth at the same haloes. No model has a lower expected CRPS; its P(k), of one draw a halo,
        is noisier than that of a model with several samples.
    contrasts
        The first model minus every other row, by label and figure
        (`halo_cm.benchmark.contrasts.contrast`): ``{"difference": ..., "error": ...}`` by channel,
        both resampled with the same haloes; below zero the first is better. But for scores, of
        ``settings["samples_compared"]`` samples of each cutout. None where it does not exist.
    settings, provenance
        Settings of the statistics; command, versions, hardware and data.
    """

    schema_version: int
    seed: int
    n_fields: int
    n_haloes: int
    k: list[float]
    k_nyquist: float
    field_of_view: float
    axes: dict[str, Any]
    truth: dict[str, Any]
    rows: tuple[RowSummary, ...]
    floors: dict[str, RowSummary]
    contrasts: dict[str, Contrast]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(self.truth["mean_mass"])

    @property
    def over_exact(self) -> bool:
        """Whether every row has scores over those of exact draws."""
        rows = (*self.rows, *self.floors.values())
        return all(row.crps_over_oracle is not None for row in rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and strings, ready for JSON."""
        content = asdict(self)
        content["rows"] = list(content["rows"])
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: str = "summary") -> Summary:
        """Inverse of `as_dict`; ``source`` names the origin in error messages.

        Raises
        ------
        DataError
            If the schema is of another version or keys are missing.
        """
        found = content.get("schema_version")
        if found != SCHEMA_VERSION:
            raise DataError(
                f"{source}: schema_version is {found}, this halo_cm reads {SCHEMA_VERSION}: "
                "run the benchmark again"
            )
        try:
            rows = tuple(RowSummary(**row) for row in content["rows"])
            floors = {name: RowSummary(**row) for name, row in content["floors"].items()}
            return cls(**{**content, "rows": rows, "floors": floors})
        except (TypeError, KeyError) as error:
            raise DataError(f"{source} is not a complete benchmark summary: {error}") from error


def read_summary(path: str | Path) -> Summary:
    """Read a benchmark.json.

    Raises
    ------
    DataError
        If the file is missing, is not JSON, or is of another schema.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: run the benchmark first") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}): run the benchmark again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no benchmark summary: expected a JSON object")
    return Summary.from_dict(content, str(path))
