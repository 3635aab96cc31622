"""Writes the report of a benchmark: figures, tables and summary.json in one folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from halo_cm.atomic import write_json, write_text
from halo_cm.benchmark import Benchmark
from halo_cm.errors import DataError
from halo_cm.report.figures import fields_figure, power_figure, training_figure
from halo_cm.report.style import save_figure
from halo_cm.report.table import markdown_table
from halo_cm.report.training_log import read_training_log

logger = logging.getLogger(__name__)

FIGURES = ("power.png", "fields.png", "training.png")


def write_report(
    folder: str | os.PathLike[str],
    benchmark: Benchmark,
    *,
    shown: str | None = None,
    training_log: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Write power.png, fields.png, training.png, summary.md and, last, summary.json.

    Parameters
    ----------
    folder
        Made if it does not exist; files of an earlier report are replaced.
    benchmark
        What `halo_cm.benchmark.evaluate` returned.
    shown
        Label of the row whose samples fields.png shows; the first model if None.
    training_log
        Log of the training; training.png is written only with it.

    Returns
    -------
    list[Path]
        The files, in the order above.

    Raises
    ------
    OutputError
        If a file cannot be written.
    DataError
        If there is no model, the log cannot be read, or no fields of ``shown`` were kept.
    """
    folder = Path(folder)
    summary = benchmark.summary
    if not summary.rows:
        raise DataError("the benchmark holds no model to report on, only floors")
    label = summary.rows[0].label if shown is None else shown
    written = [save_figure(power_figure(summary), folder / "power.png")]
    written.append(save_figure(fields_figure(benchmark.gallery, label), folder / "fields.png"))
    if training_log is not None:
        phases = read_training_log(Path(training_log))
        written.append(save_figure(training_figure(phases), folder / "training.png"))
    written += [folder / "summary.md", folder / "summary.json"]
    write_text(written[-2], markdown_table(summary))
    # the last file: with it, the report is whole
    write_json(written[-1], summary.as_dict())
    logger.info("report: %s", folder)
    return written
