"""The U-Net: sizes, symmetry of the centre map, patches, three dimensions."""

from __future__ import annotations

import pytest
import torch

from halo_cm.config.network import UNetConfig
from halo_cm.networks.blocks import patchify, unpatchify
from halo_cm.networks.patch_network import centre_distance
from halo_cm.networks.unet import UNet

SMALL = UNetConfig(patch_size=2, channels=(8, 16), embedding_dimension=16, head_channels=4)


def build(shape=SMALL, dims=2):
    torch.manual_seed(0)
    network = UNet(3, 4, 7, shape, dims)
    torch.nn.init.normal_(network.output.weight)  # it starts at zero
    return network


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (64, 64)])
def test_any_size_divisible_by_the_stride(size):
    network = build()
    x, c = torch.randn(2, 3, *size), torch.randn(2, 4, *size)
    out = network(x, torch.zeros(2), c, torch.zeros(2, 7))
    assert out.shape == x.shape and torch.isfinite(out).all()


def test_other_sizes_are_refused_with_the_reason():
    x, c = torch.randn(1, 3, 18, 18), torch.randn(1, 4, 18, 18)
    with pytest.raises(ValueError, match=r"\(18, 18\).*multiple of 4"):
        build()(x, torch.zeros(1), c, torch.zeros(1, 7))


def test_three_dimensions():
    x, c = torch.randn(1, 3, 8, 8, 8), torch.randn(1, 4, 8, 8, 8)
    assert build(dims=3)(x, torch.zeros(1), c, torch.zeros(1, 7)).shape == x.shape


def test_it_depends_on_every_input():
    network, x, c = build(), torch.randn(1, 3, 16, 16), torch.randn(1, 4, 16, 16)
    # blocks start as identities: give the modulation something to act on
    for block in [*network.down, network.middle, *network.up]:
        torch.nn.init.normal_(block.conv_out.weight, std=0.1)
    level, parameters = torch.zeros(1), torch.zeros(1, 7)
    out = network(x, level, c, parameters)
    assert not torch.allclose(out, network(x + 1, level, c, parameters))
    assert not torch.allclose(out, network(x, level + 0.1, c, parameters))
    assert not torch.allclose(out, network(x, level, c * 2, parameters))
    for p in range(7):
        changed = parameters.clone()
        changed[0, p] = 1
        assert not torch.allclose(out, network(x, level, c, changed)), f"parameter {p} is ignored"


def test_attention_changes_nothing_at_first_and_trains():
    shape = SMALL.model_copy(update={"attention_levels": (1,)})
    network = build(shape)
    x, c = torch.randn(1, 3, 16, 16), torch.randn(1, 4, 16, 16)
    network(x, torch.zeros(1), c, torch.zeros(1, 7)).sum().backward()
    gradients = [p.grad for n, p in network.named_parameters() if "attention.project" in n]
    assert gradients and all(g is not None and torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("size", [(8, 12), (8, 4, 12)])
def test_patches_fold_and_unfold(size):
    x = torch.randn(2, 3, *size)
    folded = patchify(x, 4)
    assert folded.shape == (2, 3 * 4 ** len(size), *[s // 4 for s in size])
    assert torch.equal(unpatchify(folded, 4), x)


def test_patchify_agrees_with_pixel_unshuffle():
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(patchify(x, 2), torch.nn.functional.pixel_unshuffle(x, 2))


def test_centre_distance_has_the_symmetries_of_the_square():
    d = centre_distance(torch.zeros(1, 1, 6, 6))
    assert torch.equal(d, torch.rot90(d, 1, (2, 3))) and torch.equal(d, d.flip(-1))
    assert d.min().item() == pytest.approx(2**0.5 / 6)
