"""Figures and tables of a benchmark: the only home of matplotlib."""

from halo_cm.report.build import FIGURES, write_report
from halo_cm.report.figures import fields_figure, power_figure, training_figure
from halo_cm.report.style import figure_style, save_figure
from halo_cm.report.table import markdown_table, rich_table, table_cells
from halo_cm.report.training_log import PhaseCurve, read_training_log

__all__ = [
    "FIGURES",
    "PhaseCurve",
    "fields_figure",
    "figure_style",
    "markdown_table",
    "power_figure",
    "read_training_log",
    "rich_table",
    "save_figure",
    "table_cells",
    "training_figure",
    "write_report",
]
