"""Configurations as JSON: what is written is read back equal, and nothing else is read.

A configuration file may come from a stranger, so it is bounded in size, and a field that is unknown, or of another
type than the dataclass says, is refused.
"""

from __future__ import annotations

import dataclasses
import json
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cospeech.errors import CheckpointError

__all__ = ["config_from_dict", "config_to_dict", "read_json"]

ConfigT = TypeVar("ConfigT")

_MAX_BYTES = 1 << 20
_MAX_INTEGER = 1 << 31


def read_json(path: str | os.PathLike[str], *, max_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """The object in a JSON file of at most one megabyte, or another limit.

    Raises:
        CheckpointError: If the file is missing, too large, or holds anything but one JSON object.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(max_bytes + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(text) > max_bytes:
        raise CheckpointError(f"{path} must not exceed {max_bytes} bytes.")
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold a JSON object; got {type(data).__name__}.")
    return data


def config_to_dict(config: Any) -> dict[str, Any]:
    """The fields of a dataclass, ready for JSON, tuples as lists.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Size:
        ...     widths: tuple[int, ...] = (4, 8)
        >>> config_to_dict(Size())
        {'widths': [4, 8]}
    """
    fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False))
    return fields


def config_from_dict(config_class: type[ConfigT], fields: Mapping[str, Any], *, source: str = "config") -> ConfigT:
    """A dataclass from what ``config_to_dict`` made; fields left out take their defaults.

    Args:
        config_class: The dataclass. Its fields may be numbers, strings, booleans, None, literals, tuples and
            dataclasses of these.
        fields: Names and values.
        source: What error messages call the whole.

    Raises:
        CheckpointError: If a field is unknown, missing, or of another type, or the dataclass refuses a value.
    """
    hints = get_type_hints(config_class)
    names = {field.name for field in dataclasses.fields(config_class) if field.init}  # type: ignore[arg-type]
    unknown = [str(name) for name in fields if name not in names]
    if unknown:
        raise CheckpointError(f"Unknown fields in {source}: {', '.join(sorted(unknown))}.")
    values = {name: _checked(value, hints[name], f"{source}.{name}") for name, value in fields.items()}
    try:
        return config_class(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source} does not fit {config_class.__name__}: {error}") from error


def _checked(value: Any, hint: Any, name: str) -> Any:
    """The value as the annotation wants it, or an error."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (argument for argument in arguments if argument is not type(None))
        return _checked(value, hint, name)
    if origin is Literal:
        fits = value in arguments
    elif origin is tuple:
        if isinstance(value, list) and (arguments[-1] is Ellipsis or len(value) == len(arguments)):
            each = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
            return tuple(_checked(value[i], kind, f"{name}[{i}]") for i, kind in enumerate(each))
        fits = False
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, dict):
            return config_from_dict(hint, value, source=name)  # type: ignore[arg-type]
        fits = False
    elif hint is float:
        if type(value) in (int, float):
            return float(value)
        fits = False
    elif hint is int:
        fits = type(value) is int and abs(value) <= _MAX_INTEGER
    else:
        fits = type(value) is hint  # not isinstance: True is no number here
    if not fits:
        wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
        raise CheckpointError(f"{name} must be {wanted}; got {_shortened(value)}.")
    return value


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")
