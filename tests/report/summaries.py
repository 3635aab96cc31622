"""A small benchmark result and training log, written by hand."""

from __future__ import annotations

import numpy as np

from halo_cm.benchmark import TRUTH_VS_TRUTH, Gallery, RowSummary, Summary
from halo_cm.benchmark.summary import SCHEMA_VERSION
from halo_cm.containers import Cutouts, Geometry
from halo_cm.report.contrasts import FIGURES

CHANNELS = ("dm", "gas", "star")
CONFIGURATIONS = ("equilateral", "squeezed")
RADIUS, TRIANGLES = [0.2, 0.5, 1.0, 2.0], [1.5, 3.0, 6.0]
CREDIBILITY = [0.0, 0.25, 0.5, 0.75, 1.0]
SCALES = [[1], [2], [4], [1, 2], [1, 4], [2, 4]]
PDF, PEAKS = [0.5, 0.4, 0.1, 0.0], [8.0, 4.0, 1.0, 0.0]
K = [1.2, 2.1, 3.1, 4.1, 5.1, 6.1, 7.0]


def make_row(name: str, steps: int | None, offset: float, *, oracle: bool = True) -> RowSummary:
    """Ratios are 1 + offset x (1, 2, 3) for the three channels, errors 0.01 of that."""
    by_channel = {name: (i + 1) * offset for i, name in enumerate(CHANNELS)}
    curves = {name: [1 + value] * len(K) for name, value in by_channel.items()}
    errors = {name: [0.02] * len(K) for name in CHANNELS}
    ranges = {n: {"one_half_nyquist": v, "nyquist": 2 * v} for n, v in by_channel.items()}
    scores = {name: 1 + value for name, value in by_channel.items()}
    errors_of = dict.fromkeys(CHANNELS, 0.05)
    ensemble = steps is not None or name == TRUTH_VS_TRUTH
    triangles = {c: {n: curves[n][: len(TRIANGLES)] for n in CHANNELS} for c in CONFIGURATIONS}
    scatter = {c: {n: [0.05] * len(TRIANGLES) for n in CHANNELS} for c in CONFIGURATIONS}
    radial = {n: curves[n][: len(RADIUS)] for n in CHANNELS}
    level = np.array(CREDIBILITY)
    counts = {name: [4 + i, 2, 2, 2, 4 + i] for i, name in enumerate(CHANNELS)}
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
        isolated_pixels=0.02 + offset,
        crps_log_mass=scores,
        crps_features={name: {"mass": value, "power": 3 * value} for name, value in scores.items()},
        crps_over_oracle={"log_mass": scores, "features": scores} if oracle else None,
        crps_over_oracle_uncertainty={"log_mass": errors_of, "features": errors_of}
        if oracle
        else None,
        empty_maps=dict.fromkeys(CHANNELS, 0),
        two_sample_auc=0.512 + offset,
        two_sample_auc_uncertainty=0.01,
        suppression=[0.9 + offset / 10] * len(K),
        suppression_uncertainty=[0.01] * len(K),
        bispectrum_ratio=triangles,
        bispectrum_ratio_uncertainty=scatter,
        scattering_ratio={n: curves[n][: len(SCALES)] for n in CHANNELS},
        scattering_ratio_uncertainty={n: [0.01] * len(SCALES) for n in CHANNELS},
        pdf={n: [(1 + v) * p for p in PDF] for n, v in by_channel.items()},
        pdf_distance={n: v / 2 for n, v in by_channel.items()},
        peaks={n: [(1 + v) * p for p in PEAKS] for n, v in by_channel.items()},
        profile_ratio=radial,
        profile_ratio_uncertainty={n: [0.03] * len(RADIUS) for n in CHANNELS},
        deviation={n: [0.3 + v] * len(RADIUS) for n, v in by_channel.items()} if ensemble else None,
        frechet_distance={n: 0.0123 + v for n, v in by_channel.items()},
        rank_histogram={"mass": counts, "central_mass": counts} if ensemble else None,
        rank_pvalue={"mass": by_channel, "central_mass": by_channel} if ensemble else None,
        spread_skill={n: 1 - v for n, v in by_channel.items()} if ensemble else None,
        coverage=(level ** (1 + offset)).tolist() if ensemble else None,
        coverage_band=[(level * 0.8).tolist(), (1 - 0.8 * (1 - level)).tolist()]
        if ensemble
        else None,
        coverage_ks_pvalue=0.234 if ensemble else None,
        training_core_seconds=None if steps is None else 3690.0,
        peak_memory_gib=None if steps is None else 1.234,
    )


