"""Time of the statistics on one core: P(k) of many cutouts and of one large map, and the others.

    python benchmarks/field_statistics.py [--n-cutouts 1000] [--repeats 7]

All cases are run in turn, repeat by repeat. Printed are the median processor time, which other
programs on the machine hardly change, and the fastest time by the clock. Beside the 1024^2 P(k)
stands Pylians' Pk_plane, if Pylians is installed (`pip install Pylians`; it has no wheels).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from importlib.util import find_spec

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from halo_cm.statistics import (
    aperture_masses,
    bispectrum_2d,
    classifier_two_sample_test,
    crps_fair,
    energy_score_fair,
    frechet_features,
    masses_within,
    one_point_pdf,
    peak_counts,
    power_spectrum_2d,
    power_spectrum_3d,
    radial_profile,
    tarp_coverage,
    wavelet_scattering,
)

WIDTH = 6.25


def seconds(function: Callable[[], object]) -> tuple[float, float]:
    """Processor time and time by the clock of one call."""
    start, clock = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - start, time.perf_counter() - clock


def cases(n_cutouts: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    random = np.random.default_rng(0)
    cutouts = random.lognormal(size=(n_cutouts, 64, 64)).astype(np.float32)
    large = random.lognormal(size=(1024, 1024)).astype(np.float32)
    box = random.lognormal(size=(128, 128, 128)).astype(np.float32)
    radii = random.uniform(0.2, 1.5, n_cutouts)
    ensemble, truth = random.normal(size=(n_cutouts, 16, 24)), random.normal(size=(n_cutouts, 24))
    halo = np.arange(n_cutouts)
    some = cutouts[: n_cutouts // 10]
    found: dict[str, Callable[[], object]] = {
        f"P(k), {n_cutouts} x 64^2, hann": lambda: power_spectrum_2d(cutouts, WIDTH, window="hann"),
        "P(k), 1024^2": lambda: power_spectrum_2d(large, 50.0),
        "P(k), 128^3": lambda: power_spectrum_3d(box, 50.0),
        f"bispectrum, {len(some)} x 64^2": lambda: bispectrum_2d(some, WIDTH, window="hann"),
        f"PDF, {n_cutouts} x 64^2": lambda: one_point_pdf(cutouts, 1e9),
        f"peaks, {n_cutouts} x 64^2": lambda: peak_counts(cutouts, WIDTH, [1], periodic=False),
        f"apertures, {n_cutouts} x 64^2": lambda: aperture_masses(cutouts, WIDTH, (0.5, 1.0)),
        f"own R200c, {n_cutouts} x 64^2": lambda: masses_within(cutouts, WIDTH, radii),
        f"profiles, {n_cutouts} x 64^2": lambda: radial_profile(cutouts, WIDTH, [0, 1, 2, 3]),
        f"Frechet features, {n_cutouts} x 64^2": lambda: frechet_features(
            cutouts[:, None], WIDTH, ("gas",)
        ),
        f"CRPS, {n_cutouts} x 16 x 24": lambda: crps_fair(ensemble, truth),
        f"energy score, {n_cutouts} x 16 x 24": lambda: energy_score_fair(ensemble, truth),
        f"TARP, {n_cutouts} x 16 x 24": lambda: tarp_coverage(ensemble, truth, seed=0),
        f"two-sample test, 2 x {n_cutouts} x 24": lambda: classifier_two_sample_test(
            ensemble[:, 0], truth, halo_generated=halo, halo_truth=halo, seed=0
        ),
    }
    if find_spec("kymatio"):
        found[f"scattering, {len(some)} x 64^2"] = lambda: wavelet_scattering(np.log(some))
    if find_spec("Pk_library"):
        import Pk_library

        overdensity = large / large.mean() - 1
        found["Pylians' Pk_plane, 1024^2"] = lambda: Pk_library.Pk_plane(
            overdensity, 50.0, "None", 1, verbose=False
        )
    return found


def main() -> None:
    """Time all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-cutouts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    chosen = cases(options.n_cutouts)
    for case in chosen.values():
        case()  # fills caches
    times = np.array([[seconds(case) for case in chosen.values()] for _ in range(options.repeats)])
    print(f"{'one core':36s} {'processor':>10s} {'fastest':>10s}  [ms]")
    medians, fastest = np.median(times[..., 0], axis=0), times[..., 1].min(axis=0)
    for name, processor, clock in zip(chosen, 1e3 * medians, 1e3 * fastest, strict=True):
        print(f"{name:36s} {processor:10.1f} {clock:10.1f}")


if __name__ == "__main__":
    main()
