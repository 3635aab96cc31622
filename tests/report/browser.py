"""A page in headless Chromium, measured at a given width."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# a frame has any width, a window of Chromium at least 500 px
_HARNESS = """<!DOCTYPE html><body style="margin:0">
<iframe id="page" style="border:0;width:{width}px;height:4000px" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const inside = document.getElementById("page").contentDocument;
  // what scrolls in its own box may be wider than the page
  const elements = [...inside.body.querySelectorAll("*")].filter(e => !e.closest(".wide"));
  const name = e => e.tagName + ":" + e.textContent.trim().slice(0, 40);
  const found = {{
    scroll_width: inside.documentElement.scrollWidth,
    beyond: elements.filter(e => e.getBoundingClientRect().right > {width} + 0.5).map(name),
    clipped: elements.filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth).map(name),
    images: [...inside.images].map(image => image.naturalWidth),
    shown: [...inside.images].map(image => image.clientWidth),
    headings: [...inside.querySelectorAll("h1, h2, h3")].map(e => e.textContent),
    header_shown: inside.querySelector("thead").getBoundingClientRect().height > 0,
  }};
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify(found);
  document.body.replaceChildren(result);
}});
</script>"""


def find() -> str | None:
    """Command of a Chromium, if one is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def measure(page: Path, width: int, folder: Path) -> tuple[dict, list[str]]:
    """What a reader with a window of ``width`` pixels gets, and the messages of the console."""
    harness = folder / f"harness_{width}.html"
    content = html.escape(page.read_text(encoding="utf-8"))
    harness.write_text(_HARNESS.format(width=width, page=content), encoding="utf-8")
    done = run(harness, folder, "--dump-dom", f"--window-size={max(width, 500)},4000")
    text = done.stdout.partition('<pre id="found">')[2].partition("</pre>")[0]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(html.unescape(text)), console


def run(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        str(find()),
        "--headless",
        "--no-sandbox",  # in a container, as root
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        f"--user-data-dir={folder / 'profile'}",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
