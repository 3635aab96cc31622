"""A small benchmark result, written by hand."""

from __future__ import annotations

import pytest
from report.summaries import make_gallery, make_log_lines, make_summary

from halo_cm.benchmark import Benchmark, Gallery, Summary


@pytest.fixture
def summary() -> Summary:
    return make_summary()


@pytest.fixture
def summary_without_oracle() -> Summary:
    return make_summary(oracle=False)


@pytest.fixture
def gallery() -> Gallery:
    return make_gallery()


@pytest.fixture
def benchmark_result(summary, gallery) -> Benchmark:
    return Benchmark(summary, gallery)


@pytest.fixture
def log_lines() -> list[dict]:
    return make_log_lines()
