"""Writes the report of a benchmark: figures, tables, page and benchmark.json in one folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from halo_cm.atomic import explain_os_errors, write_json, write_text
from halo_cm.benchmark import Benchmark
from halo_cm.errors import DataError
from halo_cm.report.contrasts import markdown_comparison
from halo_cm.report.illustrations import illustrations
from halo_cm.report.page import report_page
from halo_cm.report.style import save_figure
from halo_cm.report.table import markdown_table
from halo_cm.report.training_log import read_training_log

logger = logging.getLogger(__name__)

#: Figures of every training run's report; others depend on what was measured.
FIGURES = ("power.png", "fields.png", "training.png")

#: Files of reports of earlier versions, whose numbers would contradict this one's.
_STALE = ("summary.json", "summary.md")


def write_report(
    folder: str | os.PathLike[str],
    benchmark: Benchmark,
    *,
    shown: str | None = None,
    training_log: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Write the figures (PNG), benchmark.md, report.html and, last, benchmark.json.

    Parameters
    ----------
    folder
        Made if it does not exist; files of an earlier report are replaced, its figures that this
        one does not have and the tables of earlier versions (summary.json, .md) are removed.
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
    phases = None if training_log is None else read_training_log(Path(training_log))
    pictures = illustrations(benchmark, label, phases)
    # the last file: with it, the report is whole
    marker = folder / "benchmark.json"
    for path in (marker, *(folder / name for name in _STALE)):
        _remove(path)
    images: dict[str, Path] = {}
    for picture in pictures:
        path = folder / f"{picture.name}.png"
        if picture.figure is None:
            _remove(path)
        else:
            images[picture.name] = save_figure(picture.figure, path)
    written = [*images.values(), folder / "benchmark.md", folder / "report.html", marker]
    tables = [table for table in (markdown_table(summary), markdown_comparison(summary)) if table]
    write_text(written[-3], "\n".join(tables))
    write_text(written[-2], report_page(summary, pictures, images))
    write_json(marker, summary.as_dict())
    logger.info("report: %s", folder)
    return written


def _remove(path: Path) -> None:
    with explain_os_errors(path):
        path.unlink(missing_ok=True)
