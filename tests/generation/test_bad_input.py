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
from halo_cm.generation import inputs


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


def write_whole(path, cutouts):
    """As a universe writes its own file, with the fingerprint, which `write_cutouts` leaves out."""
    with CutoutWriter(path, cutouts.geometry, len(cutouts)) as writer:
        writer.append(cutouts)


def test_some_rows_of_a_universe_are_told_from_others(tmp_path, model):
    """The columns may agree, and the fingerprint of the whole file too."""
    cutouts, path, out = make_haloes(), tmp_path / "haloes.h5", tmp_path / "a.zarr"
    cutouts = replace(cutouts, geometry=replace(cutouts.geometry, provenance={"fingerprint": "a"}))
    write_cutouts(path, cutouts)
    generate(model, path, out, n_realizations=1, options=replace(HERE, shard="0/6"))
    write_cutouts(path, replace(cutouts, condition=cutouts.condition * np.float32(1.01)))
    with pytest.raises(OutputError, match=r"maps_fingerprint = \w+\.\.\. \(now \w+"):
        generate(model, path, out, n_realizations=1, options=HERE)


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
    write_whole(path, first)
    generate(model, path, tmp_path / "b.zarr", options=HERE, **arguments)
    write_whole(path, second)
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


def test_a_damaged_map_is_found_before_anything_is_drawn(tmp_path, model):
    cutouts = make_haloes()
    write_cutouts(tmp_path / "haloes.h5", cutouts)
    with h5py.File(tmp_path / "haloes.h5", "r+") as file:
        file["condition"][5, 0, 3, 3] = np.nan
    out = tmp_path / "a.zarr"
    with pytest.raises(DataError, match=r"haloes\.h5, rows 0:11: condition: 1 pixels are NaN"):
        generate(model, tmp_path / "haloes.h5", out, n_realizations=1, options=HERE)
    assert not out.exists()


@pytest.mark.parametrize(
    ("row", "change", "words"),
    [
        (
            7,
            {"parameters": 3e13},
            r"haloes\.h5: parameters: Omega_m = 3e\+13, .* outside in row 7;",
        ),
        (
            7,
            {"parameters": np.nan},
            r"haloes\.h5: parameters hold NaN or .* values in row 7: every",
        ),
        (7, {"condition": 1e-20}, r"haloes\.h5: condition: log10 of .* far outside in row 7;"),
        (40, {"condition": 0}, r"haloes\.h5: condition: 1 of .* hold no mass, in row 40; .*out"),
    ],
)
@pytest.mark.parametrize("split", [None, "validation"])
def test_haloes_far_outside_are_found_before_anything_is_drawn(
    tmp_path, model, row, change, words, split
):
    """In whatever chunk they are, and by their rows in the file."""
    cutouts, out = make_haloes(44), tmp_path / "a.zarr"
    write_cutouts(tmp_path / "haloes.h5", cutouts)
    with h5py.File(tmp_path / "haloes.h5", "r+") as file:
        for name, value in change.items():
            if name == "parameters":
                file[name][row, 0] = value
            else:
                file[name][row, 0] *= np.float32(value)
    options = replace(HERE, split=split)
    with pytest.raises(DataError, match=words):
        generate(model, tmp_path / "haloes.h5", out, n_realizations=1, options=options)
    assert not out.exists()
    if np.isfinite(list(change.values())).all():  # Dask draws a chunk alone
        with pytest.raises(DataError, match=words):
            generate_chunk(model, tmp_path / "haloes.h5", [row - 1, row], n_realizations=1)


def test_extrapolation_is_warned_of_once(tmp_path, model, caplog, capfd):
    cutouts, out = make_haloes(), tmp_path / "a.zarr"
    cutouts.parameters[:, 1] = 0.5  # trained on 0.2 to 0.4
    write_cutouts(tmp_path / "haloes.h5", cutouts)
    for shard, workers in (("0/2", 2), ("1/2", 0)):
        caplog.clear()
        options = replace(HERE, shard=shard, workers=workers)
        generate(model, tmp_path / "haloes.h5", out, n_realizations=1, options=options)
        said = [r.message for r in caplog.records if "extrapolates" in r.message]
        assert len(said) == 1 and "sigma_8 = 0.5, trained on 0.2" in said[0]
        assert "extrapolates" not in capfd.readouterr().err
    assert xr.open_zarr(out).done.all()


def test_the_maps_of_a_store_are_checked_once(tmp_path, model, data, monkeypatch):
    seen, means = [], inputs._mean_masses

    def spy(path, rows, geometry):
        seen.append(len(rows))
        return means(path, rows, geometry)

    monkeypatch.setattr(inputs, "_mean_masses", spy)
    for shard in ("0/2", "1/2"):
        options = replace(HERE, shard=shard)
        generate(model, data, tmp_path / "a.zarr", n_realizations=1, options=options)
    assert seen == [N]


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
        ({"n_pixels": 32}, "in 32 pixels.*in 16 .*pixels of the same width"),
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
    for steps, message in ((0, "at least 1"), (3, "noise levels for 1, 2, 4, 8 steps")):
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
