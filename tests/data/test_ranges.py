"""The range of the training split: what is news, what is a warning, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import make_cutouts

from halo_cm.config.schema import NormalizationConfig
from halo_cm.data.normalize import Normalization
from halo_cm.data.ranges import already_warned, log_mean_mass
from halo_cm.errors import DataError


def fit(cutouts):
    return Normalization.fit(NormalizationConfig(), cutouts)


def tensors(cutouts):
    return torch.from_numpy(cutouts.condition), torch.from_numpy(cutouts.parameters)


@pytest.fixture
def cutouts():
    """Omega_m from 0.2 to 0.4, sigma_8 of one value, mean masses over 0.2 dex and a few more."""
    cutouts = make_cutouts(300)
    cutouts.parameters[:2, 0] = 0.2, 0.4
    cutouts.parameters[:, 1] = 0.8
    return cutouts


def test_the_training_split_itself_is_inside(cutouts, caplog):
    trained = fit(cutouts).trained
    trained.check(*tensors(cutouts))
    assert not caplog.records
    means = np.log10(cutouts.condition.mean((2, 3), dtype=float))
    np.testing.assert_allclose(trained.mass_low, means.min(0), rtol=1e-5)
    np.testing.assert_allclose(trained.mass_high, means.max(0), rtol=1e-5)
    assert trained.parameter_low.tolist() == pytest.approx([0.2, 0.8])
    assert trained.parameter_high.tolist() == pytest.approx([0.4, 0.8])


@pytest.mark.parametrize(
    ("omega_m", "sigma_8", "said"),
    [
        (0.19, 0.8, ()),  # the tail of the same distribution
        (0.37, 0.8, ()),
        (0.1, 0.8, ("Omega_m = 0.1, trained on 0.2 to 0.4",)),
        (0.5, 0.7, ("Omega_m = 0.5", "sigma_8 = 0.7, trained on 0.8 to 0.8")),
    ],
)
def test_parameters_near_the_range(cutouts, caplog, omega_m, sigma_8, said):
    parameters = torch.tensor([[0.3, 0.8], [omega_m, sigma_8]])
    fit(cutouts).trained.check(tensors(cutouts)[0][:2], parameters)
    assert len(caplog.records) == min(len(said), 1)  # one warning names all
    for words in said:
        assert words in caplog.text
    assert ("Omega_m" in caplog.text) == any("Omega_m" in words for words in said)


@pytest.mark.parametrize(
    ("column", "value"), [(0, 0.65), (0, -0.05), (1, 1.3), (1, 0.3), (0, 3e13), (1, 13.5)]
)
def test_parameters_beyond_the_margin(cutouts, column, value):
    parameters = torch.tensor([[0.3, 0.8], [0.3, 0.8]])
    parameters[1, column] = value
    name, trained = (("Omega_m", "0.2 to 0.4"), ("sigma_8", "0.8 to 0.8"))[column]
    found = rf"{name} = .*, trained on {trained}: too far outside.*\(Omega_m, sigma_8\)"
    with pytest.raises(DataError, match=found):
        fit(cutouts).trained.check(tensors(cutouts)[0][:2], parameters)


def test_mean_masses(cutouts, caplog):
    trained, (condition, parameters) = fit(cutouts).trained, tensors(cutouts)
    for factor in (1.9, 0.6):
        trained.check(condition * factor, parameters)
    assert not caplog.records
    sums = condition.clone()
    sums[:, 1] *= 4  # a sum where the mean over the pixels of the field of view belongs
    trained.check(sums, parameters)
    assert "of the 12.5 Mpc/h maps = " in caplog.text and "6.25 Mpc/h" not in caplog.text
    assert len(caplog.records) == 1
    sums[5, 1] *= 1e3
    with pytest.raises(DataError, match=r"the 12\.5 Mpc/h maps = 13\.\d+, trained on 10.*Msun/h"):
        trained.check(sums, parameters)


def test_empty_maps_only_where_training_had_some(cutouts):
    condition, parameters = tensors(cutouts)
    empty = condition.clone()
    empty[7, 3] = 0
    with pytest.raises(DataError, match=r"1 of the 50 Mpc/h maps hold no mass, in row 7; no "):
        fit(cutouts).trained.check(empty, parameters)
    trained = fit(replace(cutouts, condition=empty.numpy())).trained
    trained.check(empty, parameters)
    assert torch.isfinite(trained.mass_low).all()
    with pytest.raises(DataError, match="maps hold no mass"):
        trained.check(0 * condition, parameters)
    with pytest.raises(DataError, match="too far outside"):  # empty maps widen no range
        trained.check(condition / 1e10, parameters)


def test_rows_are_named_as_the_caller_counts_them(cutouts):
    trained, (condition, parameters) = fit(cutouts).trained, tensors(cutouts)
    far, rows = parameters.clone(), np.arange(1000, 1300)
    far[[4, 9], 0] = torch.tensor([0.7, 0.8])
    with pytest.raises(DataError, match=r"Omega_m = 0\.8, .* too far outside in rows 1004, 1009;"):
        trained.parameters_outside(far, rows)
    means = log_mean_mass(condition)
    means[:, 2] += 4
    with pytest.raises(DataError, match=r"25 Mpc/h maps = .* in rows 1000, 1001, .* and 295 more;"):
        trained.masses_outside(means, rows)
    means = log_mean_mass(condition)
    means[7, 2] = -torch.inf
    with pytest.raises(DataError, match=r"hold no mass, in row 1007; .*leave these haloes out"):
        trained.masses_outside(means, rows)


def test_a_warning_is_not_repeated_inside_a_block(cutouts, caplog):
    trained, (condition, parameters) = fit(cutouts).trained, tensors(cutouts)
    parameters[3, 0] = 0.5
    with already_warned():
        trained.check(condition, parameters)
        assert not caplog.records
        parameters[3, 0] = 0.9  # is refused all the same
        with pytest.raises(DataError, match="too far outside in row 3"):
            trained.check(condition, parameters)
    parameters[3, 0] = 0.5
    trained.check(condition, parameters)
    assert "the model extrapolates" in caplog.text


def test_the_range_travels_with_the_weights(cutouts):
    fresh = Normalization(NormalizationConfig(), cutouts.geometry)
    fresh.load_state_dict(fit(cutouts).state_dict())
    condition, _ = tensors(cutouts)
    with pytest.raises(DataError, match="Omega_m = 13"):
        fresh.trained.check(condition, torch.tensor([[13.0, 0.8]]))
