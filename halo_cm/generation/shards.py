"""Which part of the chunks a job does: ``--shard 3/64`` or one task of a SLURM job array.

Shards count from 0: shard ``i/n`` does the chunks whose index leaves the remainder i when divided
by n. Shards only divide the work. Finished chunks are marked in the store, so that a job may be
continued with another number of shards, and two jobs that overlap write the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from halo_cm.errors import ConfigError

_EXAMPLE = "write i/n with 0 <= i < n, for example 0/64 for the first and 63/64 for the last of 64"


@dataclass(frozen=True)
class Shard:
    """Shard ``index`` of ``count``, counted from 0.

    Attributes
    ----------
    index, count
        This shard and the number of shards.
    origin
        Where the choice came from, for the log.
    """

    index: int
    count: int
    origin: str

    def chunks(self, n_chunks: int) -> range:
        """Indices of the chunks of this shard."""
        return range(self.index, n_chunks, self.count)

    def __str__(self) -> str:
        return f"shard {self.index}/{self.count} ({self.origin})"


def resolve_shard(text: str | None, environment: Mapping[str, str]) -> Shard:
    """Shard of this process.

    Parameters
    ----------
    text
        ``"i/n"``, or None to use SLURM's array variables where there are any. ``"0/1"`` means all
        chunks also inside a job array.
    environment
        ``os.environ``. SLURM_ARRAY_TASK_ID is counted from SLURM_ARRAY_TASK_MIN in steps of
        SLURM_ARRAY_TASK_STEP, and SLURM_ARRAY_TASK_COUNT is the number of shards: ``--array=0-63``
        and ``--array=1-64`` both mean shards 0/64 to 63/64.

    Raises
    ------
    ConfigError
        If the text is not ``i/n`` with 0 <= i < n, or the tasks of the array have gaps.
    """
    if text is not None:
        return _parse(text)
    if "SLURM_ARRAY_TASK_ID" in environment:
        return _from_slurm(environment)
    return Shard(0, 1, "all chunks")


def _parse(text: str) -> Shard:
    match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if match is None:
        raise ConfigError(f"shard {text!r} is not of the form i/n: {_EXAMPLE}")
    index, count = int(match[1]), int(match[2])
    if index >= count:
        raise ConfigError(
            f"shard {text!r}: shards count from 0, so {index} is not below {count}: {_EXAMPLE}"
        )
    return Shard(index, count, "--shard")


def _from_slurm(environment: Mapping[str, str]) -> Shard:
    names = ("ID", "COUNT", "MIN", "STEP")
    found = {name: environment.get(f"SLURM_ARRAY_TASK_{name}") for name in names}
    found["STEP"] = found["STEP"] or "1"
    try:
        task, count, first, step = (int(found[name] or "") for name in names)
    except ValueError:
        raise ConfigError(
            f"SLURM's array variables SLURM_ARRAY_TASK_* are incomplete: {found}; "
            f"say the shard yourself: --shard i/n ({_EXAMPLE})"
        ) from None
    index, rest = divmod(task - first, step) if step > 0 else (0, 1)
    if rest or not 0 <= index < count:
        raise ConfigError(
            f"SLURM array task {task} is not one of {count} tasks from {first} in steps of {step}: "
            "the array has gaps. Use a plain range such as --array=0-63 (finished chunks are "
            f"skipped), or say the shard yourself: --shard i/n ({_EXAMPLE})"
        )
    return Shard(index, count, f"SLURM array task {task}")
