"""Messages about a configuration: what was found, what was expected, the nearest valid word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
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
        here = _strip_tags(item["loc"], values)
        place = (*prefix, *here)
        if item["type"] == "extra_forbidden":
            hint = nearest(str(here[-1]), _fields(model, here[:-1]))
            messages.append((place, f"unknown key {dotted(place)!r}{hint}"))
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
        found = _shown(_get(values, here))
        messages.append((place, f"{dotted(place)} = {found}, expected {' or '.join(words)}"))
    return sorted(messages, key=lambda message: [str(part) for part in message[0]])


def _expected(item: ErrorDetails) -> str:
    return _EXPECTED.get(item["type"], item["msg"]).format(**item.get("ctx", {}))


def _strip_tags(location: Sequence[str | int], values: Any) -> Location:
    """Parts of pydantic's location that are keys of ``values``, not names of alternatives."""
    kept: list[str | int] = []
    for part in location:
        inside = _get(values, kept)
        if isinstance(inside, Mapping):
            if isinstance(part, str) and part == "[key]":
                continue
            kept.append(part)
        elif isinstance(inside, (list, tuple)) and isinstance(part, int):
            kept.append(part)
    return tuple(kept)


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


def _fields(model: type[BaseModel], location: Sequence[str | int]) -> set[str]:
    """Names of the fields of the model at ``location``."""
    for part in location:
        if isinstance(part, int):
            continue
        inner = _inner_model(model.model_fields[part].annotation)
        if inner is None:
            return set()
        model = inner
    return set(model.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model in ``Model``, ``Model | None`` or ``tuple[Model, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
