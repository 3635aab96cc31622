"""Stopping in order: signals ask, and all ranks agree before one of them leaves."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accelerate import Accelerator

logger = logging.getLogger(__name__)

#: Steps after which ranks ask each other whether one was told to stop.
_AGREE_EVERY = 10


class Stopping:
    """Whether this training was asked to stop.

    Parameters
    ----------
    accelerator
        Connects the ranks.

    Attributes
    ----------
    asked
        Whether this rank was asked; the others may not know yet.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator, self.asked = accelerator, False

    def agreed(self, step: int = 0) -> bool:
        """Whether any rank was asked; they ask each other every few steps, from 0 on."""
        self.asked |= _is_orphan()
        if self._accelerator.num_processes == 1:
            return self.asked
        if step % _AGREE_EVERY:
            return False
        flag = torch.tensor(float(self.asked), device=self._accelerator.device)
        self.asked = bool(self._accelerator.reduce(flag, "sum") > 0)
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a stop after the step; a second Ctrl-C stops at once."""

        def ask(number: int, frame: Any) -> None:
            if self.asked:
                signal.default_int_handler(number, frame)
            self.asked = True
            logger.info("stopping within %d steps; the state is saved then", _AGREE_EVERY)

        old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def _is_orphan() -> bool:
    """Whether the process that started this rank is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()
