"""Which cutouts are evaluated, and which are shown."""

from __future__ import annotations

import numpy as np

from halo_cm.containers import Cutouts, Geometry, IntArray
from halo_cm.errors import DataError
from halo_cm.seeding import generator


def spread_over_haloes(cutouts: Cutouts, n_fields: int, seed: int = 0) -> Cutouts:
    """At most ``n_fields`` cutouts with as many different haloes as possible, in their order.

    Projections and draws of one halo tell less than other haloes do, and a slow model can be
    sampled for a part of the cutouts only: take the same part for all models.

    Raises
    ------
    DataError
        If ``n_fields`` is not positive.
    """
    return cutouts.select(spread_rows(halo_labels(cutouts), n_fields, seed))


def spread_rows(halo: IntArray, n_fields: int, seed: int = 0) -> IntArray:
    """Rising indices of at most ``n_fields`` rows with as many different haloes as possible.

    Parameters
    ----------
    halo
        Number of the halo of each row, shape (N,), see `label_haloes`.
    n_fields, seed
        How many, and which of the equally good ones.

    Raises
    ------
    DataError
        If ``n_fields`` is not positive.
    """
    if n_fields < 1:
        raise DataError(f"the number of fields must be positive, found {n_fields}")
    order = generator(seed, "fields").permutation(len(halo))
    halo = halo[order]
    # number of times that a halo has come before
    by_halo = np.argsort(halo, kind="stable")
    starts = np.flatnonzero(np.diff(halo[by_halo], prepend=-1))
    sizes = np.diff(starts, append=len(halo))
    before = np.empty(len(halo), dtype=int)
    before[by_halo] = np.arange(len(halo)) - np.repeat(starts, sizes)
    chosen = order[np.argsort(before, kind="stable")[:n_fields]]
    rows: IntArray = np.sort(chosen)
    return rows


def spread_over_masses(cutouts: Cutouts, n_fields: int) -> IntArray:
    """Indices of cutouts of different haloes, from the most massive to the lightest."""
    _, first = np.unique(halo_labels(cutouts), return_index=True)
    falling = first[np.argsort(-cutouts.halo_mass[first], kind="stable")]
    chosen = np.linspace(0, len(falling) - 1, min(n_fields, len(falling))).round().astype(int)
    picked: IntArray = falling[chosen]
    return picked


#: Columns that tell which cutout a row is, whatever its random draw.
IDENTITY = ("box", "halo", "axis", "draw")


def identities(cutouts: Cutouts) -> list[tuple[int, ...]]:
    """Which cutout each row is, as values of `IDENTITY`."""
    columns = (getattr(cutouts, name).tolist() for name in IDENTITY)
    return list(zip(*columns, strict=True))


def halo_labels(cutouts: Cutouts) -> IntArray:
    """One number from 0 for each halo (box and index in it), shape (N,)."""
    return label_haloes(cutouts.box, cutouts.halo)


def label_haloes(box: IntArray, halo: IntArray) -> IntArray:
    """One number from 0 for each pair of box and index in it, shape (N,) of both."""
    ids = np.stack([box, halo])
    _, labels = np.unique(ids, axis=1, return_inverse=True)
    return np.asarray(labels.ravel())


def check_same_pixels(found: Geometry, expected: Geometry, name: str) -> None:
    """Raise a `DataError` unless the fields ``name`` have the boxes and pixels of the cutouts."""
    for what in ("boxsize", "scales", "n_pixels", "depth", "channels"):
        theirs, ours = getattr(found, what), getattr(expected, what)
        if theirs != ours:
            raise DataError(
                f"{name} have another {what} than the cutouts, {theirs} in place of {ours} "
                "(lengths in Mpc/h): only fields of the same boxes and pixels can be compared; "
                "take both from one universe"
            )
