"""Boxes belong to one split; repeated draws are found without reading maps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import make_cutouts, merge

from halo_cm.data.cutouts import write_cutouts
from halo_cm.data.splits import check_splits, has_realization
from halo_cm.errors import DataError


def test_boxes_of_one_split_each_are_accepted(tmp_path):
    path = tmp_path / "haloes.h5"
    write_cutouts(path, merge(*(make_cutouts(n=4, seed=s, split=s) for s in range(3))))
    check_splits(path)
    assert has_realization(path, "test", 0) and not has_realization(path, "test", 1)


def test_a_box_in_two_splits_is_named(tmp_path):
    parts = [make_cutouts(n=4, split=s) for s in range(3)]
    parts[2] = replace(parts[2], box=parts[0].box)
    write_cutouts(tmp_path / "h.h5", merge(*parts))
    with pytest.raises(DataError, match="box 0 is in the splits train and test"):
        check_splits(tmp_path / "h.h5")


def test_an_unknown_split_is_named(tmp_path):
    cutouts = make_cutouts(n=4)
    write_cutouts(tmp_path / "h.h5", replace(cutouts, split=cutouts.split + 5))
    with pytest.raises(DataError, match="split holds 5, expected 0 to 2"):
        check_splits(tmp_path / "h.h5")


def test_an_empty_split_is_named_before_anything_is_trained(tmp_path):
    write_cutouts(tmp_path / "h.h5", merge(*(make_cutouts(n=4, split=s) for s in (0, 1))))
    with pytest.raises(DataError, match="no cutout of the split test: training needs all of"):
        check_splits(tmp_path / "h.h5")


def test_a_file_without_targets_cannot_be_trained_on(tmp_path):
    parts = merge(*(make_cutouts(n=4, seed=s, split=s) for s in range(3)))
    write_cutouts(tmp_path / "h.h5", replace(parts, target=None))
    with pytest.raises(DataError, match="holds no target"):
        check_splits(tmp_path / "h.h5")


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"channels": ("gas", "dm", "star")}, "channels are gas, dm, star, expected dm, gas, star"),
        ({"parameter_names": ("h", "sigma_8")}, "parameters are h, sigma_8, but Omega_m must be"),
    ],
)
def test_what_cannot_be_trained_on_is_named_before(tmp_path, geometry, message):
    parts = merge(*(make_cutouts(n=4, seed=s, split=s) for s in range(3)))
    parts = replace(parts, geometry=replace(parts.geometry, **geometry))
    write_cutouts(tmp_path / "h.h5", parts)
    with pytest.raises(DataError, match=message):
        check_splits(tmp_path / "h.h5")


def test_a_single_test_halo_is_too_few(tmp_path):
    counts = (4, 4, 1)
    parts = [make_cutouts(n=n, seed=s, split=s) for s, n in enumerate(counts)]
    write_cutouts(tmp_path / "h.h5", merge(*parts))
    with pytest.raises(DataError, match="the test split shows one halo only"):
        check_splits(tmp_path / "h.h5")
