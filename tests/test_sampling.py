"""`sample`: kinds, shapes, the seed rule, and errors that say what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from builders import make_cutouts, make_emulator

from halo_cm.errors import ConfigError, DataError
from halo_cm.sampling import as_parameters, sample


@pytest.fixture(scope="module")
def emulator():
    return make_emulator()


@pytest.fixture(scope="module")
def cutouts():
    return make_cutouts(n=5)


def draw(emulator, cutouts, **changes):
    options = {"batch_size": 3, "n_sampling_steps": 1, "parameters": cutouts.parameters, "seed": 7}
    condition = changes.pop("condition", cutouts.condition)
    return sample(emulator, condition, **{**options, **changes})


def test_shape_units_and_kind_follow_the_condition(emulator, cutouts):
    fields = draw(emulator, cutouts)
    assert isinstance(fields, np.ndarray) and fields.shape == (5, 3, 3, 16, 16)
    assert fields.min() >= 0 and np.isfinite(fields).all()
    # decoded values stay in the range of the training set, so that their shares of the mass do
    trained = make_cutouts()
    ratio = trained.target[:, :2] / trained.condition[:, :1]
    share = fields[:, :, :2].mean((0, 1, 3, 4)) / cutouts.condition[:, 0].mean()
    assert (ratio.min((0, 2, 3)) < share).all() and (share < ratio.max((0, 2, 3))).all()

    tensor = draw(emulator, cutouts, condition=torch.from_numpy(cutouts.condition))
    assert isinstance(tensor, torch.Tensor) and np.array_equal(tensor.numpy(), fields)

    array = draw(emulator, cutouts, condition=xr.DataArray(cutouts.condition))
    assert array.dims == ("halo", "realization", "channel", "y", "x")
    assert array.attrs["units"] == "Msun/h" and np.array_equal(array.values, fields)


def labelled(cutouts, **coordinates):
    dims = ("cutout", "scale", "y", "x")
    return xr.DataArray(cutouts.condition, coordinates, dims=dims)


def test_labels_of_the_condition_are_kept(emulator, cutouts):
    centres = (np.arange(16) - 7.5) * 6.25 / 16
    condition = labelled(
        cutouts,
        cutout=[4, 8, 15, 16, 23],
        mass=("cutout", np.arange(5.0)),
        scale=list(emulator.geometry.scales),
        x=centres,
        redshift=0.0,
    )
    fields = draw(emulator, cutouts, condition=condition)
    assert fields.dims == ("cutout", "realization", "channel", "y", "x")
    assert set(fields.coords) == {"cutout", "mass", "x", "redshift", "channel"}
    assert fields.sel(cutout=15).mass == 2 and np.array_equal(fields.x, centres)
    assert np.array_equal(fields.values, draw(emulator, cutouts))
    draws = condition.drop_vars("cutout").rename(cutout="realization")
    assert draw(emulator, cutouts, condition=draws).dims[:2] == ("halo", "realization")


def test_wrong_labels_are_refused(emulator, cutouts):
    condition = labelled(cutouts)
    with pytest.raises(DataError, match=r"'scale', 'x', 'y'\), expected .*\.transpose"):
        draw(emulator, cutouts, condition=condition.transpose("cutout", "scale", "x", "y"))
    with pytest.raises(DataError, match=r"pixels of 3.125, 1.562.*trained with 0.3906, 0.78"):
        draw(emulator, cutouts, condition=labelled(cutouts, scale=[50.0, 25.0, 12.5, 6.25]))


@pytest.mark.parametrize("steps", [1, 2])
def test_the_seed_fixes_the_result_whatever_the_splitting(emulator, cutouts, steps):
    whole = draw(emulator, cutouts, n_sampling_steps=steps)
    for size in (1, 4, 64):
        split = draw(emulator, cutouts, n_sampling_steps=steps, device_batch_size=size)
        np.testing.assert_allclose(split, whole, rtol=2e-3, atol=1e4)
    assert np.array_equal(draw(emulator, cutouts, n_sampling_steps=steps), whole)
    assert not np.array_equal(draw(emulator, cutouts, n_sampling_steps=steps, seed=8), whole)


def test_noise_depends_on_seed_halo_and_sample_alone(emulator, cutouts):
    whole = draw(emulator, cutouts)
    more = draw(emulator, cutouts, batch_size=5)
    assert np.array_equal(more[:, :3], whole)
    part = draw(emulator, cutouts.select(np.array([3, 1])), halo_ids=np.array([3, 1]))
    assert np.array_equal(part, whole[[3, 1]])
    assert not np.array_equal(whole[:, 0], whole[:, 1])


def test_parameters_as_mapping_vector_and_matrix(emulator, cutouts):
    names = emulator.geometry.parameter_names
    one = cutouts.parameters[0]
    matrix = np.tile(one, (5, 1))
    expected = draw(emulator, cutouts, parameters=matrix)
    mapping = {name: one[i] for i, name in enumerate(names)}
    assert np.array_equal(draw(emulator, cutouts, parameters=one), expected)
    assert np.array_equal(draw(emulator, cutouts, parameters=mapping), expected)


def test_default_steps_come_from_the_config(emulator, cutouts):
    default = draw(emulator, cutouts, n_sampling_steps=None)
    assert np.array_equal(default, draw(emulator, cutouts, n_sampling_steps=1))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"parameters": None}, DataError, "parameters are missing.*Omega_m, sigma_8"),
        ({"parameters": np.ones((5, 3))}, DataError, r"shape \(5, 3\), expected \(5, 2\)"),
        ({"parameters": {"Omega_m": 0.3}}, DataError, r"missing \['sigma_8'\]"),
        ({"parameters": np.full((5, 2), np.nan)}, DataError, "Omega_m holds NaN"),
        ({"condition": np.ones((5, 3, 16, 16))}, DataError, r"expected \(N, 4, H, W\)"),
        ({"condition": np.ones((5, 4, 15, 15))}, DataError, "multiple of 4"),
        ({"condition": np.full((5, 4, 16, 16), np.nan)}, DataError, "NaN or infinite"),
        ({"condition": -np.ones((5, 4, 16, 16))}, DataError, "must not be negative"),
        ({"n_sampling_steps": 3}, ConfigError, "noise levels for 1, 2, 4, 8 steps"),
        ({"batch_size": 0}, DataError, "batch_size must be at least 1"),
        ({"halo_ids": [1, 2]}, DataError, r"halo_ids has shape \(2,\)"),
        ({"halo_ids": [0.2, 0.7, 1, 2, 3]}, DataError, "halo_ids must be integers"),
        ({"device_batch_size": -1}, DataError, "device_batch_size must be at least 1"),
        ({"device_batch_size": 0}, DataError, "device_batch_size must be at least 1"),
        ({"seed": -1}, DataError, "seed must be at least 0"),
        ({"seed": None}, DataError, "seed must be a whole number, found None"),
        ({"batch_size": 2.5}, DataError, "batch_size must be a whole number, found 2.5"),
        ({"device_batch_size": "8"}, DataError, "device_batch_size must be a whole number"),
        ({"n_sampling_steps": 1.5}, ConfigError, "n_sampling_steps must be a whole number"),
        ({"n_sampling_steps": "two"}, ConfigError, "must be a whole number, found 'two'"),
        ({"n_sampling_steps": 0}, ConfigError, "at least 1 for a consistency sampler"),
        (
            {"parameters": {"Omega_m": 0.3, "sigma_8": [1, 2]}},
            DataError,
            r"sigma_8 has shape \(2,\)",
        ),
        ({"parameters": np.full((5, 2), 0.01)}, DataError, "Omega_m = 0.01 must exceed Omega_b"),
    ],
)
def test_bad_input_is_explained(emulator, cutouts, change, error, message):
    with pytest.raises(error, match=message):
        draw(emulator, cutouts, **change)


def test_unknown_parameter_is_named():
    with pytest.raises(DataError, match=r"unknown \['Omega_M'\]"):
        as_parameters({"Omega_M": 0.3}, 1, ("Omega_m",))


def test_sizes_other_than_the_training_size_work(emulator):
    wide = make_cutouts(n=2, side=32)
    assert draw(emulator, wide, parameters=wide.parameters).shape == (2, 3, 3, 32, 32)


def test_posterior_mean_averages_over_noise(emulator, cutouts):
    condition, parameters = (torch.from_numpy(a) for a in (cutouts.condition, cutouts.parameters))
    noise = torch.randn(6, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    mean = emulator.posterior_mean(condition, parameters, iter(noise))
    assert mean.shape == (5, 3, 16, 16) and (mean >= 0).all()
    # the mean is that of the normalised fields of single evaluations
    normalization, sigma = emulator.normalization, torch.full((5,), 80.0)
    inputs = normalization.encode_condition(condition), normalization.encode_parameters(parameters)
    single = torch.stack([emulator.denoiser(80 * n, sigma, *inputs) for n in noise])
    assert single.std(0).min() > 0
    expected = normalization.decode(single.mean(0), condition, parameters)
    torch.testing.assert_close(mean, expected, rtol=1e-3, atol=1e4)
    for n, x in zip(noise, single, strict=True):
        alone = emulator.posterior_mean(condition, parameters, iter([n]))
        expected = normalization.decode(x, condition, parameters)
        torch.testing.assert_close(alone, expected, rtol=1e-3, atol=1e4)


def test_more_noise_brings_the_posterior_mean_closer(emulator, cutouts):
    condition, parameters = (torch.from_numpy(a) for a in (cutouts.condition, cutouts.parameters))
    noise = torch.randn(84, 5, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def log_mean(which):
        gas = emulator.posterior_mean(condition, parameters, iter(noise[which]))[:, 1]
        return (1 + gas / 1e9).log10()

    limit = log_mean(slice(20, None))
    distance = [(log_mean(slice(n)) - limit).square().mean().sqrt() for n in (1, 4, 16)]
    assert distance[1] < 0.7 * distance[0] and distance[2] < 0.7 * distance[1]


def test_labelled_parameters_must_be_in_order(emulator, cutouts):
    names = list(emulator.geometry.parameter_names)
    array = xr.DataArray(
        cutouts.parameters, dims=("cutout", "parameter"), coords={"parameter": names}
    )
    expected = draw(emulator, cutouts)
    assert np.array_equal(draw(emulator, cutouts, parameters=array), expected)
    with pytest.raises(DataError, match="ordered sigma_8, Omega_m, but the model expects Omega_m"):
        draw(emulator, cutouts, parameters=array.isel(parameter=[1, 0]))


def test_samples_can_enter_a_graph(emulator, cutouts):
    fields = draw(emulator, cutouts, condition=torch.from_numpy(cutouts.condition))
    weight = torch.ones((), requires_grad=True)
    (weight * fields).sum().backward()
    assert weight.grad is not None


def test_another_size_than_the_trained_one_is_said(emulator, caplog):
    wide = make_cutouts(n=1, side=32)
    with caplog.at_level("WARNING", logger="halo_cm"):
        draw(emulator, wide, parameters=wide.parameters)
    assert "32 x 32 pixels, the model was trained at 16" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_fields_drawn_on_cuda_are_those_of_the_cpu(emulator, cutouts):
    on_gpu = make_emulator().cuda()
    fields = draw(on_gpu, cutouts)
    assert isinstance(fields, np.ndarray)
    np.testing.assert_allclose(fields, draw(emulator, cutouts), rtol=2e-2, atol=1e6)
    condition = torch.from_numpy(cutouts.condition).cuda()
    assert draw(on_gpu, cutouts, condition=condition).device.type == "cuda"


def test_inputs_far_from_the_training_set_are_refused(emulator, cutouts, caplog):
    """In other units, or at other masses: nothing is extrapolated silently."""
    for condition in (
        np.log10(cutouts.condition),
        cutouts.condition / cutouts.condition.mean((2, 3), keepdims=True),
        cutouts.condition / 1e10,
        0 * cutouts.condition,
    ):
        with pytest.raises(DataError, match=r"condition: .*6\.25 Mpc/h maps"):
            draw(emulator, cutouts, condition=condition)
    wrong = cutouts.parameters.copy()
    wrong[2, 1] = 1e13
    with pytest.raises(DataError, match=r"sigma_8 = 1e\+13, trained on 0\.2\d* to 0\.39\d*: too"):
        draw(emulator, cutouts, parameters=wrong)
    draw(emulator, cutouts)
    assert not caplog.records
    fields = draw(emulator, cutouts, parameters={"Omega_m": 0.3, "sigma_8": 0.5})
    assert np.isfinite(fields).all()
    assert [r.message.count("sigma_8 = 0.5, trained on 0.2") for r in caplog.records] == [1]
