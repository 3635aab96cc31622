"""Validation loss of the denoiser by shape of the network, at equal training images.

    python benchmarks/network_loss.py data/quickstart.h5 [--steps 400] [--batch-size 32] [--seed 0]
        [--rate 1e-3] [--optimizer muon] [--bf16] [--only 64-128 --only DiT]

Every shape (or those with one of the words after --only in their name) sees the same batches, noise
levels and noise; the loss is that of the averaged weights on the same noisy validation cutouts. One
thread.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from contextlib import nullcontext
from types import SimpleNamespace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from network import SHAPES
from torch import nn

from halo_cm.config.schema import NormalizationConfig
from halo_cm.data.cutouts import read_cutouts
from halo_cm.data.dataset import TrainingData, batch_rows
from halo_cm.data.normalize import Normalization
from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.networks.build import build_network
from halo_cm.networks.patch_network import inner_weights
from halo_cm.objectives.denoising import Denoising
from halo_cm.seeding import derive_seed
from halo_cm.training.ema import ema_decay, lerp_weights
from halo_cm.training.muon import Muon

#: Share of the steps over which the learning rate falls to zero.
DECAY = 0.4


def loss_of(network: nn.Module, batch: object, seed: int, *, bf16: bool) -> torch.Tensor:
    """Loss of one batch with the noise of ``seed``."""
    step = SimpleNamespace(
        denoiser=Denoiser(network, 1.0, 0.0),
        sigma_min=0.002,
        sigma_max=80.0,
        generator=torch.Generator().manual_seed(seed),
    )
    step.noise_like = lambda x: torch.randn(x.shape, generator=step.generator)
    with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        return Denoising().loss(step, batch)  # type: ignore[arg-type]


def make_optimizer(network: nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    """AdamW with torch's betas, as for the tables of docs/training.md, or training's Muon."""
    if options.optimizer == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=0.0)
    betas = (0.9, 0.99)  # as in training
    return Muon(inner_weights(network), network.parameters(), options.rate, betas=betas)


def train(network: nn.Module, data: TrainingData, options: argparse.Namespace) -> nn.Module:
    """Averaged weights after ``options.steps`` steps."""
    average = copy.deepcopy(network)
    optimizer = make_optimizer(network, options)
    for step in range(options.steps):
        left = 1 - step / options.steps
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / 50) * min(1.0, left / DECAY)
        rows = batch_rows(options.seed, len(data), step, options.batch_size)
        seed = derive_seed(options.seed, "step", step)
        loss = loss_of(network, data.batch(*rows), seed, bf16=options.bf16)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        lerp_weights(average, network, ema_decay(step, 0.05 * options.steps))
    return average


@torch.no_grad()
def validate(network: nn.Module, data: TrainingData, options: argparse.Namespace) -> float:
    """Mean loss over the validation split."""
    losses = []
    for step in range(len(data) // options.batch_size):
        rows = batch_rows(options.seed, len(data), step, options.batch_size)
        seed = derive_seed(options.seed, "validation", step)
        losses.append(loss_of(network, data.batch(*rows), seed, bf16=options.bf16))
    return float(torch.stack(losses).mean())


def compare(networks: dict[str, nn.Module], options: argparse.Namespace) -> None:
    """Train and validate every network and print a table."""
    torch.set_num_threads(1)
    training = read_cutouts(options.data, "train", 0)
    normalization = Normalization.fit(NormalizationConfig(), training)
    device = torch.device("cpu")
    data = TrainingData(training, normalization, device)
    held_out = TrainingData(read_cutouts(options.data, "validation", 0), normalization, device)
    print(
        f"{options.steps} steps of {options.batch_size} cutouts of {options.data}, learning rate "
        f"{options.rate:g}, {options.optimizer}, seed {options.seed}"
    )
    for name, network in networks.items():
        start = time.process_time()
        average = train(network, data, options)
        seconds = time.process_time() - start
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        loss = validate(average, held_out, options)
        print(
            f"{name:30s} {millions:5.2f} M  validation loss {loss:.4f}  {seconds:6.0f} CPU-s",
            flush=True,
        )


def main() -> None:
    """Compare the shapes of ``network.py``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument("--only", action="append", help="part of a name; more than once for more")
    options = parser.parse_args()
    networks: dict[str, nn.Module] = {}
    for name, shape in SHAPES.items():
        if options.only and not any(word in name for word in options.only):
            continue
        torch.manual_seed(options.seed)
        networks[name] = build_network(3, 4, 7, shape)
    compare(networks, options)


if __name__ == "__main__":
    main()