def make_contrasts(labels: list[str]) -> dict:
    """Differences of -0.05, 0 and 0.03 with an error of 0.02; some exist in part."""

    def figure(differences: tuple) -> dict:
        errors = [None if value is None else 0.02 for value in differences]
        return {
            "difference": dict(zip(CHANNELS, differences, strict=True)),
            "error": dict(zip(CHANNELS, errors, strict=True)),
        }

    found = {name: figure((-0.05, 0.0, 0.03)) for name in FIGURES}
    found["power"], found["bispectrum"] = figure((-0.05, 0.03, 0.05)), figure((-0.05, None, 0.2))
    found["occupied"], found["scatter"] = figure((None, None, -0.05)), figure((None,) * 3)
    return dict.fromkeys(labels, found)


def make_summary(*, oracle: bool = True) -> Summary:
    floors = {"copied_input": make_row("copied_input", None, 2.0, oracle=oracle)}
    if oracle:
        floors = {TRUTH_VS_TRUTH: make_row(TRUTH_VS_TRUTH, None, 0.0), **floors}
    return Summary(
        schema_version=SCHEMA_VERSION,
        seed=0,
        n_fields=12,
        n_haloes=6,
        k=K,
        k_nyquist=8.04,
        field_of_view=6.25,
        axes={
            "bispectrum": dict.fromkeys(CONFIGURATIONS, TRIANGLES),
            "pdf": {n: [0.5, 1.5, 2.5, 3.5] for n in CHANNELS},
            "peaks": {n: [1e9, 1e10, 1e11, 1e12] for n in CHANNELS},
            "radius": RADIUS,
            "scattering": SCALES,
            "credibility": CREDIBILITY,
        },
        truth={
            "occupied_fraction": 0.26,
            "isolated_pixels": 0.016,
            "mean_mass": dict.fromkeys(CHANNELS, 1e13),
            "power": {n: [1.0 / k for k in K] for n in CHANNELS},
            "suppression": [0.9] * len(K),
            "pdf": dict.fromkeys(CHANNELS, PDF),
            "peaks": dict.fromkeys(CHANNELS, PEAKS),
            "profile": {n: [1e13 / r for r in RADIUS] for n in CHANNELS},
            "deviation": dict.fromkeys(CHANNELS, [0.3] * len(RADIUS)) if oracle else None,
        },
        rows=tuple(make_row("consistency", n, 0.02 * n, oracle=oracle) for n in (1, 2)),
        floors=floors,
        contrasts=make_contrasts(["consistency, 2 steps", *(row.label for row in floors.values())]),
        settings={
            "members": 4,
            "samples_compared": 4,
            "splits": ["test"],
            "occupied_mass": 1e6,
            "bright_mass": 1e9,
            "pixel_mass": {"dm": 1e9, "gas": 1e9, "star": 1e6},
        },
        provenance={
            "command": "halo-cm benchmark --models 'a b.safetensors' --seed 0",
            "date": "2026-11-24T22:00:00+00:00",
            "versions": {"python": "3.11.2", "torch": "2.13.0"},
            "hardware": {"cpu": "a processor", "logical_cores": 2},
            "data": {"path": "data/test.h5"},
            "models": {"consistency": {"file": "a b.safetensors", "sha256": "ab12" * 16}},
        },
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
    shown = ("consistency, 1 step", "consistency, 2 steps", "copied_input", TRUTH_VS_TRUTH)
    return Gallery(cutouts, dict.fromkeys(shown, samples))


def make_log_lines() -> list[dict]:
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
