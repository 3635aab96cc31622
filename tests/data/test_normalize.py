"""Normalisation: exact round trips, statistics of the training split, bounded outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import make_cutouts

from halo_cm.config.schema import NormalizationConfig
from halo_cm.data.cutouts import read_cutouts, write_cutouts
from halo_cm.data.normalize import Normalization
from halo_cm.errors import DataError


def tensors(cutouts):
    return tuple(
        torch.from_numpy(a) for a in (cutouts.target, cutouts.condition, cutouts.parameters)
    )


@pytest.mark.parametrize("targets", ["ratio", "log"])
def test_decode_inverts_encode(targets):
    cutouts = make_cutouts()
    normalization = Normalization.fit(NormalizationConfig(targets=targets), cutouts)
    target, condition, parameters = tensors(cutouts)
    batch = normalization.encode(target, condition, parameters, torch.arange(len(cutouts)))
    back = normalization.decode(batch.x_clean, condition, parameters)
    torch.testing.assert_close(back, target, rtol=2e-4, atol=1e5)
    assert torch.equal(back[:, 2] == 0, target[:, 2] == 0)  # empty star pixels stay empty


def test_normalised_training_targets_have_mean_zero_and_deviation_one():
    cutouts = make_cutouts()
    normalization = Normalization.fit(NormalizationConfig(), cutouts)
    x = normalization.encode(*tensors(cutouts), torch.arange(len(cutouts))).x_clean
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    std = x.square().mean((0, 2, 3)).sqrt()
    torch.testing.assert_close(std, torch.full((3,), normalization.sigma_data), atol=1e-4, rtol=0)


def test_ratio_targets_vanish_where_the_mean_relation_holds():
    cutouts = make_cutouts()
    f_b = (cutouts.geometry.omega_b / cutouts.parameters[:, 0])[:, None, None]
    dmo = cutouts.condition[:, 0]
    target = np.stack([(1 - f_b) * dmo, f_b * dmo, 0 * dmo], 1).astype("f4")
    normalization = Normalization.fit(NormalizationConfig(), cutouts)
    _, condition, parameters = tensors(cutouts)
    raw = normalization._transform(torch.from_numpy(target), condition, parameters)
    assert raw.abs().max() < 1e-5


def test_decoded_values_stay_in_the_range_of_the_training_set():
    cutouts = make_cutouts()
    normalization = Normalization.fit(NormalizationConfig(), cutouts)
    target, condition, parameters = tensors(cutouts)
    wild = normalization.decode(torch.full_like(target, 1e4), condition, parameters)
    assert wild[:, 2].max() == pytest.approx(target[:, 2].max().item(), rel=1e-3)
    truth = normalization._transform(target, condition, parameters).amax((0, 2, 3))
    reached = normalization._transform(wild, condition, parameters).amax((0, 2, 3))
    torch.testing.assert_close(reached, truth, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(wild).all()
    empty = normalization.decode(torch.full_like(target, -1e4), condition, parameters)
    assert (empty >= 0).all() and (empty[:, 2] == 0).all()


def test_decoding_a_root_is_differentiable_at_empty_pixels():
    cutouts = make_cutouts()
    normalization = Normalization.fit(NormalizationConfig(), cutouts)
    target, condition, parameters = tensors(cutouts)
    x = torch.zeros_like(target, requires_grad=True)
    normalization.roots(normalization.decode(x, condition, parameters)).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_star_pixels_below_a_stellar_particle_are_empty():
    cutouts = make_cutouts()
    normalization = Normalization.fit(NormalizationConfig(star_threshold=1e8), cutouts)
    target, condition, parameters = tensors(cutouts)
    x = normalization.encode(target, condition, parameters, torch.arange(len(target))).x_clean
    star = normalization.decode(x, condition, parameters)[:, 2]
    faint = (target[:, 2] > 0) & (target[:, 2] < 0.99e8)
    assert faint.any() and (star[faint] == 0).all()
    assert torch.equal(star > 0, target[:, 2] >= 1e8)


def test_occupied_star_pixels_are_counted_with_a_gradient():
    cutouts = make_cutouts()
    normalization = Normalization.fit(NormalizationConfig(star_threshold=1e6), cutouts)
    _, condition, parameters = tensors(cutouts)
    mass = torch.zeros(1, 3, 16, 16)
    mass[0, 2, 0, :5] = torch.tensor([1.01e6, 1e8, 1e9, 1e10, 0.99e6])
    x = normalization.encode(mass, condition[:1], parameters[:1], torch.zeros(1)).x_clean
    x.requires_grad_()
    occupied = normalization.occupied(x)
    expected = torch.zeros(1, 1, 16, 16)
    expected[..., 0, :4] = 1
    torch.testing.assert_close(occupied, expected)
    occupied.sum().backward()
    assert (x.grad[0, 2] >= 0).all() and (x.grad[0, 2, 1:] > 0.01).all()
    assert (x.grad[0, :2] == 0).all()


def test_without_a_faintest_star_pixel_none_is_counted():
    normalization = Normalization.fit(NormalizationConfig(star_threshold=0), make_cutouts())
    assert (normalization.occupied(torch.randn(2, 3, 8, 8)) == 0).all()


def test_statistics_travel_with_the_weights():
    cutouts = make_cutouts()
    fitted = Normalization.fit(NormalizationConfig(), cutouts)
    fresh = Normalization(NormalizationConfig(), cutouts.geometry)
    fresh.load_state_dict(fitted.state_dict())
    x = torch.randn(4, 3, 16, 16)
    _, condition, parameters = (t[:4] for t in tensors(cutouts))
    fields = [n.decode(x, condition, parameters) for n in (fresh, fitted)]
    assert torch.equal(*fields)


def test_a_constant_parameter_is_centred_not_divided_by_zero():
    cutouts = make_cutouts()
    cutouts.parameters[:, 1] = 0.8
    normalization = Normalization.fit(NormalizationConfig(), cutouts)
    encoded = normalization.encode_parameters(torch.from_numpy(cutouts.parameters))
    assert torch.isfinite(encoded).all() and encoded[:, 1].abs().max() < 1e-4


def test_missing_omega_m_is_named():
    with pytest.raises(DataError, match=r"'Omega_m'.*found sigma_8, A_star"):
        Normalization.fit(NormalizationConfig(), make_cutouts(names=("sigma_8", "A_star")))


def test_an_empty_training_split_is_refused():
    with pytest.raises(DataError, match="no cutouts with targets"):
        Normalization.fit(NormalizationConfig(), make_cutouts().select(slice(0, 0)))


@pytest.mark.parametrize("channels", [("gas", "dm", "star"), ("dm", "gas"), ("dm", "gas", "stars")])
def test_other_channels_are_refused(tmp_path, channels):
    """In files whose coordinates agree with their maps, so that reading them is no error."""
    cutouts = make_cutouts(4)
    geometry = replace(cutouts.geometry, channels=channels)
    other = replace(cutouts, target=cutouts.target[:, : len(channels)], geometry=geometry)
    write_cutouts(tmp_path / "haloes.h5", other)
    read = read_cutouts(tmp_path / "haloes.h5")
    message = f"channel: found {', '.join(channels)}, expected dm, gas, star"
    with pytest.raises(DataError, match=message):
        Normalization.fit(NormalizationConfig(), read)
