"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): orthogonalised momentum.

For a layer's weights as a matrix W (outputs x everything else), with gradient G,

    M <- mu M + G,    U = G + mu M,    W <- W - lr 0.2 sqrt(max(n, m)) O,    O = p(U) ~ U V^T,

where p raises all singular values of U to about 1. The factor of the rate gives the entries of a
step the size that AdamW's have (Liu et al. 2025, arXiv:2502.16982), so that one rate serves both.

torch.optim.Muon takes matrices alone, not kernels of convolutions, and no torch before 2.9 has it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Coefficients of x (a + b x^2 + c x^4) for a singular value x, and how often it is applied.
_A, _B, _C, _ITERATIONS = 3.4445, -4.7750, 2.0315, 5
#: Entries of AdamW's steps over its rate, in the root of the mean square (Liu et al. 2025).
_ADAMW_STEP = 0.2


class Muon(torch.optim.AdamW):
    """Muon for the weights inside a network, AdamW for everything else.

    Parameters
    ----------
    inner
        Weights of two or more axes, the first of which counts outputs.
    parameters
        All weights to train; AdamW takes those that are not among ``inner``: biases, norms,
        embeddings, the first and the last layer.
    lr
        Learning rate of both.
    momentum
        mu, of the inner weights.
    betas, weight_decay
        Of AdamW; the inner weights do not decay.
    """

    def __init__(
        self,
        inner: Iterable[Tensor],
        parameters: Iterable[Tensor],
        lr: float,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ) -> None:
        inner = list(inner)
        taken = {id(weights) for weights in inner}
        groups: list[dict[str, Any]] = [
            {"params": [weights for weights in parameters if id(weights) not in taken]},
            {"params": inner, "momentum": momentum},
        ]
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step with both; gradients of the inner weights are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        inner = self.param_groups[1]
        for weights in inner["params"]:
            if weights.grad is None:
                continue
            state = self.state[weights]
            if not state:
                state["step"] = torch.zeros(())  # AdamW looks for it when a state is loaded
                state["momentum_buffer"] = torch.zeros_like(weights)
            state["step"] += 1
            buffer = state["momentum_buffer"]
            buffer.mul_(inner["momentum"]).add_(weights.grad)
            update = orthogonal(weights.grad.add(buffer, alpha=inner["momentum"]).flatten(1))
            rate = inner["lr"] * _ADAMW_STEP * math.sqrt(max(update.shape))
            weights.sub_(update.view_as(weights), alpha=rate)
            weights.grad = None  # AdamW passes them over
        super().step()
        return loss


def orthogonal(matrix: Tensor) -> Tensor:
    """Matrix with the singular vectors of another, and singular values near 1.

    The quintic Newton-Schulz iteration X <- (a + b A + c A^2) X, A = X X^T, leaves singular values
    between 0.7 and 1.2 (those below 1e-3 of the norm stay smaller). All its factors are
    polynomials of the first A and commute: they are multiplied there, on the shorter side of the
    matrix, and two products have the longer one where iterating X itself has ten.

    Parameters
    ----------
    matrix
        Shape (n, m); zeros give zeros.
    """
    x = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    # the largest entry first: squares of a faded momentum are zero in float32
    x = x / x.abs().amax().clamp(min=1e-37)
    x = x / x.norm().clamp(min=1.0)
    gram, product = x @ x.mT, torch.eye(len(x), device=x.device, dtype=x.dtype)
    for left in reversed(range(_ITERATIONS)):
        factor = torch.addmm(gram, gram, gram, beta=_B, alpha=_C)
        factor.diagonal().add_(_A)
        product = factor @ product
        if left:
            gram = factor @ gram @ factor
    x = product @ x
    return x.mT if matrix.shape[0] > matrix.shape[1] else x
