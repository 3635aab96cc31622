"""Optimisers and learning rates, pure functions of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from halo_cm.config.training import PhaseConfig


def learning_rate(phase: PhaseConfig, warmup_steps: int, step: int, n_steps: int) -> float:
    """Linear warm-up, constant, then a linear fall over the last ``phase.decay_share`` steps."""
    warmup = min(1.0, (step + 1) / max(warmup_steps, 1))
    decay = min(1.0, (1 - step / n_steps) / phase.decay_share) if phase.decay_share else 1.0
    return phase.learning_rate * warmup * decay


def make_optimizer(phase: PhaseConfig, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW for denoising, RAdam as published for consistency training (arXiv:2310.14189)."""
    kinds = {"adamw": torch.optim.AdamW, "radam": torch.optim.RAdam}
    return kinds[phase.optimizer](
        network.parameters(), lr=phase.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
