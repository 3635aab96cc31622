"""Progress bars with the time left, and plain log lines where no terminal shows them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
#: How many progresses are under way in this thread.
_depth: ContextVar[int] = ContextVar("progress_depth", default=0)
_LOG_EVERY_SECONDS = 30.0


class Task:
    """One bar: `advance` moves it, `describe` changes the text beside it."""

    def __init__(
        self, description: str, total: int, done: int, logger: logging.Logger, show: bool
    ) -> None:
        self.description, self.total, self.done = description, total, done
        self._done_before = done
        self._logger, self._start = logger, time.monotonic()
        self._last_log = self._start
        self._bar = _make_bar(description, total, done) if show and sys.stderr.isatty() else None
        self._log = show and self._bar is None
        self._note = ""

    def advance(self, steps: int = 1) -> None:
        """Move on by ``steps``."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=steps)
        now = time.monotonic()
        if self._log and (now - self._last_log > _LOG_EVERY_SECONDS):
            self._last_log = now
            rate = (self.done - self._done_before) / max(now - self._start, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            text = f"{self.description}: {self.done}/{self.total}, {left:.0f} s left {self._note}"
            self._logger.info(text.rstrip())

    def describe(self, note: str) -> None:
        """Show ``note``, for example the current loss, beside the bar."""
        self._note = note
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=f"{self.description} {note}")

    def close(self) -> None:
        """Stop drawing."""
        if self._bar is not None:
            self._bar.stop()
        elif self._log:
            elapsed = time.monotonic() - self._start
            self._logger.info(
                "%s: %d/%d in %.0f s", self.description, self.done, self.total, elapsed
            )


@contextmanager
def progress(description: str, total: int, *, show: bool = True, done: int = 0) -> Iterator[Task]:
    """Progress of ``total`` steps, the first ``done`` of which were finished earlier.

    Inside another progress, of which it is a part, it shows nothing.

    A bar with elapsed and remaining time is drawn on a terminal; elsewhere (a log file, a batch
    job) a line is logged every half minute. ``set_verbosity("warning")`` silences both.
    """
    logger = logging.getLogger("halo_cm")
    outermost = _depth.get() == 0
    token = _depth.set(_depth.get() + 1)
    visible = show and outermost and logger.isEnabledFor(logging.INFO)
    task = Task(description, total, done, logger, visible)
    try:
        yield task
    finally:
        task.close()
        _depth.reset(token)


def track(items: Iterable[T], description: str, total: int, *, show: bool = True) -> Iterator[T]:
    """Iterate over ``items`` under a progress bar."""
    with progress(description, total, show=show) as task:
        for item in items:
            yield item
            task.advance()


def _make_bar(description: str, total: int, done: int):  # type: ignore[no-untyped-def]
    # rich is imported late: `halo-cm --help` must stay fast
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    bar.add_task(description, total=total, completed=done)
    bar.start()
    return bar
