"""Cost of one training step of each objective, and of ways to run it, on one thread.

    python benchmarks/training_steps.py data/default.h5 [--batch-size 16] [--repeats 5] [--compile]

A step is the loss, its gradient, the optimiser and the averages, of the network 64-128-192 of
configs/denoiser_64.toml. Everything is timed in turn, repeat by repeat, in CPU seconds, which other
processes disturb less than the clock; the medians are printed, and their ratios to the first.
`--compile` adds torch.compile, which on a CPU needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from halo_cm.config.loader import ConfigLoader
from halo_cm.config.objective import resolve_objective
from halo_cm.config.schema import Config
from halo_cm.config.training import PhaseConfig
from halo_cm.data.cutouts import read_cutouts
from halo_cm.data.dataset import TrainingData, batch_rows
from halo_cm.data.normalize import Normalization
from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.emulator import Emulator
from halo_cm.objectives.base import Step
from halo_cm.training.ema import lerp_weights
from halo_cm.training.schedule import make_optimizer

OBJECTIVES = {
    "denoising": {"name": "denoising"},
    "regression": {"name": "regression"},
    "ct": {"name": "ct"},
    "ict": {"name": "ict"},
    "ect": {"name": "ect", "q": 4.0},
    "cd, Euler": {"name": "cd", "solver": "euler", "n_levels": 40},
    "cd, Heun": {"name": "cd", "solver": "heun", "n_levels": 40},
    "vdm": {"name": "vdm"},
    "interpolant": {"name": "interpolant"},
    "energy_score, one step": {"name": "energy_score", "multistep_share": 0.0},
}


class Stepper:
    """Trains one network by one objective, a step at a time."""

    def __init__(
        self,
        data: TrainingData,
        normalization: Normalization,
        config: Config,
        objective: dict[str, object],
        optimizer: str = "radam",
    ) -> None:
        self.data, self.normalization, self.config = data, normalization, config
        self.objective = resolve_objective(objective)
        self.emulator = Emulator(config, normalization, "consistency")
        sampler = (self.objective.sampler, self.objective.sampler_settings)
        self.emulator.use_sampler(*sampler, uses_latent=self.objective.uses_latent)
        self.denoiser = self.emulator.denoiser
        self.average = copy.deepcopy(self.denoiser)
        self.target = copy.deepcopy(self.denoiser) if self.objective.uses_target else None
        teacher = Denoiser(copy.deepcopy(self.denoiser.network), 1.0, 0.0, self.denoiser.n_latent)
        self.teacher = teacher if self.objective.uses_teacher else None
        phase = {"objective": objective, "steps": 1, "optimizer": optimizer, "learning_rate": 1e-5}
        self.optimizer = make_optimizer(PhaseConfig.model_validate(phase), self.denoiser)
        self.count = 0

    def run(self, batch_size: int, *, bf16: bool = False) -> None:
        """One step."""
        rows = batch_rows(0, len(self.data), self.count, batch_size)
        diffusion = self.config.diffusion
        step = Step(
            denoiser=self.denoiser,
            frozen=self.denoiser,
            target=self.target,
            normalization=self.normalization,
            sigma_min=diffusion.sigma_min,
            sigma_max=diffusion.sigma_max,
            rho=diffusion.rho,
            sampling_levels=self.config.sampling.levels,
            progress=0.5,
            generator=torch.Generator().manual_seed(self.count),
            teacher=self.teacher,
        )
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            loss = self.objective.loss(step, self.data.batch(*rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        lerp_weights(self.average, self.denoiser, 0.999)
        if self.target is not None:
            lerp_weights(self.target, self.denoiser, 0.95)
        self.count += 1


def ways(
    data: TrainingData,
    normalization: Normalization,
    config: Config,
    batch_size: int,
    with_compiled: bool,
) -> dict[str, tuple[Callable[[], None], int]]:
    """Ways to run a denoising step: what to call, and the images it trains on."""

    def stepper(optimizer: str = "radam") -> Stepper:
        return Stepper(data, normalization, config, OBJECTIVES["denoising"], optimizer)

    plain, channels_first, bf16, muon = stepper(), stepper(), stepper(), stepper("muon")
    channels_first.denoiser.network.to(memory_format=torch.contiguous_format)
    found: dict[str, tuple[Callable[[], None], int]] = {
        "float32": (lambda: plain.run(batch_size), batch_size),
        "channels first": (lambda: channels_first.run(batch_size), batch_size),
        "bf16 autocast": (lambda: bf16.run(batch_size, bf16=True), batch_size),
        "bf16 autocast, Muon": (lambda: muon.run(batch_size, bf16=True), batch_size),
    }
    if with_compiled:
        compiled, compiled_bf16 = stepper(), stepper()
        for one in (compiled, compiled_bf16):
            one.denoiser.network.compile()
        found["torch.compile"] = (lambda: compiled.run(batch_size), batch_size)
        found["torch.compile, bf16"] = (
            lambda: compiled_bf16.run(batch_size, bf16=True),
            batch_size,
        )
    for size in (4, 8, 32):
        found[f"batches of {size}"] = ((lambda n=size: plain.run(n)), size)  # type: ignore[misc]
    return found


def measure(calls: dict[str, tuple[Callable[[], None], int]], repeats: int) -> None:
    """Print the median CPU time for each image, and its ratio to the first call."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, (call, n_images) in calls.items():
            start = time.process_time()
            call()
            if repeat > 0:  # the first one warms up
                seconds[name].append((time.process_time() - start) / n_images)
    first = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:26s} {1e3 * median:8.1f} ms/image   x {median / first:.2f}")


def main() -> None:
    """Time the objectives, then the ways to run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ConfigLoader("configs/denoiser_64.toml")
    cutouts = read_cutouts(options.data, "validation")
    normalization = Normalization.fit(config.normalization, cutouts)
    data = TrainingData(cutouts, normalization, "cpu")
    size = options.batch_size
    steppers = {
        name: Stepper(data, normalization, config, settings)
        for name, settings in OBJECTIVES.items()
    }
    measure(
        {name: ((lambda s=s: s.run(size)), size) for name, s in steppers.items()},  # type: ignore[misc]
        options.repeats,
    )
    print()
    measure(ways(data, normalization, config, size, options.compile), options.repeats)


if __name__ == "__main__":
    main()
