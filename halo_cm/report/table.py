"""The table of a benchmark, for the terminal and as Markdown."""

from __future__ import annotations

from rich import box
from rich.table import Table

from halo_cm.benchmark import TRUTH_VS_TRUTH, RowSummary, Summary

#: Shown where a figure does not exist.
_NONE = "-"

#: Columns that fit into a terminal of 80 characters; the classifier's stands in Markdown alone.
_TERMINAL_COLUMNS = 9

#: A cell holds one text, or one for each channel.
Cell = str | list[str]


def table_cells(summary: Summary) -> tuple[list[str], list[list[Cell]]]:
    """Headings, and a row of cells for each model, then each floor, truth against truth last."""
    over_oracle = all(row.crps_over_oracle is not None for row in _ordered(summary))
    unit = "/ exact" if over_oracle else "[dex]"
    headings = [
        "fields",
        "NFE",
        "ms /\nhalo",
        "channel",
        "P(k) error\n[%]",
        "mass\nbias [%]",
        f"CRPS\npixels\n{unit}",
        f"CRPS\nfeatures\n{unit}",
        "star\npixels",
        "AUC",
    ]
    return headings, [_cells(row, over_oracle) for row in _ordered(summary)]


def rich_table(summary: Summary) -> Table:
    """Table for the terminal, one line for each channel; floors stand below the models."""
    headings, rows = table_cells(summary)
    headings, rows = headings[:_TERMINAL_COLUMNS], [row[:_TERMINAL_COLUMNS] for row in rows]
    table = Table(
        title=f"{summary.n_fields} unseen fields of {summary.n_haloes} haloes",
        caption=_caption(summary, classifier=False),
        box=box.HORIZONTALS,
        header_style="bold",
        padding=0,
        show_lines=True,
    )
    for heading in headings:
        left = heading in ("fields", "channel")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for label, *cells in rows:
        lines = ["\n".join(cell) if isinstance(cell, list) else cell for cell in cells]
        table.add_row(str(label).replace(", ", ",\n"), *lines)
    return table


def markdown_table(summary: Summary) -> str:
    """The same table as Markdown, channels divided by slashes, with its caption below."""
    headings, rows = table_cells(summary)
    titles = [heading.replace("\n", " ") for heading in headings]
    texts = [[cell if isinstance(cell, str) else _join(cell) for cell in cells] for cells in rows]
    rule = ["---", *["---:"] * (len(headings) - 1)]
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (titles, rule, *texts)]
    return "".join(lines) + "\n" + _caption(summary, classifier=True) + "\n"


def _join(parts: list[str]) -> str:
    return " / ".join(part for part in parts if part)


def _ordered(summary: Summary) -> list[RowSummary]:
    floors = [row for name, row in summary.floors.items() if name != TRUTH_VS_TRUTH]
    exact = [row for name, row in summary.floors.items() if name == TRUTH_VS_TRUTH]
    return [*summary.rows, *floors, *exact]


def _caption(summary: Summary, *, classifier: bool) -> str:
    members, floor = summary.settings["members"], summary.floors.get(TRUTH_VS_TRUTH)
    exact = "" if floor is None else f"; {floor.members} for truth against truth"
    told_apart = " AUC: of a classifier that tells samples from truth (0.5: it cannot)."
    return (
        "P(k) error: mean of |P / P_true - 1| up to half the Nyquist wavenumber, and its bootstrap "
        "error over haloes; P is the power of the overdensity of each field under a Hann window. "
        "Few samples of noisy power raise it. "
        f"CRPS (lower is better) of {members} samples a halo (fewer for slow models{exact}), "
        "relative to exact draws of the truth or in dex. Posterior mean: of the transformed "
        "fields, decoded. Star pixels: share "
        f"above {summary.settings['occupied_mass']:.0e} Msun/h, in truth "
        f"{summary.truth['occupied_fraction']:.3f}." + (told_apart if classifier else "")
    )


def _cells(row: RowSummary, over_oracle: bool) -> list[Cell]:
    errors, uncertainties = row.power_ratio_error, row.power_ratio_error_uncertainty
    channels = list(errors)
    if over_oracle and row.crps_over_oracle is not None:
        pixels, features = (row.crps_over_oracle[name] for name in ("log_mass", "features"))
    else:
        pixels = row.crps_log_mass
        features = {
            name: sum(values.values()) / len(values) for name, values in row.crps_features.items()
        }
    power = [
        f"{_percent(errors[name]['one_half_nyquist'])} ± "
        f"{_percent(uncertainties[name]['one_half_nyquist'])}"
        for name in channels
    ]
    occupied = [f"{row.occupied_fraction:.3f}" if name == "star" else "" for name in channels]
    return [
        row.label.replace("_", " "),
        _NONE if row.nfe is None else str(row.nfe),
        _NONE if row.seconds_per_halo is None else f"{1e3 * row.seconds_per_halo:.3g}",
        channels,
        power,
        [f"{100 * row.mass_bias[name]:+.1f}" for name in channels],
        [f"{pixels[name]:.2f}" for name in channels],
        [f"{features[name]:.2f}" for name in channels],
        occupied,
        _with_error(row.two_sample_auc, row.two_sample_auc_uncertainty),
    ]


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _percent(fraction: float) -> str:
    """One decimal below ten percent, whole percents above."""
    percent = 100 * fraction
    return f"{percent:.0f}" if percent >= 9.95 else f"{percent:.1f}"
