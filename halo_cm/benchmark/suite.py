"""Benchmark: samples of several models beside the truth, at the same haloes, in the same run.

Rows are evaluated one after another and a part of the haloes at a time; the fields of a part are
dropped once its statistics are known, so that memory does not grow with haloes or rows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from halo_cm.benchmark.calibrate import BAND, N_LEVELS
from halo_cm.benchmark.contrasts import Merits, contrasts_with_first, merits, over_oracle
from halo_cm.benchmark.cost import Cost, PeakMemory
from halo_cm.benchmark.exact_draws import ExactDraws
from halo_cm.benchmark.fields import (
    FEW_FOR_BISPECTRUM,
    FEW_FOR_SCATTERING,
    N_ORIENTATIONS,
    WINDOW,
)
from halo_cm.benchmark.floors import TRUTH_VS_TRUTH, truth_vs_truth
from halo_cm.benchmark.measure import FEW_TRUTHS, SampleStatistics, measure
from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.selection import spread_over_masses
from halo_cm.benchmark.summarise import summarise
from halo_cm.benchmark.summary import SCHEMA_VERSION, RowSummary, Summary
from halo_cm.benchmark.truth import Truth
from halo_cm.containers import SPLITS, Cutouts, FloatArray, check_mass
from halo_cm.errors import DataError
from halo_cm.progress import Task, progress
from halo_cm.seeding import derive_seed
from halo_cm.statistics import BRIGHT_MASS, OCCUPIED_MASS, PIXEL_MASS, scattering_available

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run.

    Attributes
    ----------
    n_resamples
        Bootstrap resamples of the haloes, and of their boxes if there are enough.
    fields_at_once
        Cutouts that are generated and measured together: bounds the memory.
    timing_fields, timing_repeats
        Fields of the batch that is timed, and repeats whose median counts.
    gallery_fields, gallery_members
        Cutouts, and samples of each, that are kept for pictures.
    """

    n_resamples: int = 1000
    fields_at_once: int = 64
    timing_fields: int = 16
    timing_repeats: int = 3
    gallery_fields: int = 4
    gallery_members: int = 2


@dataclass(frozen=True)
class Gallery:
    """Fields of a few haloes for pictures, the most massive first.

    Attributes
    ----------
    cutouts
        The G haloes with their inputs and truth.
    samples
        By label of the row, masses per pixel [Msun/h], shape (G, R, C, H, W).
    """

    cutouts: Cutouts
    samples: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Benchmark:
    """Figures of merit, and a few fields to look at."""

    summary: Summary
    gallery: Gallery


