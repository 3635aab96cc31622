"""Cost of the network on one core: parameters, GFLOP, milliseconds per image.

    python benchmarks/network.py [--n-pixels 64] [--batch-size 16] [--repeats 5]

Shapes are timed in turn, repeat by repeat, so that a change of the machine's speed hits them all
alike; the median is printed, and its ratio to the first shape.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from halo_cm.config.network import DiTConfig, UNetConfig
from halo_cm.networks.build import build_network
from halo_cm.networks.patch_network import PatchNetwork

SHAPES = {
    "patch 4, 64-128 (the default)": UNetConfig(patch_size=4, channels=(64, 128)),
    "quickstart: and a head of 32, 2 blocks": UNetConfig(
        patch_size=4, channels=(64, 128), head_channels=32, head_blocks=2
    ),
    "patch 4, 64-128-192": UNetConfig(patch_size=4, channels=(64, 128, 192)),
    "patch 2, 48-96-128": UNetConfig(patch_size=2, channels=(48, 96, 128)),
    "patch 1, 48-96-128 (plain)": UNetConfig(patch_size=1, channels=(48, 96, 128)),
    "head of 24, 3 levels": UNetConfig(channels=(64, 128, 192), head_channels=24),
    "head of 24, 1 block, 3 levels": UNetConfig(
        channels=(64, 128, 192), head_channels=24, head_blocks=1
    ),
    "head of 48, 2 blocks, 3 levels": UNetConfig(
        channels=(64, 128, 192), head_channels=48, head_blocks=2
    ),
    "head of 48, 2 blocks, 2 levels": UNetConfig(
        channels=(64, 128), head_channels=48, head_blocks=2
    ),
    "DiT, patch 4, 6 blocks of 128": DiTConfig(patch_size=4, width=128, depth=6, n_heads=4),
}


def inputs(batch_size: int, n: int) -> tuple[torch.Tensor, ...]:
    """Noisy fields, noise labels, condition maps and parameters."""
    fields, condition = torch.randn(batch_size, 3, n, n), torch.randn(batch_size, 4, n, n)
    return fields, torch.randn(batch_size), condition, torch.randn(batch_size, 7)


def gigaflop(network: PatchNetwork, n: int) -> float:
    """Forward cost of one image."""
    # the counter does not know the fused attention of a CPU
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(*inputs(1, n))
    return counter.get_total_flops() / 1e9


def seconds(network: PatchNetwork, batch_size: int, n: int, *, backward: bool) -> float:
    """One pass over a batch."""
    batch = inputs(batch_size, n)
    start = time.perf_counter()
    if backward:
        network(*batch).square().mean().backward()
    else:
        with torch.no_grad():
            network(*batch)
    return time.perf_counter() - start


def main() -> None:
    """Time all shapes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-pixels", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    n, size = options.n_pixels, options.batch_size
    networks = {name: build_network(3, 4, 7, shape) for name, shape in SHAPES.items()}
    times: dict[tuple[str, bool], list[float]] = {}
    for repeat in range(options.repeats + 1):
        for name, network in networks.items():
            for backward in (False, True):
                spent = seconds(network, size, n, backward=backward)
                if repeat:  # the first one warms up
                    times.setdefault((name, backward), []).append(spent / size * 1e3)
    print(f"{n} x {n} pixels, batches of {size}, one thread, median of {options.repeats}")
    first = statistics.median(times[next(iter(networks)), True])
    for name, network in networks.items():
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        sample, train = (statistics.median(times[name, b]) for b in (False, True))
        print(
            f"{name:30s} {millions:5.2f} M  {gigaflop(network, n):6.3f} GFLOP  "
            f"forward {sample:6.1f} ms  forward + backward {train:6.1f} ms  x{train / first:.2f}"
        )


if __name__ == "__main__":
    main()
