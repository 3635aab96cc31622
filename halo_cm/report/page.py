"""The page of a benchmark: one HTML file that loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from halo_cm.benchmark import Summary
from halo_cm.report.contrasts import comparison
from halo_cm.report.illustrations import Illustration, omitted_rows
from halo_cm.report.table import scope, table_cells


def report_page(
    summary: Summary, illustrations: Sequence[Illustration], images: Mapping[str, Path]
) -> str:
    """HTML with tables, figures and provenance.

    Parameters
    ----------
    summary, illustrations
        What the page shows.
    images
        PNG files by the name of the illustration, embedded in the page.

    Returns
    -------
    str
        A whole document: styles and images are inside it, scripts it has none, and its security
        policy forbids it to load anything.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("halo_cm.report").joinpath("page.html").read_text(encoding="utf-8")
    provenance = summary.provenance
    return environment.from_string(source).render(
        title=_title(summary),
        summary=summary,
        scope=scope(summary),
        table=table_cells(summary),
        comparison=comparison(summary),
        illustrations=illustrations,
        images={name: _embedded(path) for name, path in images.items()},
        omitted=omitted_rows(summary),
        command=provenance.get("command"),
        facts=_facts(summary),
        details=list(_flat(provenance)),
        settings=list(_flat(summary.settings)),
    )


def _title(summary: Summary) -> str:
    names = list(dict.fromkeys(row.name.replace("_", " ") for row in summary.rows))
    return "Benchmark of " + ", ".join(names)


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """What a referee asks first: when, on what, with which software, of which data."""
    found = summary.provenance
    versions = ", ".join(f"{name} {version}" for name, version in found.get("versions", {}).items())
    hardware = found.get("hardware", {})
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in hardware.items())
    facts = [
        ("date", found.get("date", "")),
        ("seed", str(summary.seed)),
        ("fields", f"{summary.n_fields} of {summary.n_haloes} haloes"),
        ("width", f"{summary.field_of_view:g} Mpc/h, Nyquist at {summary.k_nyquist:.3g} h/Mpc"),
        ("data", found.get("data", {}).get("path", "")),
        ("hardware", machine),
        ("versions", versions),
    ]
    return [(name, value) for name, value in facts if value]


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and texts of nested values."""
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
