"""The page holds what the summary holds, loads nothing, and fits the window."""

from __future__ import annotations

import base64
import json
import re
import socket
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report import browser
from report.summaries import make_gallery, make_log_lines, make_summary

from halo_cm.benchmark import Benchmark, Gallery
from halo_cm.report import FIGURES as ALWAYS
from halo_cm.report import markdown_table, table_cells, write_report
from halo_cm.report.contrasts import FIGURES as DIFFERENCES
from halo_cm.report.contrasts import PERCENT, comparison
from halo_cm.report.illustrations import illustrations
from halo_cm.report.page import report_page

FIGURES = [
    "pareto",
    "power",
    "correlation",
    "bispectrum",
    "scattering",
    "pdf",
    "peaks",
    "profiles",
    "deviation",
    "ranks",
    "coverage",
    "gallery",
    "fields",
    "training",
]
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Attributes by tag, cells of the headline table, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: dict[str, list[dict]] = {}
        self.open: list[str] = []
        self.rows: list[list[list[str]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.attributes.setdefault(tag, []).append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([])

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if not {"style", "script"} & set(self.open):
            self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1].append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A whole report: drawing all figures takes seconds."""
    folder = tmp_path_factory.mktemp("report")
    log = folder / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in make_log_lines()))
    written = write_report(folder, Benchmark(make_summary(), make_gallery()), training_log=log)
    assert {folder / name for name in ALWAYS} < set(written)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def page_with(summary, gallery, folder) -> str:
    """A page with the same small image for every figure that it has."""
    image = folder / "image.png"
    image.write_bytes(b"an image")
    pictures = illustrations(Benchmark(summary, gallery), next(iter(gallery.samples)), None)
    drawn = [picture.name for picture in pictures if picture.figure is not None]
    return report_page(summary, pictures, dict.fromkeys(drawn, image))


def test_every_figure_is_embedded(page, folder) -> None:
    images = [attributes["src"] for attributes in Reader(page).attributes["img"]]
    found = [base64.b64decode(image.removeprefix("data:image/png;base64,")) for image in images]
    assert found == [(folder / f"{name}.png").read_bytes() for name in FIGURES]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert len(captions) == len(FIGURES) and min(map(len, captions)) > 60


def test_nothing_is_loaded(page) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert "script" not in reader.attributes
    for tags in reader.attributes.values():
        for attributes in tags:
            for name in ("src", "href", "srcset", "data", "action", "poster"):
                assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"url\(|@import|https?:", page)
    policy = next(m["content"] for m in reader.attributes["meta"] if "http-equiv" in m)
    assert "default-src 'none'" in policy
    # links within the page lead somewhere
    places = {a["id"] for tags in reader.attributes.values() for a in tags if "id" in a}
    assert {a["href"].removeprefix("#") for a in reader.attributes["a"]} <= places


def test_the_table_holds_the_numbers_of_the_summary(page, summary) -> None:
    reader, cells = Reader(page), table_cells(summary)
    headings = ["".join(cell).replace("\n", " ") for cell in reader.rows[0]]
    assert headings == ["fields", *(column.title for column in cells.columns)]
    for found, row in zip(
        reader.rows[1:], [*summary.rows, summary.floors["copied_input"]], strict=False
    ):
        value = dict(zip(headings, found, strict=True))
        assert value["fields"] == [row.label.replace("_", " ")]
        for title, numbers, scale, digits in (
            ("mass bias [%]", row.mass_bias, 100, 0.05),
            ("CRPS pixels / exact", row.crps_over_oracle["log_mass"], 1, 0.005),
            ("CRPS features / exact", row.crps_over_oracle["features"], 1, 0.005),
            ("Fréchet distance", row.frechet_distance, 1, 0.05),
        ):
            assert [float(text) for text in value[title]] == pytest.approx(
                [scale * number for number in numbers.values()], abs=digits
            )
        error = [float(text.split(" ± ")[0]) for text in value["P(k) error [%]"]]
        true = [100 * e["one_half_nyquist"] for e in row.power_ratio_error.values()]
        assert error == pytest.approx(true, abs=0.05)
        assert float(value["star pixels"][0]) == pytest.approx(row.occupied_fraction, abs=5e-4)
        assert value["AUC"] == [f"{row.two_sample_auc:.2f} ± 0.01"]
    first = dict(zip(headings, reader.rows[1], strict=True))
    assert first["NFE"] == ["1"] and first["ms / halo"] == ["12.3"]
    assert first["coverage KS p"] == ["0.23"]
    assert first["spread / skill"] == ["0.98", "0.96", "0.94"]
    assert first["training [core-min]"] == ["61.5"] and first["memory [GiB]"] == ["1.23"]
    floor = dict(zip(headings, reader.rows[3], strict=True))
    assert floor["NFE"] == floor["spread / skill"] == floor["memory [GiB]"] == ["-"]
    for column in cells.columns:
        assert column.meaning.replace("|", "") in "".join(reader.text).replace("|", "")


def test_the_page_says_where_the_first_model_is_better(page, summary) -> None:
    part = page[page.index('id="comparison"') : page.index("<h2>Figures</h2>")]
    assert part.startswith('id="comparison">consistency, 1 step against the others')
    n_rows = len(summary.contrasts)
    percent = sum(figure.shown_as == PERCENT for figure in DIFFERENCES.values())
    # all but the scatter, which no row has, are better in their first number by 5 +- 2 percent
    assert part.count('<div class="better">-5.0 ± 2.0</div>') == n_rows * (percent - 1)
    assert part.count('<div class="better">') == n_rows * (len(DIFFERENCES) - 1)
    assert part.count('<div class="worse">+5.0 ± 2.0</div>') == n_rows
    assert part.count('<tr class="floor">') == len(summary.floors)
    assert comparison(summary).meaning in "".join(Reader(page).text)


def test_the_command_and_the_models_are_named(page, summary) -> None:
    text = "".join(Reader(page).text)
    provenance = summary.provenance
    for expected in (
        provenance["command"],
        provenance["models"]["consistency"]["sha256"],
        "torch 2.13.0",
        "a processor",
        "data/test.h5",
        "What could mislead".lower(),
    ):
        assert expected in text


def test_names_are_text_not_markup(summary, gallery, tmp_path) -> None:
    name = "<b>x</b> & $y$ {{ 7 * 7 }}"
    row = replace(summary.rows[0], name=name)
    named = replace(summary, rows=(row,))
    fields = Gallery(gallery.cutouts, {row.label: gallery.samples["consistency, 1 step"]})
    reader = Reader(page_with(named, fields, tmp_path))
    assert "b" not in reader.attributes
    assert reader.rows[1][0] == [f"{name}, 1 step"]
    assert "<b>" not in markdown_table(named)


def test_what_was_not_measured_is_left_out_with_the_reason(summary, gallery, tmp_path) -> None:
    missing = dict.fromkeys(
        (
            *("rank_histogram", "rank_pvalue", "spread_skill", "deviation"),
            *("coverage", "coverage_band", "coverage_ks_pvalue"),
            *("training_core_seconds", "two_sample_auc", "two_sample_auc_uncertainty"),
            *("scattering_ratio", "scattering_ratio_uncertainty"),
        )
    )
    bare = replace(
        summary,
        axes={**summary.axes, "scattering": None},
        rows=tuple(replace(row, **missing) for row in summary.rows),
        floors={name: replace(row, **missing) for name, row in summary.floors.items()},
    )
    page = page_with(bare, gallery, tmp_path)
    assert len(Reader(page).attributes["img"]) == len(FIGURES) - 5
    reasons = re.findall(r'<p class="note absent">(.*?)</p>', page)
    assert len(reasons) == 4 + 4 + 1 + 1  # columns, figures, the training, and a difference
    assert any(r.startswith("scatter [%] is left out") for r in reasons)
    assert any(r.startswith("training [core-min] is left out") for r in reasons)
    assert any(r.startswith("Rank histograms: no figure") for r in reasons)
    assert any(r.startswith("Wavelet scattering: no figure") for r in reasons)


@pytest.mark.skipif(browser.find() is None, reason="no Chromium: apt-get install chromium")
@pytest.mark.parametrize("width", [1280, 1000, 400])
def test_the_page_in_a_browser(folder, tmp_path, width) -> None:
    found, console = browser.measure(folder / "report.html", width, tmp_path)
    assert found["scroll_width"] <= width
    assert found["beyond"] == [] and found["clipped"] == []
    assert len(found["images"]) == len(FIGURES) and min(found["images"]) > 500
    assert min(found["shown"]) > 600  # small enough a picture cannot be read
    assert "Coverage" in found["headings"]
    # a phone has a card for each row in the place of the wide table
    assert found["header_shown"] == (width > 960)
    assert console == []


@pytest.mark.skipif(browser.find() is None, reason="no Chromium: apt-get install chromium")
def test_the_browser_test_sees_what_is_wrong(tmp_path) -> None:
    page = tmp_path / "bad.html"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # does not listen: the image cannot be loaded
        port = server.getsockname()[1]
        page.write_text(
            "<!DOCTYPE html><body><table><thead><tr><th>x</th></tr></thead></table>"
            f'<img src="http://127.0.0.1:{port}/x.png"><div style="width:700px">wide</div>'
            "<script>console.error('trouble')</script>"
        )
        found, console = browser.measure(page, 400, tmp_path)
    assert found["scroll_width"] > 400 and "DIV:wide" in found["beyond"]
    assert found["images"] == [0]
    assert any("trouble" in line for line in console)
