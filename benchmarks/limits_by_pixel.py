"""Where the pixels of a model are worse than those of exact draws.

    python benchmarks/limits_by_pixel.py data/default.h5 data/default_oracle.h5 \\
        one=halo_cm/weights/consistency.safetensors:1 \\
        denoiser=halo_cm/weights/denoiser.safetensors:18 \\
        cleaned=halo_cm/weights/consistency.safetensors:1,halo_cm/weights/denoiser.safetensors@0.1

For every model (``name=FILE:STEPS``; without ``:STEPS`` its default; behind a comma a network and a
noise level at which it is evaluated once after that) and channel, over pixels of log10 mass (of
stars those that at least half of the exact draws fill):

- the fair CRPS over that of exact draws;
- how far the mean of the samples lies from that of exact draws, and how much they scatter around
  it, over the root mean square scatter of exact draws; the mean's error also in parts: means over
  squares of 16 pixels, over squares of 4 less those, and what is left. The noise of finite numbers
  of samples and draws is subtracted;
- the CRPS less that of exact draws [mdex] in eighths of the pixels, from those that exact draws
  agree on to those on which they differ most (other draws than those that are scored and score).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from halo_cm.benchmark.measure import FEW_TRUTHS, PIXEL_MASS
from halo_cm.compare import exact_draws
from halo_cm.containers import Cutouts, FloatArray
from halo_cm.emulator import Emulator
from halo_cm.manager import ModelManager
from halo_cm.sampling import sample
from halo_cm.statistics import crps_fair, log_mass

BLOCKS, N_PARTS = (16, 4, 1), 8


def by_scale(error: FloatArray) -> list[FloatArray]:
    """Parts of (N, H, W) that differ between squares of `BLOCKS` pixels; they add up to it."""
    parts, left = [], error
    for width in BLOCKS:
        n, height = error.shape[0], error.shape[1] // width
        mean = left.reshape(n, height, width, height, width).mean((2, 4))
        parts.append(np.kron(mean, np.ones((1, width, width))))
        left = left - parts[-1]
    return parts


def scores(fields: FloatArray, truths: FloatArray) -> FloatArray:
    """Fair CRPS of samples (N, M, H, W), mean over truths (N, D, H, W)."""
    return np.mean([crps_fair(fields, one) for one in np.moveaxis(truths, 1, 0)], axis=0)


def describe(fields: FloatArray, draws: FloatArray, filled: FloatArray) -> str:
    """What the module says, of log masses (N, M, H, W) and (N, D, H, W), inside (N, H, W)."""
    fields, draws = fields * filled[:, None], draws * filled[:, None]
    error = fields.mean(1) - draws.mean(1)
    unit = draws.var(1, ddof=1).sum()
    scatter = np.sqrt(fields.var(1, ddof=1).sum() / unit)
    squares = [np.sum(part**2) for part in by_scale(error)]
    for x in (fields, draws):
        n = x.shape[1]
        for member in np.moveaxis(x - x.mean(1, keepdims=True), 1, 0):
            for i, part in enumerate(by_scale(member)):
                squares[i] -= np.sum(part**2) / (n * (n - 1))
    parts = [f"{np.sqrt(max(square, 0) / unit):.3f}" for square in (sum(squares), *squares)]
    judges, floor, order = np.split(draws, [FEW_TRUTHS, -FEW_TRUTHS], axis=1)
    ours, exact = scores(fields, judges)[filled], scores(floor, judges)[filled]
    rows = np.argsort(order.var(1)[filled], kind="stable")
    eighths = [1e3 * np.mean((ours - exact)[part]) for part in np.array_split(rows, N_PARTS)]
    return (
        f"CRPS {ours.mean() / exact.mean():.3f}, mean errs by {parts[0]} "
        f"({', '.join(parts[1:])}), scatter {scatter:.3f}, "
        f"by exact scatter {' '.join(f'{x:.2f}' for x in eighths)} mdex"
    )


def draw(entry: str, cutouts: Cutouts, members: int, seed: int) -> FloatArray:
    """Samples of a model that is written as the module says, (N, M, C, H, W)."""
    first, _, second = entry.partition(",")
    path, _, steps = first.partition(":")
    n_steps = int(steps) if steps else None
    model = ModelManager.load(path)
    maps, numbers = cutouts.condition, cutouts.parameters
    fields = sample(model, maps, members, n_steps, parameters=numbers, seed=seed)
    if second:
        path, _, level = second.partition("@")
        cleaner, g = ModelManager.load(path), torch.Generator().manual_seed(seed)
        for i in range(members):
            fields[:, i] = clean(cleaner, fields[:, i], cutouts, float(level), g)
    return np.asarray(fields, float)


@torch.no_grad()
def clean(
    model: Emulator, fields: FloatArray, cutouts: Cutouts, level: float, generator: torch.Generator
) -> FloatArray:
    """What one evaluation makes of fields (N, C, H, W) and noise of this level."""
    arrays = (fields, cutouts.condition, cutouts.parameters)
    physical = [torch.as_tensor(np.asarray(x, np.float32)) for x in arrays]
    batch = model.normalization.encode(*physical, torch.arange(len(fields)))
    x = batch.x_clean + level * torch.randn(batch.x_clean.shape, generator=generator)
    sigma = x.new_full((len(x),), level)
    x = model.denoiser(x, sigma, batch.condition, batch.parameters)
    return np.asarray(model.normalization.decode(x, *physical[1:]))


def main() -> None:
    """Print a line for each model and channel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("oracle", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--cutouts", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    draws = exact_draws(options.oracle, options.data)
    cutouts = draws.cutouts.select(np.arange(len(draws.cutouts))[: options.cutouts])
    truth = np.asarray(draws.fields[: options.cutouts], float)
    for entry in options.models:
        name, _, path = entry.partition("=")
        fields = draw(path, cutouts, options.members, options.seed)
        for i, channel in enumerate(cutouts.geometry.channels):
            mass = PIXEL_MASS[channel]
            filled = np.ones_like(truth[:, 0, i], bool)
            if channel == "star":
                filled = (truth[:, :, i] > mass).mean(1) >= 0.5
            logs = [log_mass(x[:, :, i], mass) for x in (fields, truth)]
            print(f"{name} {channel}: {describe(logs[0], logs[1], filled)}", flush=True)


if __name__ == "__main__":
    main()