def evaluate(
    rows: Sequence[Row],
    cutouts: Cutouts,
    redraw: Cutouts | ExactDraws | None,
    *,
    members: int = 8,
    seed: int = 0,
    settings: Settings | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Benchmark:
    """Compare rows with the truth.

    Parameters
    ----------
    rows
        Models and floors.
    cutouts
        Haloes that no model was trained on, with their truth.
    redraw
        Independent draws of the truth at these haloes and parameters (and perhaps at others); or
        many exact draws of each halo, half of which then are the truth in place of the targets of
        ``cutouts``, and the others its floor; None if there are none, as for a real simulation:
        truth against truth is then left out.
    members
        Samples for each halo, at least 2.
    seed
        Fixes the samples (with ``settings.fields_at_once``) and the bootstrap.
    settings, provenance
        See `Settings` and `halo_cm.benchmark.provenance.describe_run`.

    Raises
    ------
    DataError
        If the cutouts have no truth, the redraw does not match them, maps are empty or constant
        (`Truth.of`), a row has one sample where an ensemble is needed, or it returns fields that
        are unphysical or of the wrong shape.
    """
    settings = settings or Settings()
    draws = None
    if isinstance(redraw, ExactDraws):
        draws, rows = redraw.first_half(cutouts), (redraw.row(), *rows)
    elif redraw is not None:
        rows = (truth_vs_truth(cutouts, redraw), *rows)
    labels = [row.label for row in rows]
    if len(set(labels)) < len(labels):
        raise DataError(f"rows of a benchmark need different names, found {', '.join(labels)}")
    _check_members(rows, members)
    _say_what_is_not_measured()
    runner = _Runner(cutouts, members, seed, settings, draws)
    gallery = _Gallery(cutouts, settings)
    samples = {
        "samples_told_apart": _told_apart(rows, runner),
        "samples_compared": _fewest_members(rows, runner),
    }
    results = _results(runner, rows, gallery, *samples.values())
    summary = _assemble(runner, results, {**_describe(runner), **samples}, provenance or {})
    return Benchmark(summary, gallery.finished())


def _results(
    runner: _Runner, rows: Sequence[Row], gallery: _Gallery, n_each: int, n_compared: int
) -> list[tuple[Row, RowSummary, Merits]]:
    """Figures of all rows; the draws of the truth, which scale the others, come first."""
    oracle: SampleStatistics | None = None
    results: list[tuple[Row, RowSummary, Merits]] = []
    with progress("benchmark", len(rows) * len(runner.parts)) as task:
        for row in rows:
            statistics, few = runner.run(row, n_compared, gallery, task)
            if row.name == TRUTH_VS_TRUTH:
                oracle = statistics
                _say_if_unscaled(oracle, runner.truth)
            cost = runner.cost(row)
            found = summarise(row, statistics, runner.truth, oracle, cost, n_each, runner.seed)
            results.append((row, found, merits(row, statistics, few, runner.truth, oracle)))
    return results


def _check_members(rows: Sequence[Row], members: int) -> None:
    for row in rows:
        if row.scoring == "ensemble" and row.n_members(members) < 2:
            raise DataError(
                f"row {row.label!r} needs at least two members for each halo, found "
                f"{row.n_members(members)}: draw more samples, or say scoring='deterministic' if "
                "the prediction has no randomness"
            )


def _say_what_is_not_measured() -> None:
    if not scattering_available():
        logger.warning(
            "scattering_ratio is null in the report: kymatio cannot be imported; "
            "pip install 'halo_cm[scattering]'"
        )


def _say_if_unscaled(oracle: SampleStatistics, truth: Truth) -> None:
    if over_oracle(oracle, oracle, truth.weights) is None:
        logger.warning(
            "crps_over_oracle is undefined, null in the report: some statistic is the same in "
            "all draws of the truth for every halo; are they independent draws?"
        )


def _told_apart(rows: Sequence[Row], runner: _Runner) -> int:
    """Samples of a cutout that are told from the truth, the same for all ensembles.

    With fewer the Fréchet distance rises and the AUC falls, whatever the model.
    """
    return min(FEW_TRUTHS, runner.truth.n_draws, _fewest_members(rows, runner))


def _fewest_members(rows: Sequence[Row], runner: _Runner) -> int:
    """Samples of a cutout on which rows are compared: what all ensembles have, 1 without any."""
    ensembles = [row.n_members(runner.members) for row in rows if row.scoring == "ensemble"]
    return min(ensembles, default=1)


def _assemble(
    runner: _Runner,
    results: Sequence[tuple[Row, RowSummary, Merits]],
    settings: dict[str, Any],
    provenance: Mapping[str, Any],
) -> Summary:
    truth = runner.truth
    models = [found for row, found, _ in results if row.kind == "model"]
    # models in the order given, the first of which is compared with the others; the truth last
    by_kind = sorted(results, key=lambda r: (r[0].kind != "model", r[0].name == TRUTH_VS_TRUTH))
    compared = {found.label: merit for _, found, merit in by_kind} if models else {}
    return Summary(
        schema_version=SCHEMA_VERSION,
        seed=runner.seed,
        n_fields=len(runner.cutouts),
        n_haloes=truth.n_haloes,
        k=truth.dmo.k.tolist(),
        k_nyquist=truth.dmo.k_nyquist,
        field_of_view=runner.cutouts.geometry.field_of_view,
        axes={**truth.axes.as_dict(), "credibility": np.linspace(0, 1, N_LEVELS).tolist()},
        truth=truth.as_dict(),
        rows=tuple(models),
        floors={row.name: found for row, found, _ in results if row.kind == "floor"},
        contrasts=contrasts_with_first(truth.channels, compared),
        settings=settings,
        provenance=dict(provenance),
    )


def _describe(runner: _Runner) -> dict[str, Any]:
    """Everything that defines the statistics, as plain JSON values."""
    n_truths, settings = runner.truth.n_draws, runner.settings
    return {
        **asdict(settings),
        "splits": sorted({SPLITS[i] for i in runner.cutouts.split}),
        "timing_fields": min(settings.timing_fields, len(runner.cutouts)),
        "members": runner.members,
        "bootstrap": runner.truth.bootstrap,
        "most_fields_for_bispectrum": FEW_FOR_BISPECTRUM,
        "bispectrum_ring_width": runner.truth.axes.ring_width,
        "most_fields_for_scattering": FEW_FOR_SCATTERING,
        "scattering_orientations": N_ORIENTATIONS,
        "coverage_band_level": BAND,
        "truths": n_truths,
        "truths_for_pixels": min(n_truths, FEW_TRUTHS),
        "window": WINDOW,
        "pixel_mass": dict(PIXEL_MASS),
        "occupied_mass": OCCUPIED_MASS,
        "bright_mass": BRIGHT_MASS,
    }


class _Runner:
    """Generates the fields of a row part by part, and measures them."""

    def __init__(
        self,
        cutouts: Cutouts,
        members: int,
        seed: int,
        settings: Settings,
        draws: FloatArray | None,
    ) -> None:
        self.cutouts, self.members, self.seed, self.settings = cutouts, members, seed, settings
        self.truth = Truth.of(cutouts, settings.n_resamples, seed, draws)
        self.memory = PeakMemory()
        step = settings.fields_at_once
        self.parts = [slice(i, min(i + step, len(cutouts))) for i in range(0, len(cutouts), step)]

    def run(
        self, row: Row, n_few: int, gallery: _Gallery, task: Task
    ) -> tuple[SampleStatistics, SampleStatistics]:
        """Statistics of all haloes, of all samples and of the first few."""
        task.describe(row.label)
        self.memory = PeakMemory()
        measured, measured_few = [], []
        for number, part in enumerate(self.parts):
            samples = self._generate(row, part, number)
            gallery.keep(row, part, samples)
            truth = (self.truth.fields[part], self.truth.statistics.numbers[part])
            measured.append(measure(samples, *truth, self.truth.axes, row.scoring))
            if samples.shape[1] > n_few:
                few = measure(samples[:, :n_few], *truth, self.truth.axes, row.scoring)
                measured_few.append(few)
            task.advance()
        statistics = SampleStatistics.concatenate(measured)
        self._report_empty(row, statistics)
        few = SampleStatistics.concatenate(measured_few) if measured_few else statistics
        return statistics, few

    def cost(self, row: Row) -> Cost:
        """Median time to generate one field of a fixed batch, after a warm-up; and memory."""
        if row.name == TRUTH_VS_TRUTH:
            return Cost(None, None)
        batch = self.cutouts.select(slice(0, self.settings.timing_fields))
        row.generate(batch, 1, self.seed)
        seconds = []
        for _ in range(self.settings.timing_repeats):
            start = time.perf_counter()
            row.generate(batch, 1, self.seed)
            seconds.append(time.perf_counter() - start)
        return Cost(float(np.median(seconds)) / len(batch), self.memory.gib)

    def _generate(self, row: Row, part: slice, number: int) -> FloatArray:
        cutouts, members = self.cutouts.select(part), row.n_members(self.members)
        # another seed for each part: rows may number the haloes of a part from zero
        with self.memory:
            samples = row.generate(cutouts, members, derive_seed(self.seed, "benchmark", number))
        geometry = self.cutouts.geometry
        side = geometry.n_pixels
        expected = (len(cutouts), members, len(geometry.channels), side, side)
        if samples.shape != expected:
            raise DataError(
                f"row {row.label!r} returned fields of shape {samples.shape}, expected {expected} "
                "(cutout, member, channel, y, x); a prediction without randomness has one member "
                "and scoring='deterministic'"
            )
        check_mass(samples, f"row {row.label!r}")
        return samples

    @staticmethod
    def _report_empty(row: Row, statistics: SampleStatistics) -> None:
        n_empty = int(statistics.empty.sum())
        if n_empty:
            logger.warning(
                "%s: %d sampled maps hold no mass; their power counts as zero", row.label, n_empty
            )


class _Gallery:
    """Keeps the fields of a few haloes while the others are dropped."""

    def __init__(self, cutouts: Cutouts, settings: Settings) -> None:
        self.cutouts, self.n_members = cutouts, settings.gallery_members
        self.chosen = spread_over_masses(cutouts, settings.gallery_fields)
        self.samples: dict[str, FloatArray] = {}

    def keep(self, row: Row, part: slice, samples: FloatArray) -> None:
        kept = samples[:, : self.n_members]
        if row.label not in self.samples:
            shape = (len(self.chosen), *kept.shape[1:])
            self.samples[row.label] = np.empty(shape, samples.dtype)
        here = (self.chosen >= part.start) & (self.chosen < part.stop)
        self.samples[row.label][here] = kept[self.chosen[here] - part.start]

    def finished(self) -> Gallery:
        return Gallery(self.cutouts.select(self.chosen), self.samples)
