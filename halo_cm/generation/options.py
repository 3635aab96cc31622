"""How the work of a generation is split: options, chunk size, devices."""

from __future__ import annotations

import math
from dataclasses import dataclass

from halo_cm.errors import ConfigError
from halo_cm.processes import available_cores

#: Uncompressed size of a chunk that is aimed at, and the most that the compressor takes [bytes].
_CHUNK_BYTES = 2**25
_MAX_CHUNK_BYTES = 2**31 - 1
#: Chunks that are aimed at, so that a small catalogue also keeps many workers busy.
_N_CHUNKS = 128


@dataclass(frozen=True)
class GenerateOptions:
    """How the work is split.

    Attributes
    ----------
    split
        Draw only the cutouts of this split (``"train"``, ``"validation"``, ``"test"``); all if
        None.
    shard
        ``"i/n"``, counted from 0: do the chunks with index % n == i. None: SLURM's array
        variables if there are any, else all chunks. See `halo_cm.generation.shards`.
    haloes_per_chunk
        Haloes in a zarr chunk. None: as in the store that is continued, or chosen for chunks of
        at most about 32 MB.
    workers
        Worker processes. None: one per available core, or one per GPU. 0: draw in this process.
    device
        ``"cpu"``, ``"cuda"``, or ``"auto"``: the GPUs if there are any.

    Raises
    ------
    ConfigError
        If a value is out of its range.
    """

    split: str | None = None
    shard: str | None = None
    haloes_per_chunk: int | None = None
    workers: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.haloes_per_chunk is not None and self.haloes_per_chunk < 1:
            raise ConfigError(f"haloes_per_chunk must be at least 1, found {self.haloes_per_chunk}")
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers must not be negative, found {self.workers}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device {self.device!r} is unknown: expected auto, cpu or cuda")


def choose_devices(options: GenerateOptions) -> list[str]:
    """Device of each worker; of this process if there are no workers.

    Raises
    ------
    ConfigError
        If a GPU is asked for and torch sees none.
    """
    import torch

    n_gpus = torch.cuda.device_count()
    if options.device == "cuda" and not n_gpus:
        raise ConfigError(
            "device = cuda, but torch sees no GPU: use device cpu or auto, or install a CUDA build "
            "of torch"
        )
    if options.device == "cpu" or not n_gpus:
        n = available_cores() if options.workers is None else options.workers
        return ["cpu"] * max(n, 1)
    n = n_gpus if options.workers is None else options.workers
    return [f"cuda:{i % n_gpus}" for i in range(max(n, 1))]


def choose_chunk(
    n_haloes: int, n_realizations: int, field_bytes: int, device_batch: int, wanted: int | None
) -> int:
    """Haloes in a chunk.

    Parameters
    ----------
    n_haloes, n_realizations
        Of the whole store.
    field_bytes
        Size of one realization of one halo [bytes].
    device_batch
        Fields that the network draws together. A chunk is a multiple of it where that is possible,
        because a part of a batch costs as much as a whole one.
    wanted
        The choice of the user, or None.

    Raises
    ------
    ConfigError
        If a chunk would be larger than the compressor takes.
    """
    halo_bytes = n_realizations * field_bytes
    if (wanted or 1) * halo_bytes > _MAX_CHUNK_BYTES:
        raise ConfigError(
            f"a chunk of {wanted or 1} haloes x {n_realizations} realizations holds "
            f"{(wanted or 1) * halo_bytes / 1e9:.1f} GB, more than the 2.1 GB that the compressor "
            "takes: lower haloes_per_chunk, or draw fewer realizations in each of several stores"
        )
    if wanted is not None:
        return min(wanted, n_haloes)
    largest = max(_CHUNK_BYTES // halo_bytes, 1)
    size = min(largest, max(n_haloes // _N_CHUNKS, 1))
    whole_batches = device_batch // math.gcd(device_batch, n_realizations)
    if whole_batches <= largest:
        size = max(size // whole_batches, 1) * whole_batches
    return min(size, n_haloes)
