"""Do the errors of a model's mean follow the concentration of haloes, which maps show in part?

    python benchmarks/limits_by_concentration.py data/default.h5 data/default_oracle.h5 \\
        halo_cm/weights/consistency.safetensors [MORE ...] [--boxes 3] [--steps 1] [--members 32]

A projection tells the mass and the concentration of a halo less well than its particles do, which
exact draws know. For each model and channel: the error of its mean of the features (log masses,
then log band powers) over the scatter of exact draws, its correlation over cutouts with the
logarithm of the concentration, and with the part of it that the map's rings tell and the part that
they do not (ridge regression on mean log maps in rings and the parameters, fitted to haloes of
`--boxes` boxes of the training split). A model that used all that the map tells would have no
correlation with the first part.

Then the errors of a ridge regression of the features themselves on these rings (all of the training
split), their correlation with those of the model, and the error that the two share (the root of
their covariance over the scatter). It bounds from above what no predictor could tell from the maps:
two predictors that learned from the same haloes can also miss alike what is there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from halo_cm import read_cutouts, universe
from halo_cm.compare import exact_draws
from halo_cm.containers import Cutouts, FloatArray
from halo_cm.manager import ModelManager
from halo_cm.networks.patch_network import ring_means
from halo_cm.sampling import sample
from halo_cm.statistics import field_features

N_RINGS, PENALTY = 8, 10.0


def log_concentration(data: Path, cutouts: Cutouts) -> FloatArray:
    """log10 of the concentration of each central halo, (N,)."""
    found = np.empty(len(cutouts))
    for index in np.unique(cutouts.box).tolist():
        haloes = universe.open_box(data, index).matter.haloes
        rows = cutouts.box == index
        found[rows] = np.log10(haloes.concentration[cutouts.halo[rows]])
    return found


def seen(cutouts: Cutouts) -> FloatArray:
    """What the maps tell: mean logs in rings, and the parameters, (N, F)."""
    rings = ring_means(torch.as_tensor(np.log10(cutouts.condition)), N_RINGS).numpy()
    return np.concatenate([rings, cutouts.parameters], 1)


def ridge(x: FloatArray, y: FloatArray, x_new: FloatArray) -> FloatArray:
    """Prediction at ``x_new`` of a linear fit with a penalty, of y (N,) or of each column."""
    mean, scale = x.mean(0), x.std(0) + 1e-12
    x, x_new = (x - mean) / scale, (x_new - mean) / scale
    slopes = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    return np.asarray(y.mean(0) + x_new @ slopes)


def beside(ours: FloatArray, theirs: FloatArray, own_noise: FloatArray, noise: FloatArray) -> str:
    """Errors of a regression beside those of a model (N, F), in units of the exact scatter (F,).

    Both about their means over the cutouts. ``noise`` of the mean of exact draws is in both,
    ``own_noise`` in those of the model alone.
    """
    ours, theirs = ours - ours.mean(0), theirs - theirs.mean(0)
    square = np.maximum((ours**2).mean(0) - own_noise - noise, 0)
    other = np.maximum((theirs**2).mean(0) - noise, 0)
    product = (ours * theirs).mean(0) - noise
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = product / np.sqrt(square * other)
    shared = np.sign(product) * np.sqrt(np.abs(product))
    words = [str(value.round(2).tolist()) for value in (np.sqrt(other), correlation, shared)]
    return f"regression errs by {words[0]}, correlation {words[1]}, shared error {words[2]}"


def correlations(errors: FloatArray, values: FloatArray) -> FloatArray:
    """Correlation over cutouts of errors (N, F) with values (N,)."""
    return np.array([np.corrcoef(column, values)[0, 1] for column in errors.T])


def main() -> None:
    """Print five lines for each model and channel."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("oracle", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--boxes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = exact_draws(options.oracle, options.data)
    everything = read_cutouts(options.data, "train")
    cutouts, width = draws.cutouts, draws.cutouts.geometry.field_of_view
    learned = np.asarray(field_features(everything.target, width))
    rows, new_rows = seen(everything), seen(cutouts)
    regressed = [ridge(rows, y, new_rows) for y in np.moveaxis(learned, 1, 0)]
    train = everything.select(
        np.flatnonzero(np.isin(everything.box, np.unique(everything.box)[: options.boxes]))
    )
    c = log_concentration(options.data, cutouts)
    told = ridge(seen(train), log_concentration(options.data, train), seen(cutouts))
    print(f"log c scatters by {c.std():.3f}; rings explain {1 - (c - told).var() / c.var():.2f}")
    truth = np.stack([field_features(one, width) for one in draws.fields])
    for path in options.models:
        fields = sample(
            ModelManager.load(path),
            cutouts.condition,
            options.members,
            options.steps,
            parameters=cutouts.parameters,
            seed=options.seed,
        )
        found = np.stack([field_features(one, width) for one in fields])
        errors, scatter = found.mean(1) - truth.mean(1), truth.var(1).mean(0)
        own, noise = found.var(1).mean(0) / found.shape[1], scatter / truth.shape[1]
        size = np.sqrt(np.maximum(errors.var(0) - own - noise, 0) / scatter)
        for i, channel in enumerate(cutouts.geometry.channels):
            print(f"{path} {channel}: error of the mean / scatter {size[i].round(2).tolist()}")
            for name, values in (("log c", c), ("told", told), ("not told", c - told)):
                print(f"    with {name}: {correlations(errors[:, i], values).round(2).tolist()}")
            pair = (errors[:, i], regressed[i] - truth.mean(1)[:, i])
            pair = tuple(x / np.sqrt(scatter[i]) for x in pair)
            print("   ", beside(*pair, own[i] / scatter[i], noise[i] / scatter[i]))


if __name__ == "__main__":
    main()
