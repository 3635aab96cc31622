"""How much the library says: `set_verbosity`."""

from __future__ import annotations

import logging
import sys

_LEVELS = {
    "silent": logging.CRITICAL + 1,
    "warning": logging.WARNING,
    "summary": logging.INFO,
    "debug": logging.DEBUG,
}


def set_verbosity(level: str = "summary") -> None:
    """Choose how much halo_cm says on standard error.

    Parameters
    ----------
    level
        ``"silent"``, ``"warning"``, ``"summary"`` (progress and results of each stage) or
        ``"debug"``.

    Raises
    ------
    ValueError
        If the level is none of these.
    """
    if level not in _LEVELS:
        raise ValueError(f"verbosity {level!r} is unknown, expected one of {', '.join(_LEVELS)}")
    logger = logging.getLogger("halo_cm")
    logger.setLevel(_LEVELS[level])
    if not any(isinstance(h, _Handler) for h in logger.handlers):
        logger.addHandler(_Handler())
        logger.propagate = False


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard error of the moment, which notebooks and tests replace."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)
