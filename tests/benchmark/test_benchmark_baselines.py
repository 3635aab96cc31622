"""The copied input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from halo_cm.benchmark import copied_input, stellar_fraction
from halo_cm.errors import DataError


def test_copy_conserves_mass_and_follows_the_input(cutouts) -> None:
    row = copied_input(0.01)
    copy = row.generate(cutouts, 1, 0)
    dmo = cutouts.condition[:, 0]
    assert copy.shape == (len(cutouts), 1, 3, 16, 16)
    np.testing.assert_allclose(copy[:, 0].sum(1), dmo, rtol=1e-5)
    f_b = 0.049 / cutouts.parameters[:, 0]
    np.testing.assert_allclose(copy[:, 0, 1], (f_b - 0.01)[:, None, None] * dmo, rtol=1e-5)
    np.testing.assert_allclose(copy[:, 0, 2], 0.01 * dmo, rtol=1e-5)
    assert (row.kind, row.scoring, row.nfe) == ("floor", "deterministic", None)


def test_stellar_fraction(cutouts) -> None:
    expected = cutouts.target[:, 2].sum(dtype=float) / cutouts.condition[:, 0].sum(dtype=float)
    assert stellar_fraction(cutouts) == pytest.approx(expected)


def test_bad_input(cutouts) -> None:
    with pytest.raises(DataError, match="with a target"):
        stellar_fraction(replace(cutouts, target=None))
    with pytest.raises(DataError, match="exceeds the baryon fraction"):
        copied_input(0.5).generate(cutouts, 1, 0)
    geometry = replace(cutouts.geometry, parameter_names=("a", "b"))
    with pytest.raises(DataError, match="'Omega_m' is not among"):
        copied_input(0.01).generate(replace(cutouts, geometry=geometry), 1, 0)
