"""The embedded universe: paired dark-matter-only and hydrodynamic boxes made from a seed.

``from halo_cm import universe`` gives the names below; they are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halo_cm.universe.box import Box
    from halo_cm.universe.latents import Astrophysics
    from halo_cm.universe.oracle import draw_conditional, open_box, simulate_oracle

_HOMES = {
    "Astrophysics": "halo_cm.universe.latents",
    "Box": "halo_cm.universe.box",
    "draw_conditional": "halo_cm.universe.oracle",
    "open_box": "halo_cm.universe.oracle",
    "simulate_oracle": "halo_cm.universe.oracle",
}

__all__ = ["Astrophysics", "Box", "draw_conditional", "open_box", "simulate_oracle"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'halo_cm.universe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
