"""The first model against the others: what stands in the tables."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from report.summaries import make_summary

from halo_cm.benchmark import Benchmark, Summary
from halo_cm.report import write_report
from halo_cm.report.contrasts import (
    FIGURES,
    Comparison,
    Difference,
    comparison,
    markdown_comparison,
)


@pytest.fixture
def summary() -> Summary:
    return make_summary()


def cells(found: Comparison, row: int = 0) -> dict[str, list[Difference]]:
    return dict(zip([f.heading for f in found.figures], found.rows[row][1], strict=True))


def test_only_clear_differences_stand_out(summary) -> None:
    found = comparison(summary)
    assert found.first == "consistency, 1 step" and found.n_models == 1
    labels = [label for label, _ in found.rows]
    assert labels == ["consistency, 2 steps", "truth vs truth", "copied input"]
    # -0.05, 0.03 and 0.05 +- 0.02: beyond two errors are the first and the last
    power = cells(found)["P(k) [%]"]
    assert [d.verdict for d in power] == ["better", "", "worse"]
    assert [d.text for d in power] == ["-5.0 ± 2.0", "+3.0 ± 2.0", "+5.0 ± 2.0"]
    assert cells(found)["CRPS features / exact"][2].text == "+0.030 ± 0.020"


def test_every_channel_keeps_its_place(summary) -> None:
    """A gap is shown, or the number of the stars would be read as that of the gas."""
    assert [d.text for d in cells(comparison(summary))["bispectrum [%]"]] == [
        *("-5.0 ± 2.0", "-", "+20.0 ± 2.0")
    ]
    (stars,) = cells(comparison(summary))["star pixels [%]"]
    assert stars == Difference("-5.0 ± 2.0", "better")


@pytest.mark.parametrize(
    ("value", "error", "text", "verdict"),
    [
        (-4.2e-6, 1.3e-6, "-0.00 ± 0.00", ""),  # too small to be shown
        (-4.2e-4, 1.3e-4, "-0.04 ± 0.01", "better"),
        (1e-17, 0.0, "+0.00 ± 0.00", ""),  # rounding
        (2.0, 0.31, "+200 ± 31", "worse"),
        (0.0, 0.31, "+0 ± 31", ""),
    ],
)
def test_digits_are_those_of_the_error(summary, value, error, text, verdict) -> None:
    channels = ("dm", "gas", "star")
    one = {"difference": dict.fromkeys(channels, value), "error": dict.fromkeys(channels, error)}
    found = replace(summary, contrasts={"other": dict.fromkeys(FIGURES, one)})
    assert cells(comparison(found))["mass [%]"] == [Difference(text, verdict)] * 3


def test_figures_that_nobody_has_are_left_out_with_the_reason(summary) -> None:
    found = comparison(summary)
    assert found.absent == [FIGURES["scatter"]]
    text = markdown_comparison(summary)
    assert "- scatter [%] is left out. It needs several true draws of a halo." in text


def test_scores_say_their_unit() -> None:
    headings = [figure.heading for figure in comparison(make_summary(oracle=False)).figures]
    assert "CRPS pixels [mdex]" in headings and "CRPS features [mdex]" in headings


def test_small_differences_of_scores_are_seen() -> None:
    one = {"difference": {"dm": -3e-5, "gas": 2e-4}, "error": {"dm": 2e-6, "gas": 5e-4}}
    found = replace(make_summary(oracle=False), contrasts={"other": dict.fromkeys(FIGURES, one)})
    expected = [Difference("-0.030 ± 0.002", "better"), Difference("+0.20 ± 0.50")]
    assert cells(comparison(found))["CRPS pixels [mdex]"] == expected


def test_markdown(summary) -> None:
    lines = markdown_comparison(summary).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 2 + len(summary.contrasts)
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "**-5.0 ± 2.0** / +3.0 ± 2.0 / **+5.0 ± 2.0**" in rows[2]
    odd = replace(summary, contrasts={"<b>|": next(iter(summary.contrasts.values()))})
    assert r"&lt;b>\|" in markdown_comparison(odd)


def test_it_stands_in_the_report(summary, gallery, tmp_path) -> None:
    write_report(tmp_path, Benchmark(summary, gallery))
    assert markdown_comparison(summary) in (tmp_path / "benchmark.md").read_text(encoding="utf-8")


def test_a_single_row_has_nothing_to_be_compared_with(summary) -> None:
    alone = replace(summary, contrasts={})
    assert comparison(alone) is None and markdown_comparison(alone) == ""
