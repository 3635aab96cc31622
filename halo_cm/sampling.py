"""Draw hydrodynamic fields: `sample`, physical units in and out."""

from __future__ import annotations

import logging
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from halo_cm.containers import check_mass
from halo_cm.errors import ConfigError, DataError, HaloCMError
from halo_cm.progress import progress
from halo_cm.seeding import derive_seed

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from halo_cm.containers import FloatArray, IntArray
    from halo_cm.emulator import Emulator

    Maps = TypeVar("Maps", Tensor, FloatArray, xr.DataArray)

#: Samples evaluated together, by device type: enough to keep it busy, little memory.
DEVICE_BATCH = {"cpu": 32, "cuda": 256}
#: Short batches are filled up to a multiple of this, with which kernels round alike.
_EVEN_BATCH = 16


@torch.no_grad()
def sample(
    model: Emulator,
    condition: Maps,
    batch_size: int = 4,
    n_sampling_steps: int | None = None,
    *,
    parameters: Any = None,
    seed: int = 0,
    halo_ids: Sequence[int] | FloatArray | None = None,
    device_batch_size: int | None = None,
) -> Maps:
    """Draw ``batch_size`` hydrodynamic fields for each condition.

    Parameters
    ----------
    model
        From `ModelManager.initialize` or `ModelManager.load`.
    condition
        DMO mass per pixel [Msun/h], shape (N, S, H, W): the field of view, then the wider context
        maps. Every map is in mass per pixel *of the field of view*: a pixel of a context map holds
        the mean over the pixels of that size that it covers (not their sum), as in vdm_BIND.
    batch_size
        Samples per condition; device batches are made internally.
    n_sampling_steps
        Network evaluations per sample (Heun steps for a denoiser); the model's default if None.
    parameters
        Shape (N, P) or (P,), in the order of ``model.geometry.parameter_names``; or a mapping from
        those names to numbers or arrays of shape (N,).
    seed
        Fixes the result, whatever the device batches (bit by bit for the default ones on the same
        machine; to rounding for others).
    halo_ids
        Non-negative integers of shape (N,), default 0 to N - 1. The noise of a sample depends on
        (seed, halo id, sample number) alone.
    device_batch_size
        Samples evaluated together; a default for the device if None.

    Returns
    -------
    Tensor, ndarray or DataArray, as the condition
        Mass per pixel [Msun/h], shape (N, batch_size, 3, H, W). A DataArray keeps the name of the
        condition's first dimension and the coordinates along it and along y and x.

    Raises
    ------
    DataError
        If maps or parameters have the wrong shape, hold NaN or negative masses, or lie far outside
        what the model was trained on (`halo_cm.data.ranges`; a warning says what lies a little
        outside).
    ConfigError
        If the model has no noise levels for ``n_sampling_steps``.
    """
    maps = _as_maps(condition, model)
    numbers = as_parameters(parameters, len(maps), model.geometry.parameter_names)
    model.normalization.trained.check(maps, numbers)
    ids = _check_ids(halo_ids, len(maps))
    n_steps = model.default_steps if n_sampling_steps is None else n_sampling_steps
    n_steps = whole_number("n_sampling_steps", n_steps, error=ConfigError)
    model.levels(n_steps)  # explains what is wrong with the number of steps
    size = (
        DEVICE_BATCH.get(model.device.type, 32) if device_batch_size is None else device_batch_size
    )
    batch_size = whole_number("batch_size", batch_size, least=1)
    size = whole_number("device_batch_size", size, least=1)
    seed = whole_number("seed", seed, least=0)
    out = torch.empty(len(maps), batch_size, *model.field_shape(maps))
    jobs = [(i, j) for i in range(len(maps)) for j in range(batch_size)]
    with progress("sampling", len(jobs), show=len(jobs) * model.nfe(n_steps) > 4096) as task:
        for start in range(0, len(jobs), size):
            part = jobs[start : start + size]
            n_fill = min(size, -(-len(part) // _EVEN_BATCH) * _EVEN_BATCH) - len(part)
            rows = [i for i, _ in part] + [part[-1][0]] * n_fill
            streams = [derive_seed(seed, "noise", int(ids[i]), j) for i, j in part]
            streams += [streams[-1]] * n_fill
            noise = _noise(streams, model, model.noise_shape(maps), n_steps)
            fields = model.generate(
                maps[rows].to(model.device), numbers[rows].to(model.device), noise, n_steps
            )
            for (i, j), field in zip(part, fields.float().cpu(), strict=False):
                out[i, j] = field
            task.advance(len(part))
    return _like(out, condition, model)


def whole_number(
    name: str, value: Any, *, least: int | None = None, error: type[HaloCMError] = DataError
) -> int:
    """``value`` as an int; raises ``error`` if it is none, or is below ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise error(f"{name} must be a whole number, found {value!r}") from None
    if least is not None and number < least:
        raise error(f"{name} must be at least {least}, found {number}")
    return number


def as_parameters(parameters: Any, n: int, names: Sequence[str]) -> Tensor:
    """Parameters as a float tensor of shape (n, P), from an array, a tensor or a mapping.

    Raises
    ------
    DataError
        If a name is missing or unknown, the shape does not fit, or a number is not finite.
    """
    wanted = f"{len(names)} numbers per halo: {', '.join(names)}"
    if parameters is None:
        raise DataError(f"parameters are missing; this model is conditioned on {wanted}")
    if isinstance(parameters, Mapping):
        missing = [name for name in names if name not in parameters]
        unknown = [str(name) for name in parameters if name not in names]
        if missing or unknown:
            raise DataError(
                f"parameters: missing {missing or 'none'}, unknown {unknown or 'none'}; this model "
                f"is conditioned on {wanted}"
            )
        parameters = np.stack([_column(name, parameters[name], n) for name in names], 1)
    if hasattr(parameters, "coords"):
        _check_order(parameters, names)
    array = parameters.detach().cpu().numpy() if isinstance(parameters, Tensor) else parameters
    array = np.asarray(array, dtype=np.float32)
    if array.shape == (len(names),):
        array = np.broadcast_to(array, (n, len(names)))
    if array.shape != (n, len(names)):
        raise DataError(
            f"parameters has shape {array.shape}, expected ({n}, {len(names)}); this model is "
            f"conditioned on {wanted}"
        )
    if not np.isfinite(array).all():
        column = names[int(np.argwhere(~np.isfinite(array))[0, 1])]
        raise DataError(f"parameters: {column} holds NaN or infinite values")
    return torch.from_numpy(np.array(array))


def _column(name: str, values: Any, n: int) -> FloatArray:
    column = np.asarray(values, dtype=np.float64)
    if column.shape not in ((), (n,)):
        raise DataError(f"parameters: {name} has shape {column.shape}, expected a number or ({n},)")
    return np.broadcast_to(column, (n,))


def _check_ids(halo_ids: Any, n: int) -> IntArray:
    ids = np.arange(n) if halo_ids is None else np.asarray(halo_ids)
    if ids.shape != (n,):
        raise DataError(f"halo_ids has shape {ids.shape}, expected ({n},)")
    if not np.issubdtype(ids.dtype, np.integer) or (n and ids.min() < 0):
        raise DataError("halo_ids must be integers that are not negative: they name the noise")
    return ids


def _check_order(parameters: xr.DataArray, names: Sequence[str]) -> None:
    """A labelled array must be labelled as the model expects."""
    if "parameter" not in parameters.coords:
        return
    found = [str(name) for name in parameters.coords["parameter"].values]
    if found != list(names):
        raise DataError(
            f"parameters are ordered {', '.join(found)}, but the model expects {', '.join(names)}: "
            "select them with .sel(parameter=[...])"
        )


def _as_maps(condition: Any, model: Emulator) -> Tensor:
    if hasattr(condition, "coords"):
        _check_labels(condition, model)
    array = condition.detach().cpu() if isinstance(condition, Tensor) else condition
    array = np.asarray(array, dtype=np.float32)
    scales = model.geometry.scales
    if array.ndim != 4 or array.shape[1] != len(scales):
        raise DataError(
            f"condition has shape {array.shape}, expected (N, {len(scales)}, H, W): DMO mass per "
            f"pixel [Msun/h] in maps of {', '.join(f'{s:g}' for s in scales)} Mpc/h"
        )
    stride = model.config.network.stride
    if any(side % stride for side in array.shape[2:]):
        raise DataError(
            f"condition maps are {array.shape[2]} x {array.shape[3]} pixels; each side must be a "
            f"multiple of {stride} (the model was trained at {model.geometry.n_pixels})"
        )
    check_mass(array, "condition")
    trained = model.geometry.n_pixels
    if array.shape[2] != trained or array.shape[3] != trained:
        logger.warning(
            "condition maps are %d x %d pixels, the model was trained at %d: their pixels must "
            "have the same width, %.4g Mpc/h",
            *array.shape[2:],
            trained,
            model.geometry.cell_size,
        )
    return torch.from_numpy(np.ascontiguousarray(array))


def _check_labels(condition: xr.DataArray, model: Emulator) -> None:
    """A labelled condition must be ordered as the model expects, in pixels of the same width."""
    known, dims = ("scale", "y", "x"), tuple(str(dim) for dim in condition.dims)
    if set(known) <= set(dims) and dims[-3:] != known:
        raise DataError(
            f"condition has the dimensions {dims}, expected (..., scale, y, x): reorder them with "
            ".transpose(..., 'scale', 'y', 'x')"
        )
    geometry = model.geometry
    if dims[1:2] != ("scale",) or "scale" not in condition.coords or condition.ndim != 4:
        return
    widths = np.asarray(condition.coords["scale"].values, dtype=float) / condition.shape[-1]
    expected = np.array(geometry.scales) / geometry.n_pixels
    if widths.shape == expected.shape and not np.allclose(widths, expected, rtol=1e-3):
        raise DataError(
            f"condition: the coordinate scale gives pixels of {_listed(widths)} Mpc/h, but the "
            f"model was trained with {_listed(expected)}: order the maps from the field of view to "
            "the widest, and make them with pixels of these widths"
        )


def _listed(numbers: FloatArray) -> str:
    return ", ".join(f"{number:.4g}" for number in numbers)


def _noise(
    streams: Sequence[int], model: Emulator, shape: tuple[int, int, int], n_steps: int
) -> Iterator[Tensor]:
    """Noise tensors (B, C, H, W), one after another; row b comes from stream b alone."""
    generators = [torch.Generator().manual_seed(stream) for stream in streams]
    for _ in range(model.draws_per_sample(n_steps)):
        rows = [torch.randn(shape, generator=g) for g in generators]
        yield torch.stack(rows).to(model.device)


def _like(out: Tensor, condition: Any, model: Emulator) -> Any:
    if isinstance(condition, Tensor):
        return out.to(condition.device)
    if isinstance(condition, np.ndarray):
        return out.numpy()
    import xarray as xr

    first = condition.dims[0]
    if first in (*(others := ("realization", "channel", "y", "x")), "dim_0"):
        first = "halo"
    attributes = {"units": "Msun/h", "long_name": "mass per pixel"}
    kept = {
        name: coordinate
        for name, coordinate in condition.coords.items()
        if {first, "y", "x"}.issuperset(coordinate.dims) and name not in others[:2]
    }
    coordinates = {**kept, "channel": list(model.geometry.channels)}
    return xr.DataArray(out.numpy(), coordinates, dims=(first, *others), attrs=attributes)
