"""What holds for every backbone: the start at zero, gradients, latents, a trip through a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from builders import make_config, make_cutouts
from safetensors import safe_open
from safetensors.torch import save_file

from halo_cm.config.network import DiTConfig, UNetConfig
from halo_cm.data.normalize import Normalization
from halo_cm.emulator import Emulator
from halo_cm.errors import CheckpointError
from halo_cm.manager import ModelManager
from halo_cm.networks.build import build_network
from halo_cm.networks.dit import DiT
from halo_cm.networks.patch_network import block_means, centre_distance, ring_means
from halo_cm.networks.unet import UNet
from halo_cm.sampling import sample

SHARED = {"patch_size": 2, "embedding_dimension": 16, "head_channels": 4}
SHAPES = {
    "unet": UNetConfig(**SHARED, channels=(8, 16), attention_levels=(1,)),
    "dit": DiTConfig(**SHARED, width=16, depth=2, n_heads=2),
    "unet, refined": UNetConfig(**SHARED, channels=(8, 16), head_blocks=2),
    "dit, refined": DiTConfig(**SHARED, width=16, depth=2, n_heads=2, head_blocks=1),
}
N_LATENT = 2
backbones = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def build(shape, n_latent=0, dims=2):
    torch.manual_seed(0)
    return build_network(3, 4, 7, shape.model_copy(update={"latent_channels": n_latent}), dims)


def inputs(size=(16, 16), n_latent=0, batch=2):
    generator = torch.Generator().manual_seed(1)
    shapes = ((batch, 3, *size), (batch,), (batch, 4 + n_latent, *size), (batch, 7))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def randomise(network):
    """Weights without the zeros of the start."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_the_config_chooses_the_network():
    assert type(build(SHAPES["unet"])) is UNet and type(build(SHAPES["dit"])) is DiT


@backbones
@pytest.mark.parametrize("size", [(16, 16), (32, 16), (64, 64), (8, 8, 12)])
def test_maps_of_any_size_divisible_by_the_stride(shape, size):
    network, batch = randomise(build(shape, dims=len(size))), inputs(size)
    out = network(*batch)
    assert out.shape == batch[0].shape and out.dtype == torch.float32
    assert torch.isfinite(out).all() and out.std() > 0
    assert network.double()(*[x.double() for x in batch]).dtype == torch.float64


@backbones
def test_other_sizes_are_refused_with_the_reason(shape):
    with pytest.raises(ValueError, match=rf"\(18, 17\).*multiple of {shape.stride}"):
        build(shape)(*inputs((18, 17)))


@backbones
def test_the_output_starts_at_zero(shape):
    assert not build(shape, N_LATENT)(*inputs(n_latent=N_LATENT)).any()


@backbones
def test_gradients_reach_every_parameter(shape):
    network, batch = build(shape, N_LATENT), inputs(n_latent=N_LATENT)
    target = torch.randn_like(batch[0])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    # zeros stand behind zeros: the last layer moves first, then what opens the branches
    for _ in range(3):
        optimizer.zero_grad()
        (network(*batch) - target).square().mean().backward()
        optimizer.step()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


def test_blocks_of_the_head_change_nothing_at_first_and_know_noise_and_parameters():
    plain, shape = build(SHAPES["unet"]), SHAPES["unet"].model_copy(update={"head_blocks": 1})
    network, batch = build(shape), inputs()
    (block,) = network.refine
    for name, parameter in network.named_parameters():
        if not name.startswith("refine."):
            torch.nn.init.normal_(parameter, std=0.1)
    for name, parameter in plain.named_parameters():
        parameter.data = network.get_parameter(name).data
    torch.testing.assert_close(network(*batch), plain(*batch))
    randomise(block)
    assert not torch.allclose(network(*batch), plain(*batch))
    seen = []
    block.modulation.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    network(*batch), network(batch[0], batch[1] + 1, *batch[2:])
    network(*batch[:3], batch[3] + 1)
    assert seen[0].shape == (2, SHAPES["unet"].embedding_dimension)
    assert not torch.allclose(seen[0], seen[1]) and not torch.allclose(seen[0], seen[2])


@backbones
def test_samples_of_a_batch_do_not_see_each_other(shape):
    network, batch = randomise(build(shape)), inputs(batch=3)
    order = torch.tensor([2, 0, 1])
    swapped = network(*[x[order] for x in batch])
    torch.testing.assert_close(swapped, network(*batch)[order])


@backbones
def test_it_depends_on_every_input(shape):
    network, batch = randomise(build(shape)), inputs()
    out = network(*batch)
    for index in range(4):
        changed = [x + 0.5 if i == index else x for i, x in enumerate(batch)]
        assert not torch.allclose(network(*changed), out), f"input {index} is ignored"
    for p in range(7):
        numbers = batch[3].clone()
        numbers[:, p] += 1
        assert not torch.allclose(network(*batch[:3], numbers), out), f"parameter {p} is ignored"


@backbones
def test_latents_have_no_effect_at_first_and_learn(shape):
    network, batch = build(shape, N_LATENT), inputs(n_latent=N_LATENT)
    # everything but the inputs that the latents enter through
    for name, parameter in network.named_parameters():
        if not name.startswith(("stem.", "head.")):
            torch.nn.init.normal_(parameter, std=0.1)
    other = [x.clone() for x in batch]
    other[2][:, -N_LATENT:] = 7
    torch.testing.assert_close(network(*other), network(*batch), rtol=0, atol=0)
    torch.optim.SGD(network.parameters(), lr=0.1).zero_grad()
    network(*batch).square().mean().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * parameter.grad
    assert not torch.allclose(network(*other), network(*batch))


