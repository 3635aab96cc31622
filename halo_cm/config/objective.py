"""From ``{ name = "ect", q = 4.0 }`` to the objective: one file is one objective, no registry."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from halo_cm.config.suggest import Location, dotted, explain, nearest
from halo_cm.errors import ConfigError

if TYPE_CHECKING:
    # the objectives stand to the right of the configuration and import torch: only names here
    from halo_cm.objectives.base import Objective

_PACKAGE = "halo_cm.objectives"


def resolve_objective(spec: Mapping[str, Any]) -> Objective:
    """Build the objective that a phase names.

    Parameters
    ----------
    spec
        ``name`` and settings. A name without a dot is a file of `halo_cm.objectives`; one with a
        dot is the path of any importable module (``my_package.my_objective``). The module must
        define exactly one subclass of `halo_cm.objectives.base.Objective`.

    Raises
    ------
    ConfigError
        If the objective is unknown or cannot be imported, or if its settings are not valid.
    """
    problems = objective_problems(spec, ("objective",))
    if problems:
        raise ConfigError("\n".join(text for _, text in problems))
    return objective_class(spec["name"]).model_validate(dict(spec))


def objective_problems(spec: Mapping[str, Any], place: Location) -> list[tuple[Location, str]]:
    """Everything that is wrong with ``spec``, which hangs at ``place`` in the tree."""
    name = spec.get("name")
    if not isinstance(name, str):
        known = ", ".join(available_objectives())
        return [(place, f"{dotted(place)} needs a name, one of {known}")]
    try:
        objective = objective_class(name)
    except ConfigError as error:
        return [((*place, "name"), f"{dotted(place)}: {error}")]
    try:
        objective.model_validate(dict(spec))
    except ValidationError as error:
        return explain(error, objective, dict(spec), place)
    return []


def objective_class(name: str) -> type[Objective]:
    """Class of the objective called ``name``.

    Raises
    ------
    ConfigError
        If there is no such module, or if it does not define exactly one objective.
    """
    path = name if "." in name else f"{_PACKAGE}.{name}"
    if not _exists(path):
        if "." in name:
            raise ConfigError(
                f"no module {name!r}: put its folder on PYTHONPATH or install its package"
            )
        raise ConfigError(f"unknown objective {name!r}{nearest(name, available_objectives())}")
    found = _defined_in(_import(path))
    if len(found) != 1:
        names = ", ".join(c.__name__ for c in found) or "none"
        raise ConfigError(
            f"module {path} must define exactly one subclass of Objective, found {names}"
        )
    return found[0]


def available_objectives() -> list[str]:
    """Names of the objectives that come with halo_cm."""
    package = importlib.import_module(_PACKAGE)
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [name for name in modules if len(_defined_in(_import(f"{_PACKAGE}.{name}"))) == 1]


def _exists(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except (ModuleNotFoundError, ValueError):  # a parent is missing, or a part is empty ("a..b")
        return False


def _import(path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ImportError as error:
        raise ConfigError(f"module {path} cannot be imported: {error}") from error


def _defined_in(module: ModuleType) -> list[type[Objective]]:
    base: type[Objective] = importlib.import_module(f"{_PACKAGE}.base").Objective
    return [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base)
        and not inspect.isabstract(member)
        and member.__module__ == module.__name__
    ]
