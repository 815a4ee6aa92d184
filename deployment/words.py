"""Words that are nearly right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

# How alike a word and what was meant are, at least.
ALIKE = 0.6


def closest(word: Any, choices: Iterable[Any], alike: float = ALIKE) -> str | None:
    """Return the choice that is most like the word, or None."""
    return _closest(str(word).strip().lower()[:80], tuple(map(str, choices)), alike)


# One slip is often that of hundreds of hosts.
@lru_cache(maxsize=4096)
def _closest(word: str, choices: tuple[str, ...], alike: float) -> str | None:
    lower = {one.lower(): one for one in choices}
    found = difflib.get_close_matches(word, list(lower), 1, alike)
    return lower[found[0]] if found else None


def did_you_mean(word: Any, choices: Iterable[Any]) -> str:
    """Return the question and a blank, or nothing where no choice is close, nor has the word as one of its parts."""
    choices = [str(one) for one in choices]
    parts = (one for one in choices if str(word).lower() in re.split("[-_.]", one.lower()))
    meant = closest(word, choices) or next(parts, None)
    return f"did you mean {meant}? " if meant else ""


def unknown(word: str, choices: Iterable[str], otherwise: str) -> tuple[str, str]:
    """Return what is wrong with a word that is none of these, and what to write instead."""
    meant = closest(word, choices)
    return "it is unknown", f"did you mean {meant}?" if meant else otherwise
