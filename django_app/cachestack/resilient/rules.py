"""What only a running project can tell of an option, beside the table in cachestack.option_rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..option_rules import Choice, Rule, key_function, serializer
from .codecs import COMPRESSORS, load_serializer


def _key_function(value: Any) -> str | None:
    wrong = key_function(value)
    if wrong or not isinstance(value, str):
        return wrong
    found, wrong = _load(import_string, value)
    return wrong or (None if callable(found) else "must be a function, or the dotted path of one")


def _serializer(value: Any) -> str | None:
    if isinstance(value, str) and value == "signed":
        with suppress(ImproperlyConfigured):
            if settings.SECRET_KEY:
                return None
        return "needs SECRET_KEY, which is empty; write one"
    wrong = serializer(value)
    if wrong or (isinstance(value, str) and "." not in value):
        return wrong
    found, wrong = _load(load_serializer, value)
    # Also of what a class makes.
    return wrong or serializer(found)


def _load(load: Callable[[Any], Any], value: Any) -> tuple[Any, str | None]:
    """Return what is loaded, and what is wrong with it."""
    try:
        return load(value), None
    except ImportError as error:
        return None, f"cannot be imported: {error}"
    # A module can raise anything while it is imported, and a class while it is called.
    except Exception as error:
        return None, f"cannot be used, it raises {type(error).__name__}"


def _compressor(value: Any) -> str | None:
    wrong = Choice(*COMPRESSORS)(value)
    if wrong:
        return wrong
    try:
        COMPRESSORS[value].load()
    except ImportError:
        return f"needs a package that is not installed: pip install {COMPRESSORS[value].package}"
    return None


# In place of the table's rules of the same names.
INSTALLED: dict[str, Rule] = {"KEY_FUNCTION": _key_function, "compressor": _compressor, "serializer": _serializer}
