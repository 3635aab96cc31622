"""The table in the terminal and in Markdown."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from halo_cm.report import markdown_table, rich_table, table_cells


def render(summary, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(rich_table(summary))
    return console.file.getvalue()


def first_row(summary) -> tuple[str, dict]:
    cells = table_cells(summary)
    label, texts = cells.rows[0]
    return label, dict(zip([column.heading for column in cells.columns], texts, strict=True))


def test_cells_show_the_figures_of_the_summary(summary) -> None:
    label, found = first_row(summary)
    assert label == "consistency, 1 step"
    assert found["NFE"] == "1"
    assert found["ms /\nhalo"] == "12.3"
    assert found["channel"] == ["dm", "gas", "star"]
    assert found["P(k) error\n[%]"] == ["2.0 ± 2.0", "4.0 ± 4.0", "6.0 ± 6.0"]
    assert found["mass\nbias [%]"] == ["-2.0", "-4.0", "-6.0"]
    assert found["CRPS\npixels\n/ exact"] == ["1.02", "1.04", "1.06"]
    assert found["star\npixels"] == ["", "", "0.270"]
    assert found["isolated\nstar pixels"] == ["", "", "0.04"]


def test_models_come_first_and_the_truth_last(summary) -> None:
    names = [label for label, _ in table_cells(summary).rows]
    assert names == [
        "consistency, 1 step",
        "consistency, 2 steps",
        "copied input",
        "truth vs truth",
    ]


def test_scores_in_dex_without_exact_draws(summary_without_oracle) -> None:
    _, found = first_row(summary_without_oracle)
    assert found["CRPS\npixels\n[mdex]"] == ["1020", "1040", "1060"]
    # the mean over features, of v and 3 v
    assert found["CRPS\nfeatures\n[mdex]"] == ["2040", "2080", "2120"]


def test_the_terminal_table_fits_eighty_columns(summary) -> None:
    text = render(summary, 80)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    for cell in ("2.0 ± 2.0", "12.3", "copied input", "200 ± 200"):
        assert cell in text


def test_markdown_has_one_line_a_row(summary) -> None:
    lines = markdown_table(summary).splitlines()
    n_columns = 1 + len(table_cells(summary).columns)
    assert [line.count("|") for line in lines[:6]] == [n_columns + 1] * 6
    assert "2.0 ± 2.0 / 4.0 ± 4.0 / 6.0 ± 6.0" in lines[2]
    assert "| 0.53 ± 0.01 |" in lines[2]
    assert "12 unseen fields of 6 haloes" in lines[7]
    seen = replace(summary, settings={**summary.settings, "splits": ["train"]})
    assert "12 fields of the split train of 6 haloes, 4 samples" in markdown_table(seen)
    meanings = [line for line in lines if line.startswith("- ")]
    assert len(meanings) == n_columns - 1
    assert any("in truth 0.260" in line for line in meanings)
