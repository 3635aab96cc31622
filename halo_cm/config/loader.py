"""`ConfigLoader`: a TOML or INI file, and changes from the command line, into the `Config` tree."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import tomli
import tomli_w
from pydantic import ValidationError

from halo_cm.config.ini import read_ini
from halo_cm.config.objective import objective_class, objective_problems, resolve_objective
from halo_cm.config.sampling import PLAIN_SAMPLERS
from halo_cm.config.schema import Config
from halo_cm.config.suggest import Location, dotted, explain, nearest
from halo_cm.config.universe import PRESETS, UniverseConfig
from halo_cm.errors import ConfigError

#: Values that a shell strips of their quotes: ``--set name=wide`` means ``name = "wide"``.
_BARE_WORD = re.compile(r"[A-Za-z_~./][\w~./-]*")


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Paths inside it (``data.path``, ``output``) are relative to the current directory, not to the
    file.

    Parameters
    ----------
    path
        A ``.toml`` file, or an ``.ini`` file with the legacy keys.
    overrides
        Changes such as ``"training.batch_size=64"`` or ``"training.phases.0.steps=100"``; values
        are written as in TOML, and single words need no quotes.

    Returns
    -------
    Config
        Frozen; ``config.training.batch_size`` and the like.

    Raises
    ------
    ConfigError
        With everything that is wrong: file or override, key, what was found, what was expected.
    """
    path = Path(path)
    values, origins = _read(path)
    changes = {_apply(values, override): f"--set {override}" for override in overrides}
    problems = _objective_problems(values)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems = explain(error, Config, values) + problems
        raise ConfigError(_listed(str(path), problems, origins, changes)) from error
    if problems:
        raise ConfigError(_listed(str(path), problems, origins, changes))
    return config


#: The name by which users of the legacy workflow know `load_config`.
ConfigLoader = load_config


