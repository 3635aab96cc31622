"""Whether cutouts have the geometry that a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from halo_cm.errors import DataError

if TYPE_CHECKING:
    import os

    from halo_cm.containers import Geometry


def check_geometry(data: str | os.PathLike[str], found: Geometry, expected: Geometry) -> None:
    """Raise a `DataError` if cutouts do not have the geometry that a model was trained on.

    Maps may have another number of pixels, if the pixels of each map keep their width.
    """
    if set(found.parameter_names) != set(expected.parameter_names):
        raise DataError(
            f"{data}: the parameters are {', '.join(found.parameter_names)}, but the model is "
            f"conditioned on {', '.join(expected.parameter_names)}; give these columns, or train a "
            "model on yours (`train --data`)"
        )
    ours, theirs = (np.array(g.scales) / g.n_pixels for g in (found, expected))
    if ours.shape != theirs.shape or not np.allclose(ours, theirs):
        raise DataError(
            f"{data}: scales are {found.scales} Mpc/h in {found.n_pixels} pixels a side, but the "
            f"model was trained with {expected.scales} in {expected.n_pixels} (pixels of "
            f"{found.cell_size:.4g} and {expected.cell_size:.4g} Mpc/h): there must be as many "
            "maps, each with pixels of the same width; make the cutouts as the training data were "
            "made, or use another model"
        )
    for name in ("depth", "redshift", "omega_b"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        if not np.isclose(ours, theirs):
            raise DataError(
                f"{data}: {name} is {ours}, but the model was trained with {theirs} (lengths in "
                "Mpc/h); make the cutouts as the training data were made, or use another model"
            )
