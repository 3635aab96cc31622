"""Is a model limited by what a projection hides? Scores where much lies along the line of sight.

    python benchmarks/limits_by_depth.py data/default.h5 data/default_oracle.h5 \\
        halo_cm/weights/consistency.safetensors [MORE ...] [--steps 1] [--members 8]

Exact draws know the box in three dimensions, a network sees it projected through its whole depth.
Cutouts are split by the share of the mass of haloes in the projected field that lies more than half
the field's width before or behind the central halo. For each part and channel: the fair CRPS of
features (log masses and log band powers) over that of other exact draws, with its bootstrap error
over haloes. A model that lost only what the projection hides would have 1 where there is nothing.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from halo_cm import universe
from halo_cm.benchmark.fields import Axes
from halo_cm.benchmark.measure import measure
from halo_cm.compare import exact_draws
from halo_cm.containers import Cutouts, FloatArray
from halo_cm.manager import ModelManager
from halo_cm.sampling import sample
from halo_cm.statistics import bootstrap_weights, field_features, ratio_of_means
from halo_cm.universe.haloes import periodic_difference

N_PARTS, N_RESAMPLES = 3, 500


def mass_elsewhere(data: Path, cutouts: Cutouts) -> FloatArray:
    """Share of the halo mass in each field that is far from the central halo in depth, (N,)."""
    half = cutouts.geometry.field_of_view / 2
    found = np.empty(len(cutouts))
    for index in np.unique(cutouts.box).tolist():
        haloes = universe.open_box(data, index).matter.haloes
        for i in np.flatnonzero(cutouts.box == index):
            offset = haloes.position - haloes.position[cutouts.halo[i]]
            offset = np.abs(periodic_difference(offset, cutouts.geometry.boxsize))
            depth = offset[:, cutouts.axis[i]]
            inside = (np.delete(offset, cutouts.axis[i], axis=1) < half).all(1)
            mass = haloes.m80 * inside
            found[i] = mass[depth > half].sum() / mass.sum()
    return found


def main() -> None:
    """Print a line for each model and part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("oracle", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = exact_draws(options.oracle, options.data)
    cutouts = draws.cutouts
    width = cutouts.geometry.field_of_view
    truth, others = np.split(draws.fields, 2, axis=1)
    axes, features = Axes.of(cutouts.geometry, truth), field_features(truth, width)
    halo = np.unique((cutouts.box, cutouts.halo), axis=1, return_inverse=True)[1].ravel()
    share = mass_elsewhere(options.data, cutouts)
    part = np.argsort(np.argsort(share)) * N_PARTS // len(share)
    exact = measure(others, truth, features, axes, "ensemble").crps_features
    for path in options.models:
        fields = sample(
            ModelManager.load(path),
            cutouts.condition,
            options.members,
            options.steps,
            parameters=cutouts.parameters,
            seed=options.seed,
        )
        score = measure(fields, truth, features, axes, "ensemble").crps_features
        for p in range(N_PARTS):
            rows = np.flatnonzero(part == p)
            weights = bootstrap_weights(halo[rows], N_RESAMPLES, options.seed)
            ratio = ratio_of_means(score[rows], exact[rows], weights)
            errors = ratio.resamples.mean(-1).std(0, ddof=1)
            pairs = zip(ratio.value.mean(-1), errors, strict=True)
            text = " / ".join(f"{value:.2f} +- {error:.2f}" for value, error in pairs)
            low, high = 100 * share[rows].min(), 100 * share[rows].max()
            print(f"{path} {low:.0f}-{high:.0f}% elsewhere ({len(rows)}): {text}", flush=True)


if __name__ == "__main__":
    main()