def load_universe(preset: str, overrides: Sequence[str] = ()) -> UniverseConfig:
    """Configuration of an embedded universe alone.

    Parameters
    ----------
    preset
        One of `halo_cm.config.universe.PRESETS`.
    overrides
        Changes such as ``"n_draws=4"`` or ``"baryons.gas_core=0.2"``.

    Raises
    ------
    ConfigError
        If the preset is unknown or a change is not valid.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}{nearest(preset, PRESETS)}")
    values = UniverseConfig.from_preset(preset).model_dump(exclude_unset=True)
    changes = {_apply(values, override, "n_draws=4"): f"--set {override}" for override in overrides}
    try:
        return UniverseConfig.model_validate(values)
    except ValidationError as error:
        problems = explain(error, UniverseConfig, values)
        raise ConfigError(_listed(f"preset {preset}", problems, {}, changes)) from error


def as_toml(config: Config) -> str:
    """The whole tree with every default, those of the objectives included, as TOML."""
    tree = config.model_dump(mode="json")
    for phase in tree["training"]["phases"]:
        phase["objective"] = resolve_objective(phase["objective"]).model_dump(mode="json")
    return tomli_w.dumps(without_nones(tree))


def without_nones(tree: Any) -> Any:
    """Copy of nested tables and lists without the keys that hold None, which TOML cannot write."""
    if isinstance(tree, Mapping):
        return {key: without_nones(value) for key, value in tree.items() if value is not None}
    if isinstance(tree, (list, tuple)):
        return [without_nones(value) for value in tree]
    return tree


def _read(path: Path) -> tuple[dict[str, Any], dict[Location, str]]:
    """Values of the file as one tree, and the legacy key that each came from (INI only)."""
    readers = {".toml": _read_toml, ".ini": read_ini}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: a configuration is a .toml or an .ini file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        beside = [p.name for p in path.parent.glob("*") if p.suffix in readers]
        hint = nearest(path.name, beside) if beside else "; its folder holds no configuration"
        raise ConfigError(f"{path}: no such file{hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}") from error
    return readers[path.suffix](text, path)


def _read_toml(text: str, path: Path) -> tuple[dict[str, Any], dict[Location, str]]:
    try:
        return tomli.loads(text), {}
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: not valid TOML: {error.msg}") from error


def _apply(
    values: dict[str, Any], override: str, example: str = "training.batch_size=64"
) -> Location:
    """Put one ``key=value`` into the tree; returns its place."""
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"--set {override}: expected key=value, such as {example}")
    value = _parse_value(text.strip(), override)
    here: Any = values
    place: list[str | int] = []
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(here, list):
            if not part.isdigit() or int(part) >= len(here):
                raise ConfigError(
                    f"--set {override}: {dotted(place)} is a list with entries 0 to "
                    f"{len(here) - 1}, found {part!r}"
                )
            index: Any = int(part)
        elif isinstance(here, MutableMapping):
            index = part
            if not last:
                here.setdefault(part, {})
        else:
            raise ConfigError(f"--set {override}: {dotted(place)} is a single value, not a table")
        place.append(index)
        if last:
            here[index] = value
        else:
            here = here[index]
    return tuple(place)


def _parse_value(text: str, override: str) -> Any:
    try:
        return tomli.loads(f"value = {text}")["value"]
    except tomli.TOMLDecodeError as error:
        if _BARE_WORD.fullmatch(text):
            return text
        raise ConfigError(
            f"--set {override}: {text!r} is not a TOML value ({error.msg}); write numbers as 64, "
            "lists as '[1, 2]', strings as '\"text\"'"
        ) from error


def _objective_problems(values: Mapping[str, Any]) -> list[tuple[Location, str]]:
    """Everything wrong with the objectives, which the schema holds as plain tables."""
    training, network = (_table(values.get(name)) for name in ("training", "network"))
    phases = training.get("phases")
    problems: list[tuple[Location, str]] = []
    # sampler of the weights that a phase starts from; that of a file is checked when it is read
    before = PLAIN_SAMPLERS[0] if training.get("start") else None
    for index, phase in enumerate(phases if isinstance(phases, list) else []):
        spec = _table(_table(phase).get("objective"))
        if not isinstance(spec.get("name"), str):
            continue  # the schema says so
        place = ("training", "phases", index, "objective")
        found = objective_problems(spec, place)
        if not found:
            text = _misfit(spec, before, network.get("latent_channels", 0))
            found = [(place, f"{dotted(place)}: {spec['name']!r} {text}")] if text else []
            if not phase.get("reference"):
                before = objective_class(spec["name"]).sampler
        problems += found
    return problems


def _misfit(spec: Mapping[str, Any], before: str | None, n_latent: Any) -> str | None:
    """What a valid objective lacks where it stands, or None."""
    objective = objective_class(spec["name"])
    if objective.uses_latent and n_latent == 0:
        return "needs latent noise: set network.latent_channels to 1 or more"
    if not objective.uses_teacher or spec.get("teacher") is not None:
        return None
    if before is None:
        return "needs a phase before it, as its teacher, or a model file in its setting `teacher`"
    if before not in PLAIN_SAMPLERS:
        return (
            "needs a plain denoiser as its teacher, which the phase before it does not train: put "
            "it after a denoising phase, or name a model file in its setting `teacher`"
        )
    return None


def _table(value: Any) -> Mapping[str, Any]:
    """The table, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def _listed(
    source: str,
    problems: Sequence[tuple[Location, str]],
    origins: Mapping[Location, str],
    changes: Mapping[Location, str],
) -> str:
    """All problems, a line each, with the file, the legacy key or the change they come from."""
    lines = []
    for place, text in problems:
        origin = next((s for p, s in {**origins, **changes}.items() if p == place[: len(p)]), None)
        if origin is None:
            # a check of several keys stands at the table that holds them
            involved = [s for p, s in changes.items() if p[: len(place)] == place]
            origin = ", ".join([source, *involved])
        lines.append(f"{origin}: {text}")
    return "\n".join(lines)
