"""Comparison of models with the truth, with each other and with simple floors."""

from halo_cm.benchmark.baselines import copied_input, stellar_fraction
from halo_cm.benchmark.exact_draws import ExactDraws, read_exact_draws
from halo_cm.benchmark.floors import TRUTH_VS_TRUTH, truth_vs_truth
from halo_cm.benchmark.provenance import describe_run
from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.selection import spread_over_haloes
from halo_cm.benchmark.suite import Benchmark, Gallery, Settings, evaluate
from halo_cm.benchmark.summary import RowSummary, Summary, read_summary

__all__ = [
    "TRUTH_VS_TRUTH",
    "Benchmark",
    "ExactDraws",
    "Gallery",
    "Row",
    "RowSummary",
    "Settings",
    "Summary",
    "copied_input",
    "describe_run",
    "evaluate",
    "read_exact_draws",
    "read_summary",
    "spread_over_haloes",
    "stellar_fraction",
    "truth_vs_truth",
]
