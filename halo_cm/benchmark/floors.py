"""Truth against truth: what an exact emulator would score, from a second draw of each halo."""

from __future__ import annotations

import numpy as np

from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.selection import IDENTITY, check_same_pixels, identities
from halo_cm.containers import Cutouts, FloatArray
from halo_cm.errors import DataError

#: Name of the floor made of second draws of the truth.
TRUTH_VS_TRUTH = "truth_vs_truth"


def truth_vs_truth(cutouts: Cutouts, redraw: Cutouts) -> Row:
    """Row that returns the second draw of each halo.

    Parameters
    ----------
    cutouts
        The test cutouts (realization 0).
    redraw
        Independent draws of the truth at the same haloes, projections and parameters
        (realization 1).

    Raises
    ------
    DataError
        If a cutout has no second draw, the fields are the same ones, or they have other boxes or
        pixels.
    """
    if redraw.target is None or cutouts.target is None:
        raise DataError("test cutouts and their second draws both need a target, the truth")
    check_same_pixels(redraw.geometry, cutouts.geometry, "the second draws of the truth")
    drawn = redraw.target
    position = {key: i for i, key in enumerate(identities(redraw))}

    def generate(part: Cutouts, members: int, seed: int) -> FloatArray:
        return drawn[[position[key] for key in identities(part)]][:, None]

    missing = [key for key in identities(cutouts) if key not in position]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(cutouts)} test cutouts have no second draw of the truth, the "
            f"first with {', '.join(IDENTITY)} = {missing[0]}; pass realization 1 of the test "
            "split, or None if there is none"
        )
    order = [position[key] for key in identities(cutouts)]
    if not np.array_equal(redraw.parameters[order], cutouts.parameters):
        raise DataError("the second draws of the truth have other parameters than the test cutouts")
    if np.array_equal(drawn[order], cutouts.target):
        raise DataError(
            "the second draws of the truth equal the first: pass realization 1, not 0, as redraw"
        )
    return Row(TRUTH_VS_TRUTH, None, None, generate, kind="floor", scoring="exact_draw")
