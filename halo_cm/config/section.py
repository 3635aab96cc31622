"""What all sections of the configuration share: strictness, and the types of their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Strict inside (``"64"`` is not a number, ``1`` is not true), lenient where TOML and JSON have only
# lists and strings for Python's tuples and paths.
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
FilePath = Annotated[Path, Field(strict=False)]
Counts = Annotated[tuple[Count, ...], Field(strict=False)]
Naturals = Annotated[tuple[Natural, ...], Field(strict=False)]
Levels = Annotated[tuple[Positive, ...], Field(strict=False)]
StepCount = Annotated[int, Field(ge=2, strict=False)]


class Section(BaseModel):
    """Base of the sections of the tree."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )
