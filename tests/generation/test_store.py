"""What the store of generated haloes says about itself."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace

import numpy as np
import xarray as xr
from generation_world import DRAWS, HERE, make_haloes, masses

from halo_cm.errors import HaloCMError
from halo_cm.generate import generate
from halo_cm.generation import store as store_module


def test_store_opens_as_one_described_dataset(tmp_path, model, data):
    out = tmp_path / "a.zarr"
    generate(model, data, out, n_realizations=DRAWS, seed=5, options=HERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        haloes = xr.open_zarr(out)
    assert haloes.mass.dims == ("halo", "realization", "channel", "y", "x")
    assert haloes.mass.dtype == np.float32
    assert haloes.mass.variable.chunksizes["halo"] == (2, 2, 2, 2, 2, 1)
    assert haloes.channel.values.tolist() == ["dm", "gas", "star"]
    assert haloes.mass.attrs["units"] == "Msun/h"
    assert all({"units", "long_name"} <= set(v.attrs) for v in haloes.variables.values())
    # centres of 16 pixels over 6.25 Mpc/h, symmetric about the halo
    cell = 6.25 / 16
    np.testing.assert_allclose(haloes.x.values, cell * np.arange(-7.5, 8))
    cutouts = make_haloes()
    for name in ("halo_mass", "halo_radius", "halo_position", "parameters", "box", "split"):
        np.testing.assert_array_equal(haloes[name].values, getattr(cutouts, name))
    np.testing.assert_array_equal(haloes.halo_in_box.values, cutouts.halo)
    assert haloes.parameter.values.tolist() == ["Omega_m", "sigma_8"]
    assert haloes.halo_mass.attrs["units"] == "Msun/h"
    expected = {"seed": 5, "n_sampling_steps": 1, "model": "tiny", "data": "haloes.h5"}
    expected |= {"boxsize": 50.0, "field_of_view": 6.25, "pixel_area": cell**2, "split": "all"}
    assert expected.items() <= haloes.attrs.items()
    assert len(haloes.attrs["model_sha256"]) == 64
    assert '"preset": "test"' in haloes.attrs["data_provenance"]


def test_every_value_but_the_masses_is_on_disk_from_the_start(tmp_path, model, data):
    # zarr leaves out chunks equal to the fill value, which other versions of zarr read differently
    out, options = tmp_path / "a.zarr", replace(HERE, shard="1/6")
    generate(model, data, out, n_realizations=1, seed=0, options=options)
    for array in out.glob("*/.zarray"):
        stored = [path for path in array.parent.iterdir() if not path.name.startswith(".")]
        expected = {"mass": 1, "done": 6}.get(array.parent.name, 1)
        assert len(stored) == expected, array


def test_unfinished_haloes_are_marked_and_nan(tmp_path, model, data, reference):
    out, options = tmp_path / "a.zarr", replace(HERE, shard="1/3")
    generate(model, data, out, n_realizations=DRAWS, seed=5, options=options)
    haloes = xr.open_zarr(out)
    assert haloes.done.dtype == bool
    assert np.flatnonzero(haloes.done.values).tolist() == [2, 3, 8, 9]
    assert np.isnan(haloes.mass.isel(halo=~haloes.done.values)).all()
    some = haloes.isel(halo=haloes.done.values)
    np.testing.assert_array_equal(some.mass.values, reference[[2, 3, 8, 9]])


def test_jobs_that_start_together_share_one_store(tmp_path, model, data, reference):
    out, errors = tmp_path / "deep" / "a.zarr", []

    def job(i: int) -> None:
        try:
            options = replace(HERE, shard=f"{i}/4")
            generate(model, data, out, n_realizations=DRAWS, seed=5, options=options)
        except HaloCMError as error:
            errors.append(error)

    threads = [threading.Thread(target=job, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert [path.name for path in out.parent.iterdir()] == ["a.zarr"]
    np.testing.assert_array_equal(masses(out), reference)


def test_the_store_of_a_faster_job_is_kept(tmp_path, model, data):
    out = tmp_path / "a.zarr"
    generate(model, data, out, n_realizations=1, seed=0, options=replace(HERE, shard="0/6"))
    before = masses(out)
    store_module._create(xr.Dataset(attrs={"seed": 1}), out)
    np.testing.assert_array_equal(masses(out), before)
    assert list(tmp_path.iterdir()) == [out]
