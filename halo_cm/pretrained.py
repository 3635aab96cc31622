"""Models that come with the package: where they are, and how their files are made."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from halo_cm.config.suggest import nearest
from halo_cm.errors import CheckpointError, OutputError
from halo_cm.training.checkpoint import MODEL_KIND, read_tensors, write_tensors

_FOLDER = Path(__file__).parent / "weights"
#: Largest file of weights in the package [bytes].
LARGEST_FILE = 15_000_000
_NETWORK = "denoiser.network."


def pretrained_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def pretrained_path(name: str) -> Path:
    """File of a model that comes with the package.

    Raises
    ------
    CheckpointError
        If there is no such model.
    """
    known = pretrained_models()
    if name not in known:
        raise CheckpointError(f"no pretrained model {name!r}{nearest(name, known)}")
    return _FOLDER / f"{name}.safetensors"


def shrink(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Write a model with the weights of its network in bfloat16, half the size of single precision.

    Statistics of the data stay in single precision; loading gives single precision throughout.

    Parameters
    ----------
    source
        A model file.
    path
        The file to write.

    Raises
    ------
    CheckpointError
        If ``source`` cannot be read.
    OutputError
        If the file would be larger than 15 MB.
    """
    facts, tensors = read_tensors(source, MODEL_KIND)
    small = {
        name: tensor.to(torch.bfloat16) if name.startswith(_NETWORK) else tensor
        for name, tensor in tensors.items()
    }
    size = sum(tensor.numel() * tensor.element_size() for tensor in small.values())
    if size > LARGEST_FILE:
        raise OutputError(
            f"{path} would hold {size / 1e6:.1f} MB of weights, but at most "
            f"{LARGEST_FILE / 1e6:.0f} MB are shipped: train a smaller network"
        )
    kept = {k: v for k, v in facts.items() if k not in ("kind", "format_version", "versions")}
    write_tensors(path, MODEL_KIND, small, {**kept, "trained_with": facts["versions"]})
    return Path(path)
