"""What the rows of a cutout file are for, looked up without reading its maps."""

from __future__ import annotations

from os import PathLike

import numpy as np

from halo_cm.containers import SPLITS
from halo_cm.data.cutouts import open_cutouts
from halo_cm.errors import DataError
from halo_cm.units import CHANNELS


def check_splits(path: str | PathLike[str]) -> None:
    """Check that a model can be trained and tested: three splits with targets, no box in two.

    Raises
    ------
    DataError
        If a split is empty or unknown, targets are absent, or a box is in two splits, so that the
        model would be tested on structures that it has seen; the message names it.
    """
    with open_cutouts(path) as file:
        geometry, haloes = file.geometry, file.column("halo")
        boxes, splits, has_target = file.column("box"), file.column("split"), file.has("target")
    if not has_target:
        raise DataError(
            f"{path} holds no target, the hydrodynamic fields: a model can draw fields for it "
            "(halo-cm generate), but cannot be trained on it"
        )
    if geometry.channels != CHANNELS:
        raise DataError(
            f"{path}: the channels are {', '.join(geometry.channels)}, expected "
            f"{', '.join(CHANNELS)}, in this order and no others"
        )
    if "Omega_m" not in geometry.parameter_names:
        raise DataError(
            f"{path}: the parameters are {', '.join(geometry.parameter_names)}, but Omega_m must "
            "be one of them: the mean baryon fraction is Omega_b / Omega_m"
        )
    unknown = sorted(set(splits.tolist()) - set(range(len(SPLITS))))
    if unknown:
        raise DataError(
            f"{path}: split holds {unknown[0]}, expected 0 to {len(SPLITS) - 1} "
            f"({', '.join(SPLITS)})"
        )
    empty = [name for i, name in enumerate(SPLITS) if i not in splits]
    if empty:
        raise DataError(
            f"{path} holds no cutout of the split {' and '.join(empty)}: training needs all of "
            f"{', '.join(SPLITS)}; set the variable split of some boxes"
        )
    tested = splits == SPLITS.index("test")
    if len(set(zip(boxes[tested].tolist(), haloes[tested].tolist(), strict=True))) < 2:
        raise DataError(
            f"{path}: the test split shows one halo only; the errors of a benchmark come from the "
            "scatter between haloes: give it two or more"
        )
    for box in np.unique(boxes):
        found = np.unique(splits[boxes == box])
        if len(found) > 1:
            names = " and ".join(SPLITS[split] for split in found)
            raise DataError(
                f"{path}: box {box} is in the splits {names}; give all cutouts of a box the same "
                "split, or models are tested on structures that they were trained on"
            )


def has_realization(path: str | PathLike[str], split: str, realization: int) -> bool:
    """Whether a split holds draws with this number."""
    with open_cutouts(path) as file:
        chosen = file.column("split") == SPLITS.index(split)
        return bool((file.column("realization")[chosen] == realization).any())
