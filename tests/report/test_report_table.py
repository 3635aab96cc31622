"""The table in the terminal and in Markdown."""

from __future__ import annotations

import io

from rich.console import Console

from halo_cm.report import markdown_table, rich_table, table_cells


def render(summary, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(rich_table(summary))
    return console.file.getvalue()


def test_cells_show_the_figures_of_the_summary(summary) -> None:
    headings, rows = table_cells(summary)
    found = dict(zip(headings, rows[0], strict=True))
    assert found["fields"] == "consistency, 1 step"
    assert found["NFE"] == "1"
    assert found["ms /\nhalo"] == "12.3"
    assert found["channel"] == ["dm", "gas", "star"]
    assert found["P(k) error\n[%]"] == ["2.0 ± 2.0", "4.0 ± 4.0", "6.0 ± 6.0"]
    assert found["mass\nbias [%]"] == ["-2.0", "-4.0", "-6.0"]
    assert found["CRPS\npixels\n/ exact"] == ["1.02", "1.04", "1.06"]
    assert found["star\npixels"] == ["", "", "0.270"]


def test_models_come_first_and_the_truth_last(summary) -> None:
    names = [cells[0] for cells in table_cells(summary)[1]]
    assert names == [
        "consistency, 1 step",
        "consistency, 2 steps",
        "copied input",
        "truth vs truth",
    ]


def test_scores_in_dex_without_exact_draws(summary_without_oracle) -> None:
    headings, rows = table_cells(summary_without_oracle)
    found = dict(zip(headings, rows[0], strict=True))
    assert found["CRPS\npixels\n[dex]"] == ["1.02", "1.04", "1.06"]
    # the mean over features, of v and 3 v
    assert found["CRPS\nfeatures\n[dex]"] == ["2.04", "2.08", "2.12"]


def test_the_terminal_table_fits_eighty_columns(summary) -> None:
    text = render(summary, 80)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    for cell in ("2.0 ± 2.0", "12.3", "copied input", "200 ± 200"):
        assert cell in text


def test_markdown_has_one_line_a_row(summary) -> None:
    lines = markdown_table(summary).splitlines()
    n_columns = len(table_cells(summary)[0])
    assert [line.count("|") for line in lines[:6]] == [n_columns + 1] * 6
    assert "2.0 ± 2.0 / 4.0 ± 4.0 / 6.0 ± 6.0" in lines[2]
    assert lines[2].endswith("| 0.53 ± 0.01 |")
    assert "in truth 0.260" in lines[-1]
