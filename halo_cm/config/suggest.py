"""Messages about a configuration: what was found, what was expected, the nearest valid word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]

#: What pydantic's error types mean, in the words of someone who writes TOML.
_EXPECTED = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "string_too_short": "a string that is not empty",
    "string_pattern_mismatch": "a word of letters, digits, '.', '_' and '-'",
    "path_type": "a path, written as a string",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "literal_error": "{expected}",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "multiple_of": "a multiple of {multiple_of:g}",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
}


def nearest(word: str, candidates: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest candidate, or the list of all if none is close.

    Parameters
    ----------
    word
        What was found.
    candidates
        What would have been valid.
    """
    names = sorted(candidates)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid here: {', '.join(names) or 'nothing'}"


def dotted(location: Sequence[str | int]) -> str:
    """``training.phases.0.steps`` for ``("training", "phases", 0, "steps")``."""
    return ".".join(str(part) for part in location)


def explain(
    error: ValidationError, model: type[BaseModel], values: Any, prefix: Location = ()
) -> list[tuple[Location, str]]:
    """Places and messages for everything that pydantic found wrong with ``values``.

    Parameters
    ----------
    error
        From validating ``values`` against ``model``.
    model
        The model at the top.
    values
        What was validated.
    prefix
        Where ``values`` hang in the whole tree.
    """
    expected: dict[Location, list[str]] = {}
    messages: list[tuple[Location, str]] = []
    for item in error.errors():
        found = _locate(item["loc"], model, values)
        here = found.keys
        place = (*prefix, *here)
        if item["type"] == "extra_forbidden":
            messages.append((place, f"unknown key {dotted(place)!r}{_hint(found, place)}"))
        elif item["type"] == "union_tag_invalid":
            tags = " or ".join(repr(tag) for tag in found.below)
            expected.setdefault((*here, _tag_field(found.below)), []).append(tags)
        elif item["type"] == "missing":
            messages.append((place, f"missing key {dotted(place)!r}"))
        elif item["type"] == "value_error":
            text = str(item["ctx"]["error"])
            messages.append((place, f"{dotted(place)}: {text}" if place else text))
        elif item["loc"][-1] == "[key]":
            messages.append((place, f"key {dotted(place)!r}, expected {_expected(item)}"))
        else:
            expected.setdefault(here, []).append(_expected(item))
    for here, words in expected.items():
        if any(len(other) > len(here) and other[: len(here)] == here for other in expected):
            continue  # pydantic also complains about the list whose entries it refused
        place = (*prefix, *here)
        value = _shown(_get(values, here))
        messages.append((place, f"{dotted(place)} = {value}, expected {' or '.join(words)}"))
    return sorted(messages, key=lambda message: [str(part) for part in message[0]])


def _expected(item: ErrorDetails) -> str:
    return _EXPECTED.get(item["type"], item["msg"]).format(**item.get("ctx", {}))


Models = Mapping[str, type[BaseModel]]


@dataclass(frozen=True)
class _Place:
    """Where pydantic found an error.

    Attributes
    ----------
    keys
        Parts of the location that are keys of the values, not names of alternatives.
    holder
        Model that the last key belongs to, or not.
    alternatives
        Models by tag among which ``holder`` was chosen; empty if there was no choice.
    below
        Models by tag that the last key can hold.
    """

    keys: Location
    holder: type[BaseModel]
    alternatives: Models
    below: Models


def _locate(location: Sequence[str | int], model: type[BaseModel], values: Any) -> _Place:
    """Follow pydantic's location through the models and the values."""
    keys: list[str | int] = []
    alternatives: Models = {}
    below: Models = {}
    for part in location:
        inside = _get(values, keys)
        if isinstance(part, int):
            if isinstance(inside, (list, tuple)):
                keys.append(part)
            continue
        if below:
            chosen = part if len(below) > 1 else next(iter(below))
            model, alternatives, below = below[chosen], below if len(below) > 1 else {}, {}
            if alternatives:
                continue
        if isinstance(inside, Mapping) and part != "[key]":
            keys.append(part)
            if part in model.model_fields:
                below = _models(model.model_fields[part].annotation)
    return _Place(tuple(keys), model, alternatives, below)


def _hint(found: _Place, place: Location) -> str:
    """What to write in place of an unknown key, or which alternative has it."""
    key = str(found.keys[-1])
    owners = [tag for tag, other in found.alternatives.items() if key in other.model_fields]
    if not owners:
        return nearest(key, found.holder.model_fields)
    chosen = next(tag for tag, m in found.alternatives.items() if m is found.holder)
    choice = dotted((*place[:-1], _tag_field(found.alternatives)))
    return f' for {choice} = "{chosen}": it is a setting of "{owners[0]}"'


def _tag_field(models: Models) -> str:
    """Name of the field that tells the models apart: its default is the tag of each."""
    first = next(iter(models.values()))
    return next(
        name
        for name in first.model_fields
        if all(
            name in model.model_fields and model.model_fields[name].default == tag
            for tag, model in models.items()
        )
    )


def _get(values: Any, location: Sequence[str | int]) -> Any:
    for part in location:
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, (list, tuple)) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            return None
    return values


def _shown(value: Any) -> str:
    """A value as TOML would show it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value)


def _models(annotation: Any, tag: str = "") -> dict[str, type[BaseModel]]:
    """Models by tag in ``Model``, ``Model | None``, ``tuple[Model, ...]`` or a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {tag or annotation.__name__: annotation}
    metadata = getattr(annotation, "__metadata__", ())
    tag = next((mark.tag for mark in metadata if isinstance(mark, Tag)), tag)
    found: dict[str, type[BaseModel]] = {}
    for argument in get_args(annotation):
        found |= _models(argument, tag)
    return found
