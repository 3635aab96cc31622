"""Compiled networks: fewer passes over memory for norms, activations and sums."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from halo_cm.errors import TrainingError

if TYPE_CHECKING:
    from torch import nn


def compile_network(network: nn.Module, *, on_cpu: bool) -> None:
    """Compile a network in place, for the shapes that it meets (`torch.compile`).

    Copies of it that are made later are not compiled.

    Parameters
    ----------
    network
        Called as before; its weights keep their names.
    on_cpu
        Whether it runs on a CPU, for which torch needs a C++ compiler.

    Raises
    ------
    TrainingError
        If there is no such compiler.
    """
    usual = "clang++" if sys.platform == "darwin" else "g++"
    compiler = os.environ.get("CXX", usual)
    if on_cpu and shutil.which(compiler) is None:
        raise TrainingError(
            f"training.compile = true needs a C++ compiler on a CPU, but {compiler!r} was not "
            "found: install one, name another in the environment variable CXX, or leave the "
            "setting out"
        )
    network.compile(dynamic=False)
