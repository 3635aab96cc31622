"""Many exact draws of the truth for each halo: what an emulator's whole distribution is held to.

Half of the draws are the truth that rows are compared with, which makes its own noise small; the
other half is the floor, truth against truth, with the scores of an exact emulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np

from halo_cm.benchmark.floors import TRUTH_VS_TRUTH
from halo_cm.benchmark.rows import Row
from halo_cm.benchmark.selection import IDENTITY, check_same_pixels, identities
from halo_cm.containers import SPLITS, Cutouts, FloatArray, check_mass
from halo_cm.data.cutouts import open_cutouts, read_cutouts
from halo_cm.errors import DataError

_FEWEST = 4  # two truths, and a floor that has a spread


@dataclass(frozen=True)
class ExactDraws:
    """Exact draws at some cutouts.

    Attributes
    ----------
    cutouts
        The N cutouts; their targets are the first draws.
    fields
        Mass per pixel [Msun/h], shape (N, M, C, H, W), M even.

    Raises
    ------
    DataError
        If shapes do not match, a mass is NaN or negative, or draws are too few.
    """

    cutouts: Cutouts
    fields: FloatArray

    def __post_init__(self) -> None:
        n, geometry = len(self.cutouts), self.cutouts.geometry
        side = geometry.n_pixels
        one = (len(geometry.channels), side, side)
        if self.fields.ndim != 5 or (len(self.fields), *self.fields.shape[2:]) != (n, *one):
            raise DataError(
                f"exact draws have shape {self.fields.shape}, expected ({n}, draws, "
                f"{', '.join(map(str, one))}) for {n} cutouts"
            )
        check_mass(self.fields, "exact draws")
        n_draws = self.fields.shape[1]
        if n_draws < _FEWEST or n_draws % 2:
            raise DataError(
                f"found {n_draws} exact draws of a cutout, expected an even number from {_FEWEST}: "
                "half of them are the truth, the others its floor"
            )

    @property
    def n_truths(self) -> int:
        """Draws of each halo that are taken as its truth."""
        return int(self.fields.shape[1] // 2)

    def first_half(self, cutouts: Cutouts) -> FloatArray:
        """Draws that are the truth of some of the cutouts, shape (n, M / 2, C, H, W).

        Raises
        ------
        DataError
            If there are none of a cutout, or of other boxes or pixels.
        """
        check_same_pixels(self.cutouts.geometry, cutouts.geometry, "the exact draws")
        return self.fields[self._rows(cutouts), : self.n_truths]

    def row(self) -> Row:
        """The other draws, as the row of an exact emulator."""

        def generate(part: Cutouts, members: int, seed: int) -> FloatArray:
            return self.fields[self._rows(part), self.n_truths :]

        return Row(TRUTH_VS_TRUTH, None, None, generate, kind="floor", members=self.n_truths)

    def _rows(self, cutouts: Cutouts) -> list[int]:
        place = {key: i for i, key in enumerate(identities(self.cutouts))}
        try:
            return [place[key] for key in identities(cutouts)]
        except KeyError as error:
            raise DataError(
                f"there are no exact draws of the cutout {error} ({', '.join(IDENTITY)})"
            ) from None


def read_exact_draws(path: str | PathLike[str]) -> ExactDraws:
    """Read a file of ``halo-cm simulate --oracle``; of an odd number of draws all but the last.

    Raises
    ------
    DataError
        If the file cannot be read, holds fewer than 4 draws of a cutout, or not as many of one as
        of the others.
    """
    with open_cutouts(path) as file:
        splits = np.unique(file.column("split"))
    # of a file that holds one split, as the oracle's, that one
    content = read_cutouts(path, SPLITS[splits[0]] if len(splits) == 1 else "test")
    if content.target is None:
        raise DataError(f"{path} holds no targets: make it with `halo-cm simulate --oracle`")
    keys = np.stack([getattr(content, name) for name in IDENTITY])
    _, label = np.unique(keys, axis=1, return_inverse=True)
    counts = np.bincount(label.ravel())
    n = int(counts.min())
    if n < _FEWEST or n != counts.max():
        raise DataError(
            f"{path} holds {n} to {counts.max()} draws of a cutout, expected as many of each, at "
            f"least {_FEWEST}: make it with `halo-cm simulate --oracle --n-exact-draws 64`"
        )
    n -= n % 2
    order = np.lexsort((content.realization, label.ravel()))
    starts = np.cumsum(counts) - counts
    rows = np.stack([order[start : start + n] for start in starts])
    return ExactDraws(content.select(rows[:, 0]), content.target[rows])
