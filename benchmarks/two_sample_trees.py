"""AUC of boosted trees that tell samples from exact draws, beside that of the quadratic classifier.

    pip install scikit-learn
    python benchmarks/two_sample_trees.py data/default.h5 data/default_oracle.h5 \\
        halo_cm/weights/consistency.safetensors [MORE ...] [--steps 1] [--members 8]

Both classifiers see the features of all channels (log masses and band powers) and of the condition
(parameters, and the features of the dark-matter-only map), cross-validated over haloes. The AUC of
`halo-cm benchmark` is that of the quadratic one with less of the condition and, where slow models
are compared, fewer samples. The first row is the floor: other exact draws.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from halo_cm.compare import exact_draws
from halo_cm.containers import FloatArray
from halo_cm.manager import ModelManager
from halo_cm.sampling import sample
from halo_cm.statistics import classifier_two_sample_test, field_features


def main() -> None:
    """Print a line for the floor and one for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("oracle", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = exact_draws(options.oracle, options.data)
    cutouts, n = draws.cutouts, options.members
    if 2 * n > draws.fields.shape[1]:
        parser.error(f"--members {n}: the file holds {draws.fields.shape[1]} draws, for two sets")
    width = cutouts.geometry.field_of_view
    dmo = field_features(cutouts.condition[:, 0], width)
    context = np.concatenate([cutouts.parameters, dmo], axis=1)
    halo = np.unique((cutouts.box, cutouts.halo), axis=1, return_inverse=True)[1].ravel()

    def table(fields: FloatArray) -> FloatArray:
        features = field_features(fields, width).reshape(len(cutouts), n, -1)
        wide = np.broadcast_to(context[:, None], (len(cutouts), n, context.shape[1]))
        return np.concatenate([features, wide], axis=-1).reshape(len(cutouts) * n, -1)

    truth, label = table(draws.fields[:, :n]), np.repeat(halo, n)
    rows = {"other exact draws": draws.fields[:, n : 2 * n]}
    for path in options.models:
        rows[path] = sample(
            ModelManager.load(path),
            cutouts.condition,
            n,
            options.steps,
            parameters=cutouts.parameters,
            seed=options.seed,
        )
    trees = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, max_leaf_nodes=8, random_state=options.seed
    )
    for name, fields in rows.items():
        for kind, classifier in (("boosted trees", trees), ("quadratic", None)):
            found = classifier_two_sample_test(
                table(fields),
                truth,
                halo_generated=label,
                halo_truth=label,
                seed=options.seed,
                classifier=classifier,
            )
            print(f"{name:45s} {kind:14s} AUC {found.auc:.3f} +- {found.error:.3f}", flush=True)


if __name__ == "__main__":
    main()