def fresh_emulator(shape, uses_latent):
    cutouts = make_cutouts()
    network = shape.model_copy(update={"latent_channels": N_LATENT * uses_latent})
    config = make_config(network=network.model_dump())
    normalization = Normalization.fit(config.normalization, cutouts)
    emulator = Emulator(config, normalization, "consistency")
    emulator.use_sampler("consistency", uses_latent=uses_latent)
    randomise(emulator.denoiser.network)
    return emulator.eval().requires_grad_(False)


@backbones
@pytest.mark.parametrize("uses_latent", [False, True])
def test_an_emulator_is_saved_loaded_and_sampled(shape, uses_latent, tmp_path):
    emulator = fresh_emulator(shape, uses_latent)
    ModelManager.save(emulator, tmp_path / "model.safetensors")
    loaded = ModelManager.load(tmp_path / "model.safetensors")
    assert type(loaded.config.network) is type(shape) and loaded.config == emulator.config
    cutouts = make_cutouts(n=2)
    fields = [
        sample(m, cutouts.condition, 2, n_steps, parameters=cutouts.parameters, seed=1)
        for m in (emulator, loaded)
        for n_steps in (1, 2)
    ]
    assert fields[0].shape == (2, 2, 3, 16, 16) and np.isfinite(fields[0]).all()
    assert np.array_equal(fields[0], fields[2]) and np.array_equal(fields[1], fields[3])


def rewrite_network(path, change):
    """Change the network in the config of a model file."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["halo_cm"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header["config"]["network"])
    save_file(tensors, path, {"halo_cm": json.dumps(header)})


def test_a_model_of_a_version_without_backbones_is_a_unet(tmp_path):
    path, emulator = tmp_path / "model.safetensors", fresh_emulator(SHAPES["unet"], False)
    ModelManager.save(emulator, path)
    rewrite_network(path, lambda network: network.pop("backbone"))
    assert ModelManager.load(path).config == emulator.config


def test_a_model_of_an_unknown_backbone_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    ModelManager.save(fresh_emulator(SHAPES["dit"], False), path)
    rewrite_network(path, lambda network: network.update(backbone="mamba"))
    with pytest.raises(CheckpointError, match="model that this version of halo_cm does not know"):
        ModelManager.load(path)


@pytest.mark.parametrize("dims", [2, 3])
def test_block_means_of_noise_are_standard_normal(dims):
    g = torch.Generator().manual_seed(3)
    means = block_means(torch.randn(4000, 3, *[8] * dims, generator=g), 2).sinh()
    assert means.shape == (4000, 3 * 2**dims)
    assert means.mean(0).abs().max() < 0.08 and (means.std(0) - 1).abs().max() < 0.06
    # a level of the whole field is compressed, whatever its size
    assert block_means(torch.full((1, 1, *[64] * dims), 5.0), 1).abs().max() < 12


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (33, 33), (16, 16, 16)])
def test_rings_are_gaussians_of_the_log_of_the_radius(size):
    distance = centre_distance(torch.empty(1, 1, *size, dtype=torch.float64))
    log_radius = distance.clamp(min=1 / size[0]).log()
    centres = log_radius.min() * torch.linspace(1, 0, 6, dtype=torch.float64)
    mean, square = ring_means(torch.cat([log_radius, log_radius.square()], 1), 6).reshape(2, 6)
    width = centres[1] - centres[0]
    # beside them pixels are few, or the map ends
    middle = slice(2, 4)
    assert (mean - centres)[middle].abs().max() < 0.06 * width
    assert ((square - mean.square()).sqrt() / width - 1)[middle].abs().max() < 0.06
    assert (mean.diff() > 0).all() and (mean - centres).abs().max() < 0.75 * width


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7), (8, 4)])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_ring_means_of_small_and_odd_maps(size, n):
    torch.testing.assert_close(
        ring_means(torch.full((1, 1, *size), 3.0), n), torch.full((1, n), 3.0)
    )


def test_ring_means_are_those_of_each_map_and_keep_the_symmetries():
    maps = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    means = ring_means(maps, 4).reshape(2, 3, 4)
    for b, c in ((0, 0), (1, 2)):
        torch.testing.assert_close(means[b, c], ring_means(maps[b : b + 1, c : c + 1], 4)[0])
    for turned in (maps.flip(-1), maps.transpose(-1, -2)):
        torch.testing.assert_close(ring_means(turned, 4), ring_means(maps, 4))


@backbones
@pytest.mark.parametrize(
    ("setting", "n_means"), [({"noise_blocks": 2}, 12), ({"condition_rings": 3}, 12)]
)
def test_means_in_the_embedding_move_the_whole_field_once_they_are_trained(shape, setting, n_means):
    torch.manual_seed(0)
    network = build_network(
        3, 4, 7, shape.model_copy(update={**setting, "latent_channels": N_LATENT})
    )
    x, *others = inputs(n_latent=N_LATENT)
    first = network.embedding.mlp[0].weight
    assert first.shape[1] == network.embedding.fourier.frequencies.numel() * 2 + 7 + n_means
    assert not first[:, -n_means:].any()
    torch.nn.init.normal_(network.output.weight)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    network(x, *others).square().sum().backward()
    assert first.grad[:, -n_means:].abs().min() > 0
    torch.nn.init.normal_(first.data[:, -n_means:], std=0.1)
    out = network(x, *others)
    first.data[:, -n_means:] = 0
    assert not torch.allclose(network(x, *others), out, atol=1e-3)
