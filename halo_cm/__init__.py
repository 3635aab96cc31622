"""halo_cm: draws hydrodynamic fields around haloes from dark-matter-only maps, in one step.

The public names are loaded when they are first used, so that ``import halo_cm`` is fast and does
not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halo_cm.config.loader import ConfigLoader
    from halo_cm.data.cutouts import read_cutouts
    from halo_cm.manager import ModelManager, load_pretrained
    from halo_cm.sampling import sample
    from halo_cm.universe.simulate import simulate
    from halo_cm.verbosity import set_verbosity

__version__ = "0.1.0"

__all__ = [
    "ConfigLoader",
    "ModelManager",
    "__version__",
    "load_pretrained",
    "read_cutouts",
    "sample",
    "set_verbosity",
    "simulate",
]

_HOMES = {
    "ConfigLoader": "halo_cm.config.loader",
    "ModelManager": "halo_cm.manager",
    "load_pretrained": "halo_cm.manager",
    "read_cutouts": "halo_cm.data.cutouts",
    "sample": "halo_cm.sampling",
    "set_verbosity": "halo_cm.verbosity",
    "simulate": "halo_cm.universe.simulate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'halo_cm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
