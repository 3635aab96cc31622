"""Tensors with JSON facts in one safetensors file, written atomically.

The facts live in the header of the file, so that weights and description cannot part; a copy
beside it (``.json``) is for people. Loading executes no code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from halo_cm.atomic import atomic_path, write_json
from halo_cm.errors import CheckpointError
from halo_cm.versions import installed

#: Raised when the layout of the files changes.
FORMAT_VERSION = 1
#: Kind of the files that hold a model.
MODEL_KIND = "emulator"
_KEY = "halo_cm"


def write_tensors(
    path: str | os.PathLike[str], kind: str, tensors: Mapping[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write tensors and facts.

    Parameters
    ----------
    path
        Ends in ``.safetensors``.
    kind
        What the file is, ``"emulator"`` or ``"training state"``; checked when it is read.
    tensors
        Named tensors on any device.
    facts
        JSON-able description.
    """
    path = Path(path)
    header = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "versions": installed("halo_cm", "torch", "numpy"),
        **facts,
    }
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        # not save_file: it hides the reason of a failed write
        temporary.write_bytes(save(flat, metadata={_KEY: json.dumps(header)}))
    write_json(path.with_suffix(".json"), header)


def read_facts(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Facts of a file without its tensors.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of another kind or of another format version.
    """
    return _open(Path(path), kind)[0]


def read_tensors(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts and tensors (on the CPU) of a file; raises as `read_facts`."""
    path = Path(path)
    facts, file = _open(path, kind)
    try:
        return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def unflatten(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries under ``prefix.``, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors, ``<parameter index>.<name>``."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{k}": torch.as_tensor(v) for i, s in state.items() for k, v in s.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    content = optimizer.state_dict()
    weights = [weights for group in optimizer.param_groups for weights in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        like = weights[int(index)]
        if tensor.shape == like.shape:  # in the layout of its weights, for speed
            tensor = torch.empty_like(like, dtype=tensor.dtype, device="cpu").copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    content["state"] = state
    optimizer.load_state_dict(content)


def _open(path: Path, kind: str) -> tuple[dict[str, Any], Any]:
    if not path.is_file():
        raise CheckpointError(
            f"no {kind} at {path}: train one with `python train_unified.py --model consistency`, "
            "or give the path of a run's model.safetensors"
        )
    try:
        file = safetensors.safe_open(path, framework="pt")
        header = (file.metadata() or {}).get(_KEY)  # type: ignore[no-untyped-call]
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    if header is None:
        raise CheckpointError(f"{path} holds tensors, but it was not written by halo_cm")
    facts = json.loads(header)
    if facts["kind"] != kind:
        raise CheckpointError(f"{path} is a {facts['kind']}, expected a {kind}")
    if facts["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {facts['format_version']} (written by halo_cm "
            f"{facts['versions']['halo_cm']}), this halo_cm reads {FORMAT_VERSION}: install the "
            "version that wrote it, or train again"
        )
    return facts, file


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated or damaged ({error}): restore it from a copy or train again"
    )
