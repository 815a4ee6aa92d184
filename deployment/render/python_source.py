"""Print data as Python source, for settings.py."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

_INDENT = " " * 4


def to_python(value: Any, names: Collection[str] = ()) -> str:
    """``value`` as a Python expression, one entry a line, such that evaluating it gives an equal value.

    Takes what YAML and JSON can hold: mappings, lists and tuples (both become lists), str, bool, int, float, None. A
    string that is one of ``names`` is printed bare, as a reference to that Python name. Raises TypeError for any other
    type and ValueError for a float that has no literal.
    """
    return _print(value, frozenset(names), "")


def _print(value: Any, names: frozenset[str], margin: str) -> str:
    if isinstance(value, str):
        return str(value) if value in names else repr(str(value))
    if value is None or isinstance(value, (bool, int)):
        return repr(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no Python literal")
        return repr(value)

    inner = margin + _INDENT
    if isinstance(value, Mapping):
        lines = [f"{_print(key, frozenset(), inner)}: {_print(item, names, inner)}" for key, item in value.items()]
        opening, closing = "{", "}"
    elif isinstance(value, (list, tuple)):
        lines = [_print(item, names, inner) for item in value]
        opening, closing = "[", "]"
    else:
        raise TypeError(f"cannot print a value of type {type(value).__name__} as Python: {value!r}")
    if not lines:
        return opening + closing
    return opening + "".join(f"\n{inner}{line}," for line in lines) + f"\n{margin}{closing}"
