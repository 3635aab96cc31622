"""The cutout file: round trip, other readers, and a clear error for every kind of bad file."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from halo_cm.containers import Cutouts, Geometry
from halo_cm.data import cutouts as module
from halo_cm.data.cutouts import (
    CutoutWriter,
    open_cutouts,
    read_cutouts,
    read_geometry,
    software_versions,
    write_cutouts,
)
from halo_cm.errors import DataError, OutputError

GEOMETRY = Geometry(
    boxsize=50.0,
    scales=(6.25, 12.5),
    depth=50.0,
    n_pixels=4,
    parameter_names=("Omega_m", "log10_M200c"),
    omega_b=0.049,
    provenance={"preset": "test", "seed": 7, **software_versions()},
)


def make_cutouts(n: int = 6, **changes: object) -> Cutouts:
    """Random cutouts: two of training, two of validation, and a pair of test realizations."""
    rng = np.random.default_rng(0)
    rows = Cutouts(
        condition=rng.uniform(1e8, 1e12, (n, 2, 4, 4)).astype("f4"),
        target=rng.uniform(0, 1e12, (n, 3, 4, 4)).astype("f4"),
        parameters=rng.normal(size=(n, 2)).astype("f4"),
        halo_mass=rng.uniform(1e13, 1e14, n).astype("f4"),
        halo_radius=rng.uniform(0.3, 1, n).astype("f4"),
        halo_position=rng.uniform(0, 50, (n, 3)).astype("f4"),
        box=np.arange(n) // 2,
        halo=np.arange(n),
        axis=np.arange(n) % 3,
        draw=np.zeros(n, int),
        realization=np.array([0, 0, 0, 0, 0, 1])[:n],
        split=np.array([0, 0, 1, 1, 2, 2])[:n],
        geometry=GEOMETRY,
    )
    return replace(rows, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "haloes.h5"
    write_cutouts(file, make_cutouts())
    return file


def test_round_trip(path: Path) -> None:
    written, read = make_cutouts(), read_cutouts(path, realization=None)
    assert read.geometry == written.geometry
    for name in Cutouts.row_names():
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
    assert read_geometry(path) == GEOMETRY


def test_the_fingerprint_of_another_file_is_not_written(tmp_path: Path) -> None:
    """It stands for the content of a file: some of its rows, or changed ones, are another."""
    provenance = {**GEOMETRY.provenance, "fingerprint": "0123456789abcdef"}
    cutouts = make_cutouts(geometry=replace(GEOMETRY, provenance=provenance))
    write_cutouts(tmp_path / "some.h5", cutouts.select(slice(0, 2)))
    assert read_geometry(tmp_path / "some.h5") == GEOMETRY


def test_splits_and_realizations(path: Path) -> None:
    assert read_cutouts(path).realization.tolist() == [0] * 5 + [1]
    assert read_cutouts(path, realization=0).realization.tolist() == [0] * 5
    assert read_cutouts(path, "train").halo.tolist() == [0, 1]
    assert read_cutouts(path, "validation").halo.tolist() == [2, 3]
    assert read_cutouts(path, "test").halo.tolist() == [4, 5]
    assert read_cutouts(path, "test", 0).halo.tolist() == [4]
    assert read_cutouts(path).in_split("test").halo.tolist() == [4, 5]
    assert read_cutouts(path).in_split("test", 0).halo.tolist() == [4]
    assert read_cutouts(path, "test", 1).halo.tolist() == [5]
    assert read_cutouts(path, "test", None).halo.tolist() == [4, 5]


def test_pieces_make_the_whole(path: Path, tmp_path: Path) -> None:
    rows = make_cutouts()
    pieces = tmp_path / "pieces.h5"
    with CutoutWriter(pieces, GEOMETRY, 6) as writer:
        writer.append(rows.select(slice(0, 4)))
        writer.append(rows.select(slice(4, 6)))
    with open_cutouts(pieces) as file:
        assert len(file) == 6
        assert file.geometry == GEOMETRY
        middle = file.read(slice(3, 5))
    assert np.array_equal(middle.target, rows.target[3:5])
    with (
        pytest.raises(ValueError, match="4 rows written, expected 6"),
        CutoutWriter(tmp_path / "short.h5", GEOMETRY, 6) as writer,
    ):
        writer.append(rows.select(slice(0, 4)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["haloes.h5", "pieces.h5"]


def test_target_may_be_absent(tmp_path: Path) -> None:
    file = tmp_path / "dmo.h5"
    write_cutouts(file, make_cutouts(target=None))
    assert read_cutouts(file).target is None


def test_xarray_opens_it_with_units(path: Path) -> None:
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert dict(data["target"].sizes) == {"cutout": 6, "channel": 3, "y": 4, "x": 4}
        assert data["condition"].dims == ("cutout", "scale", "y", "x")
        assert data["scale"].values.tolist() == [6.25, 12.5]
        assert data["channel"].values.tolist() == ["dm", "gas", "star"]
        assert data["parameter"].values.tolist() == ["Omega_m", "log10_M200c"]
        gas = data["target"].sel(channel="gas")
        assert np.array_equal(gas, make_cutouts().target[:, 1])
        assert all({"units", "long_name"} <= set(v.attrs) for v in data.variables.values())
        assert data["target"].attrs["units"] == "Msun/h"
        assert data["split"].attrs["flag_meanings"] == "train validation test"
        assert data.attrs["pixel_area"] == pytest.approx((6.25 / 4) ** 2)
        assert data.attrs["seed"] == 7
        assert data.attrs["schema_version"] == 1


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.h5: no such file; make one with"):
        read_cutouts(tmp_path / "none.h5")


def test_truncated_file(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"haloes\.h5: not a whole HDF5 file.*make it again"):
        read_cutouts(path)
    path.write_text("not HDF5")
    with pytest.raises(DataError, match="not a whole HDF5 file"):
        read_geometry(path)


def test_missing_variable_and_attribute(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["halo_mass"]
        del file.attrs["boxsize"]
    with pytest.raises(DataError, match=r"missing halo_mass, attribute boxsize"):
        read_cutouts(path)


def test_other_schema_version(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(DataError, match="schema_version is 99, expected 1"):
        read_cutouts(path)


def test_wrong_channel_count(path: Path) -> None:
    with h5py.File(path, "a") as file:
        target = file["target"][:, :2]
        del file["target"]
        file["target"] = target
    with pytest.raises(
        DataError, match=r"target has shape \(6, 2, 4, 4\), expected \(6, 3, 4, 4\)"
    ):
        read_cutouts(path)


@pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (-1.0, "smallest mass is -1")])
def test_unphysical_mass(path: Path, value: float, words: str) -> None:
    with h5py.File(path, "a") as file:
        file["condition"][4, 1, 2, 3] = value
    with pytest.raises(DataError, match=rf"haloes\.h5, rows 0:6: condition: .*{words}"):
        read_cutouts(path, realization=None)


def test_unknown_split_and_empty_choice(path: Path) -> None:
    with pytest.raises(DataError, match="split 'tset' is unknown, expected one of train"):
        read_cutouts(path, "tset")
    with pytest.raises(DataError, match="none of its 6 cutouts has split 'train'"):
        read_cutouts(path, "train", 1)


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*haloes\.h5"):
        write_cutouts(tmp_path / "file" / "haloes.h5", make_cutouts())


def test_too_little_space_is_found_before_writing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 itself ends in a crash when the disk is full, so the space is reserved first."""
    before = path.read_bytes()
    asked = []

    def full(_: int, start: int, size: int) -> None:
        asked.append(size - start)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="the disk is full: free some space"):
        write_cutouts(path, make_cutouts(4))
    assert len(asked) == 1
    assert asked[0] > 4 * (2 + 3) * 16 * 4
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["haloes.h5"]


def test_reserved_space_is_given_back(path: Path) -> None:
    data = sum(getattr(make_cutouts(), n).nbytes for n in ("condition", "target"))
    assert data < path.stat().st_size < data + 200_000


def test_full_disk_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.CutoutWriter, "append", full)
    with pytest.raises(OutputError, match="the disk is full: free some space"):
        write_cutouts(path, make_cutouts(4))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["haloes.h5"]
