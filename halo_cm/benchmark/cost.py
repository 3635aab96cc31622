"""What a row costs: time, and memory while it is sampled."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType

import psutil

#: Seconds between two looks at the memory.
_INTERVAL = 0.01


@dataclass(frozen=True)
class Cost:
    """Cost of the fields of a row; None for fields that were not generated.

    Attributes
    ----------
    seconds_per_halo
        Median time to generate one field [s].
    peak_memory_gib
        Largest resident memory of the process while fields were generated [GiB].
    """

    seconds_per_halo: float | None
    peak_memory_gib: float | None


class PeakMemory:
    """Largest resident memory of this process while it is entered, seen by a thread.

    What other processes or a GPU hold is not counted, and a peak of less than 10 ms may be missed.

    Attributes
    ----------
    gib
        The largest so far, over all times it was entered [GiB].
    """

    def __init__(self) -> None:
        self.gib = 0.0
        self._process = psutil.Process()
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        self._left.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        if self._thread is not None:
            self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._left.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        self.gib = max(self.gib, self._process.memory_info().rss / 2**30)
