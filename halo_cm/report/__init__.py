"""Figures, tables and page of a benchmark: the only home of matplotlib."""

from halo_cm.report.build import FIGURES, write_report
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
from halo_cm.report.style import figure_style, save_figure
from halo_cm.report.table import markdown_table, rich_table, table_cells
from halo_cm.report.training import training_figure
from halo_cm.report.training_log import PhaseCurve, read_training_log

__all__ = [
    "FIGURES",
    "PhaseCurve",
    "bispectrum_figure",
    "correlation_figure",
    "coverage_figure",
    "deviation_figure",
    "fields_figure",
    "figure_style",
    "gallery_figure",
    "markdown_table",
    "pareto_figure",
    "pdf_figure",
    "peaks_figure",
    "power_figure",
    "profiles_figure",
    "ranks_figure",
    "read_training_log",
    "rich_table",
    "save_figure",
    "scattering_figure",
    "table_cells",
    "training_figure",
    "write_report",
]
