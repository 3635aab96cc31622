"""The emulator: a denoiser with its normalisation, physical fields in, physical fields out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from halo_cm.data.normalize import Normalization
from halo_cm.diffusion.denoiser import Denoiser, boundary_level
from halo_cm.diffusion.levels import karras_levels
from halo_cm.diffusion.solvers import consistency, heun
from halo_cm.errors import ConfigError
from halo_cm.networks.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from halo_cm.config.sampling import SamplingConfig
    from halo_cm.config.schema import Config
    from halo_cm.containers import Geometry

Sampler = Literal["heun", "consistency"]


class Emulator(nn.Module):
    """A trained (or fresh) model of p(hydro | DMO maps, parameters).

    Parameters
    ----------
    config
        Network, noise levels, sampling steps.
    normalization
        Transforms fitted on the training split.
    sampler
        How samples are drawn: ``"consistency"`` (one or a few steps) or ``"heun"`` (the ODE of a
        plain denoiser).
    uses_latent
        Whether every evaluation draws latent noise; else the network sees zeros in its place.
    """

    def __init__(
        self,
        config: Config,
        normalization: Normalization,
        sampler: Sampler,
        *,
        uses_latent: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.sampler, self.uses_latent = config, sampler, uses_latent
        geometry = normalization.geometry
        config.network.check_size(geometry.n_pixels)
        network = UNet(
            n_fields=len(geometry.channels),
            n_condition=len(geometry.scales),
            n_parameters=len(geometry.parameter_names),
            shape=config.network,
        )
        boundary = boundary_level(sampler, config.diffusion.sigma_min)
        n_latent = config.network.latent_channels
        self.denoiser = Denoiser(network, normalization.sigma_data, boundary, n_latent)
        self.normalization = normalization

    @property
    def geometry(self) -> Geometry:
        """Meaning of the channels, parameters and pixels."""
        return self.normalization.geometry

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.normalization.target_mean.device

    @property
    def default_steps(self) -> int:
        """Sampling steps where none are given."""
        sampling = self.config.sampling
        return sampling.n_heun_steps if self.sampler == "heun" else sampling.n_sampling_steps

    def use_sampling(self, sampling: SamplingConfig) -> None:
        """Take other sampling steps and levels than those the model was trained with."""
        self.config = self.config.model_copy(update={"sampling": sampling})

    def levels(self, n_steps: int) -> Tensor:
        """Falling noise levels of an ``n_steps`` sample.

        Raises
        ------
        ConfigError
            If a consistency model has no levels for this number of steps.
        """
        diffusion = self.config.diffusion
        if n_steps < (least := 2 if self.sampler == "heun" else 1):
            raise ConfigError(
                f"n_sampling_steps must be at least {least} for a {self.sampler} sampler, found "
                f"{n_steps}"
            )
        if self.sampler == "heun":
            return karras_levels(n_steps, diffusion.sigma_min, diffusion.sigma_max, diffusion.rho)
        if n_steps == 1:
            return torch.tensor([diffusion.sigma_max])
        chosen = self.config.sampling.levels
        if n_steps not in chosen:
            known = ", ".join(str(n) for n in (1, *sorted(chosen)))
            raise ConfigError(
                f"n_sampling_steps = {n_steps}: this model has noise levels for {known} steps; "
                f"choose one of these or add sampling.levels.{n_steps} to its config"
            )
        return torch.tensor([diffusion.sigma_max, *chosen[n_steps]])

    def nfe(self, n_steps: int) -> int:
        """Network evaluations of an ``n_steps`` sample."""
        return 2 * n_steps - 1 if self.sampler == "heun" else n_steps

    def draws_per_sample(self, n_steps: int) -> int:
        """Noise tensors that one sample consumes."""
        return 1 if self.sampler == "heun" else n_steps

    def generate(
        self, condition: Tensor, parameters: Tensor, noise: Iterator[Tensor], n_steps: int
    ) -> Tensor:
        """One sample for each condition.

        Parameters
        ----------
        condition
            DMO mass per pixel [Msun/h], shape (B, S, H, W), on the device of the weights.
        parameters
            Shape (B, P), in physical units.
        noise
            `draws_per_sample` standard normal tensors of shape `noise_shape` for each sample.
        n_steps
            Sampling steps.

        Returns
        -------
        Tensor
            Mass per pixel [Msun/h], shape (B, C, H, W).
        """
        latents: list[Tensor] = []
        if self.uses_latent:
            noise = _set_latents_aside(noise, len(self.geometry.channels), latents)
        denoise = self._denoise(condition, parameters, latents)
        levels = self.levels(n_steps).to(condition.device)
        if self.sampler == "heun":
            x = heun(denoise, levels[0] * next(noise), levels)
        else:
            x = consistency(denoise, levels, noise, self.config.diffusion.sigma_min)
        return self.normalization.decode(x, condition, parameters)

    def posterior_mean(
        self, condition: Tensor, parameters: Tensor, noise: Iterator[Tensor]
    ) -> Tensor:
        """Mean of the normalised targets given the condition, as mass per pixel [Msun/h].

        At sigma_max the noisy field tells nothing, and least squares makes the denoiser
        ``E[x_clean | condition]`` there; what it still does with the noise is averaged out.
        Meaningful for a model trained by denoising or regression.

        Parameters
        ----------
        condition, parameters
            As for `generate`.
        noise
            Standard normal tensors of shape (B, C, H, W), one network evaluation each.
        """
        denoise, sigma_max = self._denoise(condition, parameters), self.config.diffusion.sigma_max
        sigma = condition.new_full((len(condition),), sigma_max)
        mean = torch.stack([denoise(sigma_max * n, sigma) for n in noise]).mean(0)
        return self.normalization.decode(mean, condition, parameters)

    def noise_shape(self, condition: Tensor) -> tuple[int, int, int]:
        """Shape of one noise tensor: that of a sample, with the latent channels behind."""
        channels, height, width = self.field_shape(condition)
        return (channels + self.denoiser.n_latent * self.uses_latent, height, width)

    def field_shape(self, condition: Tensor) -> tuple[int, int, int]:
        """Shape (C, H, W) of a sample for such a condition."""
        return (len(self.geometry.channels), *condition.shape[-2:])

    def _denoise(
        self, condition: Tensor, parameters: Tensor, latents: Sequence[Tensor] = ()
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """D for a condition; takes the latent noise that was drawn last."""
        maps = self.normalization.encode_condition(condition)
        numbers = self.normalization.encode_parameters(parameters)
        return lambda x, sigma: self.denoiser(
            x, sigma, maps, numbers, latents[-1] if latents else None
        )


def _set_latents_aside(
    noise: Iterator[Tensor], n_channels: int, latents: list[Tensor]
) -> Iterator[Tensor]:
    """Noise of the fields; the latent channels behind them wait in ``latents`` for the network."""
    for drawn in noise:
        latents[:] = [drawn[:, n_channels:]]
        yield drawn[:, :n_channels]
