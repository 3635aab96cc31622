"""A small benchmark result, written by hand."""

from __future__ import annotations

import numpy as np
import pytest

from halo_cm.benchmark import TRUTH_VS_TRUTH, Benchmark, Gallery, RowSummary, Summary
from halo_cm.containers import Cutouts, Geometry

CHANNELS = ("dm", "gas", "star")
K = [1.2, 2.1, 3.1, 4.1, 5.1, 6.1, 7.0]


def make_row(name: str, steps: int | None, offset: float, *, oracle: bool = True) -> RowSummary:
    """Ratios are 1 + offset x (1, 2, 3) for the three channels, errors 0.01 of that."""
    by_channel = {name: (i + 1) * offset for i, name in enumerate(CHANNELS)}
    curves = {name: [1 + value] * len(K) for name, value in by_channel.items()}
    errors = {name: [0.02] * len(K) for name in CHANNELS}
    ranges = {n: {"one_half_nyquist": v, "nyquist": 2 * v} for n, v in by_channel.items()}
    scores = {name: 1 + value for name, value in by_channel.items()}
    return RowSummary(
        name=name,
        n_sampling_steps=steps,
        nfe=steps,
        members=4,
        scoring="ensemble",
        seconds_per_halo=None if steps is None else 0.0123,
        power_ratio=curves,
        power_ratio_uncertainty=errors,
        power_ratio_error=ranges,
        power_ratio_error_uncertainty=ranges,
        cross_correlation=curves,
        mass_bias={name: -value for name, value in by_channel.items()},
        mass_bias_uncertainty=by_channel,
        occupied_fraction=0.25 + offset,
        crps_log_mass=scores,
        crps_features={name: {"mass": value, "power": 3 * value} for name, value in scores.items()},
        crps_over_oracle={"log_mass": scores, "features": scores} if oracle else None,
        empty_maps=dict.fromkeys(CHANNELS, 0),
        two_sample_auc=0.512 + offset,
        two_sample_auc_uncertainty=0.01,
    )


def make_summary(*, oracle: bool = True) -> Summary:
    floors = {"copied_input": make_row("copied_input", None, 2.0, oracle=oracle)}
    if oracle:
        floors = {TRUTH_VS_TRUTH: make_row(TRUTH_VS_TRUTH, None, 0.0), **floors}
    return Summary(
        schema_version=2,
        seed=0,
        n_fields=12,
        n_haloes=6,
        k=K,
        k_nyquist=8.04,
        field_of_view=6.25,
        truth={"occupied_fraction": 0.26, "mean_mass": dict.fromkeys(CHANNELS, 1e13)},
        rows=tuple(make_row("consistency", n, 0.02 * n, oracle=oracle) for n in (1, 2)),
        floors=floors,
        settings={"members": 4, "occupied_mass": 1e6},
        provenance={},
    )


def make_gallery(n: int = 3, n_pixels: int = 16) -> Gallery:
    maps = 1e10 * np.random.default_rng(0).lognormal(size=(2 + 6, n, n_pixels, n_pixels))
    geometry = Geometry(
        boxsize=50.0,
        scales=(6.25, 12.5),
        depth=50.0,
        n_pixels=n_pixels,
        parameter_names=("Omega_m",),
        omega_b=0.049,
    )
    index = np.arange(n)
    cutouts = Cutouts(
        condition=maps[:2].swapaxes(0, 1),
        target=maps[2:5].swapaxes(0, 1),
        parameters=np.full((n, 1), 0.3),
        halo_mass=10.0 ** (14 - index),
        halo_radius=np.ones(n),
        halo_position=np.zeros((n, 3)),
        box=index,
        halo=index,
        axis=index,
        draw=index,
        realization=index,
        split=np.full(n, 2),
        geometry=geometry,
    )
    samples = np.stack([maps[2:5], maps[5:]]).transpose(2, 0, 1, 3, 4)
    return Gallery(cutouts, {"consistency, 1 step": samples})


@pytest.fixture
def summary() -> Summary:
    return make_summary()


@pytest.fixture
def summary_without_oracle() -> Summary:
    return make_summary(oracle=False)


@pytest.fixture
def gallery() -> Gallery:
    return make_gallery()


@pytest.fixture
def benchmark_result(summary, gallery) -> Benchmark:
    return Benchmark(summary, gallery)


@pytest.fixture
def log_lines() -> list[dict]:
    """Two phases of 31 steps, with a validation in each."""
    lines: list[dict] = []
    for index, (phase, loss) in enumerate((("denoising", 4.0), ("energy_score", 0.5))):
        for step in (0, 10, 20, 30):
            place = {"time": 1.0, "phase": phase, "phase_index": index, "step": step}
            place["global_step"] = 31 * index + step + 1
            lines.append(
                {**place, "loss": loss / (1 + step), "learning_rate": 1e-3, "images": step}
            )
        lines.append({**place, "validation": {"score": 1.0 - 0.5 * index, "other": 3}})
    return lines
