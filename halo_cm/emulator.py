"""The emulator: a denoiser with its normalisation, physical fields in, physical fields out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from halo_cm.data.normalize import Normalization
from halo_cm.diffusion.denoiser import Denoiser
from halo_cm.diffusion.samplers import Sampler, make_sampler
from halo_cm.networks.build import build_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from halo_cm.config.sampling import SamplingConfig
    from halo_cm.config.schema import Config
    from halo_cm.containers import Geometry
    from halo_cm.diffusion.solvers import Denoise


class Emulator(nn.Module):
    """A trained (or fresh) model of p(hydro | DMO maps, parameters).

    Parameters
    ----------
    config
        Network, noise levels, sampling steps.
    normalization
        Transforms fitted on the training split.
    sampler
        Name of the sampler, one of `halo_cm.diffusion.samplers.SAMPLERS`, see `use_sampler`.
    """

    sampler: Sampler

    def __init__(self, config: Config, normalization: Normalization, sampler: str) -> None:
        super().__init__()
        self.config = config
        geometry = normalization.geometry
        config.network.check_size(geometry.n_pixels)
        network = build_network(
            n_fields=len(geometry.channels),
            n_condition=len(geometry.scales),
            n_parameters=len(geometry.parameter_names),
            shape=config.network,
        )
        n_latent = config.network.latent_channels
        self.denoiser = Denoiser(network, normalization.sigma_data, 0.0, n_latent)
        self.normalization = normalization
        self.use_sampler(sampler)

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
        return self.sampler.default_steps

    def use_sampler(
        self,
        name: str,
        settings: Mapping[str, Any] | None = None,
        *,
        uses_latent: bool = False,
    ) -> None:
        """Be sampled (and trained) in another way.

        A noise schedule stays if the sampler and its settings do, else a fresh one is made where
        the sampler has one.

        Parameters
        ----------
        name, settings
            Of the sampler; an objective names them.
        uses_latent
            Whether every evaluation draws latent noise; else the network sees zeros in its place.

        Raises
        ------
        ConfigError
            If there is no such sampler.
        """
        config, before = self.config, getattr(self, "sampler", None)
        self.sampler = make_sampler(name, config.diffusion, config.sampling, settings or {})
        self.uses_latent = uses_latent
        self.denoiser.boundary = self.sampler.boundary
        same = before is not None and (before.name, before.settings) == (
            self.sampler.name,
            self.sampler.settings,
        )
        if same and self.denoiser.schedule is not None:
            return
        schedule = self.sampler.make_schedule()
        self.denoiser.schedule = None if schedule is None else schedule.to(self.device)

    def use_sampling(self, sampling: SamplingConfig) -> None:
        """Take other sampling steps, levels and solver than those the model was trained with.

        Levels for numbers of steps that ``sampling`` does not give stay the model's own.
        """
        sampling = sampling.with_levels({**self.config.sampling.levels, **sampling.levels})
        self.config = self.config.model_copy(update={"sampling": sampling})
        before = self.sampler
        self.sampler = make_sampler(before.name, before.diffusion, sampling, before.settings)

    def levels(self, n_steps: int) -> Tensor:
        """Falling noise levels of an ``n_steps`` sample (of an interpolant: rising times).

        Raises
        ------
        ConfigError
            If the model cannot be sampled in this number of steps.
        """
        self.sampler.check_steps(n_steps)
        return self.sampler.levels(n_steps, self.denoiser.schedule)

    def nfe(self, n_steps: int) -> int:
        """Network evaluations of an ``n_steps`` sample."""
        return self.sampler.nfe(n_steps)

    def draws_per_sample(self, n_steps: int) -> int:
        """Noise tensors that one sample consumes."""
        return self.sampler.n_draws(n_steps)

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
        maps = self.normalization.encode_condition(condition)
        denoise = self._denoise(maps, parameters, latents)
        levels = self.levels(n_steps).to(condition.device)
        x = self.sampler.sample(denoise, noise, levels, maps)
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
        maps = self.normalization.encode_condition(condition)
        denoise, sigma_max = self._denoise(maps, parameters), self.config.diffusion.sigma_max
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

    def _denoise(self, maps: Tensor, parameters: Tensor, latents: Sequence[Tensor] = ()) -> Denoise:
        """D for normalised maps; takes the latent noise that was drawn last."""
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
