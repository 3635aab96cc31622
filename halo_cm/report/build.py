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


def write_report(
    folder: str | os.PathLike[str],
    benchmark: Benchmark,
    *,
    shown: str | None = None,
    training_log: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Write summary.json, summary.md, power.png, fields.png and training.png.

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
    written = [folder / "summary.json", folder / "summary.md"]
    write_json(written[0], summary.as_dict())
    write_text(written[1], markdown_table(summary))
    written.append(save_figure(power_figure(summary), folder / "power.png"))
    written.append(save_figure(fields_figure(benchmark.gallery, label), folder / "fields.png"))
    if training_log is not None:
        phases = read_training_log(Path(training_log))
        written.append(save_figure(training_figure(phases), folder / "training.png"))
    logger.info("report: %s", folder)
    return written
