"""Optimisers and learning rates, pure functions of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from halo_cm.networks.patch_network import inner_weights
from halo_cm.training.muon import Muon

if TYPE_CHECKING:
    from halo_cm.config.training import PhaseConfig
    from halo_cm.diffusion.denoiser import Denoiser


def learning_rate(phase: PhaseConfig, warmup_steps: int, step: int, n_steps: int) -> float:
    """Linear warm-up, constant, then a linear fall over the last ``phase.decay_share`` steps."""
    warmup = min(1.0, (step + 1) / max(warmup_steps, 1))
    decay = min(1.0, (1 - step / n_steps) / phase.decay_share) if phase.decay_share else 1.0
    return phase.learning_rate * warmup * decay


def make_optimizer(phase: PhaseConfig, denoiser: Denoiser) -> torch.optim.Optimizer:
    """Muon (`halo_cm.training.muon`), AdamW, or RAdam, which iCT was published with.

    Source: Song & Dhariwal 2023, arXiv:2310.14189.
    """
    # short phases forget early squares of the gradient sooner than with the usual 0.999
    rate, betas = phase.learning_rate, (0.9, 0.99)
    if phase.optimizer == "muon":
        return Muon(inner_weights(denoiser.network), denoiser.parameters(), rate, betas=betas)
    kinds = {"adamw": torch.optim.AdamW, "radam": torch.optim.RAdam}
    return kinds[phase.optimizer](denoiser.parameters(), lr=rate, betas=betas, weight_decay=0.0)
