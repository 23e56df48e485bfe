"""Values of TOML tables against the types they should have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from gcbench.errors import GcbenchError, unknown_name

T = TypeVar("T")

_SCALARS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
}


def expected(kind: Any, value: Any) -> str:
    """What a value should have been, in words; empty if it is of the type, or the type unusual.

    A whole number is a number too; true and false are none.
    """
    if kind in _SCALARS:
        numbers = (int, float) if kind is float else (kind,)
        fits = isinstance(value, numbers) and (kind is bool or not isinstance(value, bool))
        return "" if fits else _SCALARS[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        wanted = [expected(one, value) for one in arguments if one is not NoneType]
        return "" if value is None or "" in wanted else " or ".join(wanted)
    if origin in (tuple, list, Sequence):
        return _expected_list(arguments, value)
    if is_dataclass(kind) or origin is Mapping or kind in (dict, Mapping):
        return "" if isinstance(value, Mapping) or is_dataclass(value) else "a table"
    return ""


def _expected_list(kinds: tuple[Any, ...], value: Any) -> str:
    repeated = len(kinds) == 1 or Ellipsis in kinds
    words = _SCALARS.get(kinds[0], "a value").removeprefix("a ") + "s"
    wanted = f"a list of {'' if repeated else f'{len(kinds)} '}{words}"
    if not isinstance(value, (list, tuple)) or not (repeated or len(value) == len(kinds)):
        return wanted
    of_each = kinds[:1] * len(value) if repeated else kinds
    bad = any(expected(kind, one) for kind, one in zip(of_each, value, strict=True))
    return wanted if bad else ""


def construct(kind: Callable[..., T], table: Mapping[str, Any], where: str) -> T:
    """``kind(**table)``, its arguments checked by name and type before.

    Raises:
        GcbenchError: an unknown or a missing argument, or a value of another type, named.
    """
    parameters = _parameters(kind)
    for key, value in table.items():
        if key not in parameters:
            raise unknown_name(f"key in {where}", key, parameters)
        wanted = expected(parameters[key].annotation, value)
        if wanted:
            raise GcbenchError(f"{where}: {key} must be {wanted}, got {value!r}")
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in table:
            raise GcbenchError(f"{where} lacks the key {key!r}", hint=f"add {key} = ... to it")
    return kind(**table)


def _parameters(kind: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """By name; ``**kwargs`` of a class stand for the arguments of its base."""
    own = inspect.signature(kind, eval_str=True).parameters
    known = {k: p for k, p in own.items() if p.kind is not p.VAR_KEYWORD}
    if len(known) < len(own) and inspect.isclass(kind):
        return {**_parameters(kind.__mro__[1]), **known}
    return known
