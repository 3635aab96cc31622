"""The denoiser's scalings: exact boundary, unit variances, injective noise label."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.diffusion.preconditioning import scalings


class Arbitrary(nn.Module):
    """Any network output must vanish at the boundary."""

    def forward(self, x, c_noise, condition, parameters):
        return 3.0 + 10 * x.sin() + c_noise.view(-1, 1, 1, 1)


@pytest.mark.parametrize("boundary", [0.002, 0.1])
def test_the_boundary_is_exact_whatever_the_network(boundary):
    denoiser = Denoiser(Arbitrary(), sigma_data=0.7, boundary=boundary)
    x = torch.randn(5, 3, 4, 4)
    out = denoiser(x, torch.full((5,), boundary), x, x)
    assert torch.equal(out, x)


def test_known_values_of_karras_et_al():
    s = scalings(torch.tensor([0.5, 1.0]), sigma_data=0.5, boundary=0.0)
    torch.testing.assert_close(s.c_skip, torch.tensor([0.5, 0.2]))
    torch.testing.assert_close(s.c_out, torch.tensor([0.5 / 2**0.5, 0.5 / 1.25**0.5]))
    torch.testing.assert_close(s.c_in, torch.tensor([2**0.5, 1 / 1.25**0.5]))


def test_network_input_and_target_have_unit_variance():
    """With D = E[x_clean | x] replaced by x_clean itself, F's target has variance one."""
    torch.manual_seed(0)
    clean, noise = 0.6 * torch.randn(400_000), torch.randn(400_000)
    for sigma in (0.01, 0.3, 2.0, 50.0):
        s = scalings(torch.tensor(sigma), sigma_data=0.6, boundary=0.0)
        noisy = clean + sigma * noise
        assert (s.c_in * noisy).std().item() == pytest.approx(1, rel=0.01)
        assert ((clean - s.c_skip * noisy) / s.c_out).std().item() == pytest.approx(1, rel=0.01)


def test_noise_label_is_injective_and_never_clamped():
    sigma = torch.logspace(-2.7, 1.9, 500)
    label = scalings(sigma, 1.0, 0.002).c_noise
    assert (label.diff() > 0).all()
    assert label.min() < -1.5 and label.max() > 1.0
