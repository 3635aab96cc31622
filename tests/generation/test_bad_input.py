"""Bad settings, models, data and stores are explained, and nothing is overwritten."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
import xarray as xr
from builders import make_cutouts
from generation_world import DRAWS, HERE, SIDE, N, make_haloes, masses, save_model

from halo_cm.data.cutouts import CutoutWriter, write_cutouts
from halo_cm.errors import CheckpointError, ConfigError, DataError, OutputError
from halo_cm.generate import GenerateOptions, generate, generate_chunk


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, r"seed = 0 \(now 1\)"),
        ({"n_realizations": 2}, r"n_realizations = 1 \(now 2\)"),
        ({"n_sampling_steps": 4}, r"n_sampling_steps = 1 \(now 4\)"),
        ({"options": replace(HERE, split="test")}, r"split = all \(now test\)"),
        ({"options": replace(HERE, haloes_per_chunk=3)}, r"haloes_per_chunk = 2 \(now 3\)"),
    ],
)
def test_a_store_is_not_continued_with_other_settings(tmp_path, model, data, change, words):
    out, first = tmp_path / "a.zarr", replace(HERE, shard="0/6")
    generate(model, data, out, n_realizations=1, options=first)
    arguments = {"n_realizations": 1, "options": HERE, **change}
    with pytest.raises(OutputError, match=rf"a\.zarr was begun .*{words}.*another --out"):
        generate(model, data, out, **arguments)


def test_a_store_is_not_continued_with_another_model_or_data(tmp_path, model, data):
    out, arguments = tmp_path / "a.zarr", {"n_realizations": 1, "options": HERE}
    generate(model, data, out, **arguments)
    other = save_model(tmp_path / "model.safetensors", seed=1)
    with pytest.raises(OutputError, match="model_sha256 = "):
        generate(other, data, out, **arguments)
    write_cutouts(tmp_path / "haloes.h5", make_haloes(seed=1))
    with pytest.raises(OutputError, match="catalogue_sha256 = "):
        generate(model, tmp_path / "haloes.h5", out, **arguments)


def test_a_store_is_not_continued_with_other_maps_of_the_same_haloes(tmp_path, model):
    """The columns may agree: with other gravity, another mesh, or a mistake mended."""
    path, out, arguments = tmp_path / "haloes.h5", tmp_path / "a.zarr", {"n_realizations": 1}
    cutouts = make_haloes()
    write_cutouts(path, cutouts)
    generate(model, path, out, options=replace(HERE, shard="0/6"), **arguments)
    assert generate(model, path, out, options=replace(HERE, shard="1/6"), **arguments).n_new == 1
    with h5py.File(path, "r+") as file:
        file["target"][5] *= 1.01  # is not read
    assert generate(model, path, out, options=replace(HERE, shard="2/6"), **arguments).n_new == 1
    with h5py.File(path, "r+") as file:
        file["condition"][10, 3, 3, 3] *= 1.01
    with pytest.raises(OutputError, match=r"maps_fingerprint = \w+\.\.\. \(now \w+"):
        generate(model, path, out, options=HERE, **arguments)
    # the fingerprint of an embedded universe stands for its maps
    marked = [replace(cutouts.geometry, provenance={"fingerprint": mark}) for mark in ("a", "b")]
    first, second = (replace(cutouts, geometry=geometry) for geometry in marked)
    write_cutouts(path, first)
    generate(model, path, tmp_path / "b.zarr", options=HERE, **arguments)
    write_cutouts(path, second)
    with pytest.raises(OutputError, match=r"maps_fingerprint = a \(now b\)"):
        generate(model, path, tmp_path / "b.zarr", options=HERE, **arguments)


def test_the_chunks_of_a_store_need_not_be_repeated(tmp_path, model, data):
    out, automatic = tmp_path / "a.zarr", replace(HERE, haloes_per_chunk=None)
    generate(model, data, out, n_realizations=1, options=replace(HERE, shard="0/6"))
    assert generate(model, data, out, n_realizations=1, options=automatic).n_new == 5


def test_other_things_in_the_place_of_the_store_are_left_alone(tmp_path, model, data):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    xr.Dataset({"a": 1}).to_zarr(tmp_path / "other.zarr", zarr_format=2)
    for name in ("notes", "file", "other.zarr"):
        with pytest.raises(OutputError, match=f"{name} exists, but .* did not make it"):
            generate(model, data, tmp_path / name, n_realizations=1, options=HERE)
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


def test_a_damaged_map_is_found_in_its_chunk(tmp_path, model):
    cutouts = make_haloes()
    write_cutouts(tmp_path / "haloes.h5", cutouts)
    with h5py.File(tmp_path / "haloes.h5", "r+") as file:
        file["condition"][5, 0, 3, 3] = np.nan
    out = tmp_path / "a.zarr"
    with pytest.raises(DataError, match=r"haloes\.h5, rows 4:6: condition: 1 pixels are NaN"):
        generate(model, tmp_path / "haloes.h5", out, n_realizations=1, options=HERE)
    assert xr.open_zarr(out).done.values.sum() == 4


def test_a_damaged_target_stops_no_generation(tmp_path, model, data, reference):
    write_cutouts(tmp_path / "haloes.h5", make_haloes())
    with h5py.File(tmp_path / "haloes.h5", "r+") as file:
        file["target"][5, 0, 3, 3] = np.nan
        file["halo_radius"][6] = np.nan
    out = tmp_path / "a.zarr"
    generate(model, tmp_path / "haloes.h5", out, n_realizations=DRAWS, seed=5, options=HERE)
    np.testing.assert_array_equal(masses(out), reference)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scales": (6.25, 12.5, 25.0, 40.0)}, "scales are .*40.0.*trained with .*50.0"),
        ({"scales": (6.25, 12.5)}, "scales are .* in 16 pixels .*as many maps"),
        ({"n_pixels": 32}, "in 32 pixels.*in 16: .*pixels of the same width"),
        ({"depth": 25.0}, "depth is 25.0.*trained with 50.0"),
        ({"redshift": 1.0}, "redshift is 1.0.*trained with 0.0"),
        ({"omega_b": 0.045}, "omega_b is 0.045.*trained with 0.049"),
        ({"parameter_names": ("Omega_m", "h")}, "parameters are Omega_m, h,.*Omega_m, sigma_8"),
    ],
)
def test_cutouts_that_do_not_fit_the_model(tmp_path, model, change, words):
    geometry = replace(make_haloes(1).geometry, **change)
    with CutoutWriter(tmp_path / "haloes.h5", geometry, 0):
        pass
    with pytest.raises(DataError, match=words):
        generate(model, tmp_path / "haloes.h5", tmp_path / "a", n_realizations=1, options=HERE)
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError, match=words):  # also where Dask does the drawing
        generate_chunk(model, tmp_path / "haloes.h5", [0], n_realizations=1)


def test_wider_maps_of_the_same_pixels_fit(tmp_path, model):
    wide = make_cutouts(3, 2 * SIDE)
    geometry = replace(wide.geometry, scales=(12.5, 25.0, 50.0, 100.0))
    write_cutouts(tmp_path / "haloes.h5", replace(wide, geometry=geometry))
    out = tmp_path / "a.zarr"
    generate(model, tmp_path / "haloes.h5", out, n_realizations=1, options=HERE)
    haloes = xr.open_zarr(out)
    assert haloes.mass.shape == (3, 1, 3, 32, 32) and haloes.done.all()
    np.testing.assert_allclose(np.diff(haloes.x), 6.25 / SIDE)


def test_channels_come_from_the_model(tmp_path, model, reference):
    cutouts = make_haloes()
    geometry = replace(cutouts.geometry, channels=("dm",))
    write_cutouts(tmp_path / "dmo.h5", replace(cutouts, target=None, geometry=geometry))
    out = tmp_path / "a.zarr"
    generate(model, tmp_path / "dmo.h5", out, n_realizations=DRAWS, seed=5, options=HERE)
    assert xr.open_zarr(out).channel.values.tolist() == ["dm", "gas", "star"]
    np.testing.assert_array_equal(masses(out), reference)


def test_no_rows(tmp_path, model):
    cutouts = replace(make_haloes(), split=np.zeros(N, np.int8))
    write_cutouts(tmp_path / "haloes.h5", cutouts)
    options = replace(HERE, split="test")
    with pytest.raises(DataError, match=r"haloes\.h5 holds no cutouts of the test split"):
        generate(model, tmp_path / "haloes.h5", tmp_path / "a", n_realizations=1, options=options)


def test_settings_out_of_range(tmp_path, model, data):
    out = tmp_path / "a.zarr"
    for steps, message in ((0, "at least 1"), (3, "noise levels for 1, 2, 4 steps")):
        with pytest.raises(ConfigError, match=message):
            generate(model, data, out, n_realizations=1, n_sampling_steps=steps, options=HERE)
    with pytest.raises(ConfigError, match="n_realizations must be at least 1"):
        generate(model, data, out, n_realizations=0, options=HERE)
    for name in ("n_realizations", "n_sampling_steps", "seed"):
        with pytest.raises(ConfigError, match=f"{name} must be a whole number, found 1.5"):
            generate(model, data, out, **{"n_realizations": 1, name: 1.5}, options=HERE)
    with pytest.raises(ConfigError, match="split 'valid' is unknown"):
        generate(model, data, out, n_realizations=1, options=replace(HERE, split="valid"))
    with pytest.raises(CheckpointError, match="no emulator at"):
        generate(tmp_path / "none.safetensors", data, out, n_realizations=1, options=HERE)
    with pytest.raises(DataError, match="no such file"):
        generate(model, tmp_path / "none.h5", out, n_realizations=1, options=HERE)
    for wrong in ({"workers": -1}, {"haloes_per_chunk": 0}, {"device": "gpu"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            GenerateOptions(**wrong)
    assert not out.exists()
