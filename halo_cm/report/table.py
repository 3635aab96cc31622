"""The table of a benchmark, for the terminal, as Markdown and for the page."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.table import Table

from halo_cm.benchmark import TRUTH_VS_TRUTH, RowSummary, Summary
from halo_cm.report.columns import Cell, Column, columns, has_values


@dataclass(frozen=True)
class Cells:
    """The table as texts.

    Attributes
    ----------
    columns
        Those in which some row has a value.
    absent
        Those left out.
    rows
        Name and cells of each model, then each floor, truth against truth last.
    n_models
        How many of the rows are models.
    """

    columns: list[Column]
    absent: list[Column]
    rows: list[tuple[str, list[Cell]]]
    n_models: int


def table_cells(summary: Summary) -> Cells:
    """Columns and rows of the headline table."""
    ordered = _ordered(summary)
    known = columns(summary)
    shown = [column for column in known if has_values(column, ordered)]
    return Cells(
        columns=shown,
        absent=[column for column in known if column not in shown],
        rows=[(readable(row.label), [column.cell(row) for column in shown]) for row in ordered],
        n_models=len(summary.rows),
    )


def rich_table(summary: Summary) -> Table:
    """Table for the terminal, one line for each channel; floors stand below the models."""
    cells = table_cells(summary)
    table = Table(
        title=_fields(summary),
        caption=_caption(summary),
        box=box.HORIZONTALS,
        header_style="bold",
        padding=0,
        show_lines=True,
    )
    chosen = [column.in_terminal for column in cells.columns]
    table.add_column("fields", justify="left", no_wrap=True)
    for column in cells.columns:
        if column.in_terminal:
            left = column.heading == "channel"
            table.add_column(column.heading, justify="left" if left else "right", no_wrap=True)
    for label, texts in cells.rows:
        lines = ["\n".join(cell) if isinstance(cell, list) else cell for cell in texts]
        table.add_row(
            label.replace(", ", ",\n"),
            *(line for line, shown in zip(lines, chosen, strict=True) if shown),
        )
    return table


def markdown_table(summary: Summary) -> str:
    """All columns as Markdown, channels divided by slashes, and what they mean below."""
    cells = table_cells(summary)
    titles = ["fields", *(column.title for column in cells.columns)]
    texts = [
        [plain_markdown(label), *(cell if isinstance(cell, str) else _join(cell) for cell in row)]
        for label, row in cells.rows
    ]
    rule = ["---", *["---:"] * len(cells.columns)]
    lines = ["| " + " | ".join(row) + " |\n" for row in (titles, rule, *texts)]
    meanings = [f"- {column.title}: {column.meaning}\n" for column in cells.columns]
    absent = [f"- {column.title} is left out. {column.absent}\n" for column in cells.absent]
    return "".join([*lines, "\n", scope(summary), "\n\n", *meanings, *absent])


def scope(summary: Summary) -> str:
    """Sentences on what the rows are."""
    members, floor = summary.settings["members"], summary.floors.get(TRUTH_VS_TRUTH)
    exact = "" if floor is None else f"; {floor.members} for truth vs truth"
    return (
        f"{_fields(summary)}, {members} samples a halo "
        f"(fewer for slow models{exact}). Posterior mean: of the transformed fields, decoded."
    )


def readable(label: str) -> str:
    """Label of a row without underscores."""
    return label.replace("_", " ")


def plain_markdown(text: str) -> str:
    """Text that Markdown takes for text."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def _join(parts: list[str]) -> str:
    return " / ".join(part for part in parts if part)


def _ordered(summary: Summary) -> list[RowSummary]:
    floors = [row for name, row in summary.floors.items() if name != TRUTH_VS_TRUTH]
    exact = [row for name, row in summary.floors.items() if name == TRUTH_VS_TRUTH]
    return [*summary.rows, *floors, *exact]


def _caption(summary: Summary) -> str:
    chosen = ("P(k) error", "star pixels")
    told = [c for c in columns(summary) if c.title.startswith(chosen)]
    return (
        " ".join(f"{column.title}: {column.meaning}" for column in told)
        + " CRPS (lower is better) relative to exact draws of the truth, or in mdex, thousandths "
        "of a dex. " + scope(summary)
    )


def _fields(summary: Summary) -> str:
    splits = summary.settings["splits"]
    kind = "unseen fields" if splits == ["test"] else f"fields of the split {' and '.join(splits)}"
    return f"{summary.n_fields} {kind} of {summary.n_haloes} haloes"
