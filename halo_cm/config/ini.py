"""INI files with the keys of the legacy workflow, mapped into the same tree as TOML.

Section names are free, keys count wherever they stand. The legacy consistency model is a denoising
warm-up followed by consistency training with a fixed number of levels: two phases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configobj import ConfigObj, ConfigObjError

from halo_cm.config.suggest import Location, nearest
from halo_cm.errors import ConfigError

_TRUTH = {"true": True, "yes": True, "on": True, "1": True}
_TRUTH |= {"false": False, "no": False, "off": False, "0": False}


def _boolean(text: str) -> bool:
    return _TRUTH[text.lower()]


@dataclass(frozen=True)
class _Key:
    """How an INI key is read, and its place in the tree (phase -1 is the consistency phase)."""

    parse: Callable[[str], Any]
    expected: str
    place: Location | None = None
    default: Any = None


_INTEGER: tuple[Callable[[str], Any], str] = (int, "an integer")
_NUMBER: tuple[Callable[[str], Any], str] = (float, "a number")
_TEXT: tuple[Callable[[str], Any], str] = (str, "text")
_CT = ("training", "phases", -1, "objective")

#: Keys with their documented defaults; those without a default keep the default of the tree.
_KEYS = {
    "name": _Key(*_TEXT, ("name",)),
    "seed": _Key(*_INTEGER, ("seed",)),
    "output": _Key(*_TEXT, ("output",)),
    "data": _Key(*_TEXT, ("data", "path")),
    "universe": _Key(*_TEXT, ("data", "universe")),
    "batch_size": _Key(*_INTEGER, ("training", "batch_size")),
    "sigma_min": _Key(*_NUMBER, ("diffusion", "sigma_min"), 0.002),
    "sigma_max": _Key(*_NUMBER, ("diffusion", "sigma_max"), 80.0),
    "n_sampling_steps": _Key(*_INTEGER, ("sampling", "n_sampling_steps"), 1),
    "ct_n_steps": _Key(*_INTEGER, (*_CT, "n_levels"), 18),
    "ema_decay": _Key(*_NUMBER, (*_CT, "ema_decay"), 0.999),
    "consistency_epochs": _Key(*_INTEGER, ("training", "phases", -1, "epochs"), 50),
    "denoising_warmup_epochs": _Key(*_INTEGER, ("training", "phases", 0, "epochs"), 50),
    "use_denoising_pretraining": _Key(_boolean, "true or false", default=True),
    "x0_mode": _Key(*_TEXT, default="x0"),
}


def read_ini(text: str, path: Path) -> tuple[dict[str, Any], dict[Location, str]]:
    """Tree of values, and the file and key that each came from.

    Parameters
    ----------
    text
        Content of the file.
    path
        Its name, for messages; its stem is the model's name where the key ``name`` is absent.

    Raises
    ------
    ConfigError
        With every unknown key and every value that cannot be read.
    """
    values, problems = _parse(text, path)
    if "data" not in values:
        problems.append("missing key 'data', the file of cutouts")
    if values["x0_mode"] != "x0":
        problems.append(
            f"x0_mode = {values['x0_mode']!r}: a consistency model always predicts the clean field;"
            " expected 'x0' (the other modes belong to interpolants: configs/interpolant.toml)"
        )
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    return _tree(values, path)


def _parse(text: str, path: Path) -> tuple[dict[str, Any], list[str]]:
    values = {name: key.default for name, key in _KEYS.items() if key.default is not None}
    problems, seen = [], set()
    for written, found in _entries(_open(text, path)):
        name = written.lower()
        if name not in _KEYS:
            problems.append(f"unknown key {written!r}{nearest(name, _KEYS)}")
            continue
        if name in seen:
            problems.append(f"{written} stands in two sections: keep one")
        seen.add(name)
        try:
            values[name] = _KEYS[name].parse(found)
        except (ValueError, KeyError):
            problems.append(f"{written} = {found!r}, expected {_KEYS[name].expected}")
    return values, problems


def _open(text: str, path: Path) -> ConfigObj:
    # both signs begin a comment in INI files, ConfigObj knows one
    lines = ["#" + line if line.lstrip().startswith(";") else line for line in text.splitlines()]
    try:
        return ConfigObj(lines, interpolation=False, list_values=False, raise_errors=True)
    except ConfigObjError as error:
        reason = str(error).rsplit(" at line", 1)[0]
        raise ConfigError(f"{path}, line {error.line_number}: not valid INI: {reason}") from error


def _entries(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _entries(value)
        else:
            yield key, value.strip("\"'")


def _tree(values: dict[str, Any], path: Path) -> tuple[dict[str, Any], dict[Location, str]]:
    phases: list[dict[str, Any]] = [{"objective": {"name": "ct"}, "learning_rate": 3e-4}]
    warm_up = values["use_denoising_pretraining"]
    if warm_up:
        phases.insert(0, {"objective": {"name": "denoising"}, "learning_rate": 2e-3})
    tree: dict[str, Any] = {"name": path.stem, "training": {"phases": phases}}
    origins = {}
    for name, value in values.items():
        place = _KEYS[name].place
        if place is None or (name == "denoising_warmup_epochs" and not warm_up):
            continue
        place = tuple(len(phases) - 1 if part == -1 else part for part in place)
        _put(tree, place, value)
        origins[place] = f"{path}, key {name!r}"
    return tree, origins


def _put(tree: Any, place: Location, value: Any) -> None:
    *parents, last = place
    for part in parents:
        tree = tree[part] if isinstance(part, int) else tree.setdefault(part, {})
    tree[last] = value
