"""Words that are nearly right."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

# How alike a word and what was meant are, at least.
ALIKE = 0.6


def closest(word: Any, choices: Iterable[Any], alike: float = ALIKE) -> str | None:
    """Return the choice that was probably meant, or None."""
    lower = {str(one).lower(): str(one) for one in choices}
    given = str(word).strip().lower()[:80]
    # Half of a name is not alike.
    found = difflib.get_close_matches(given, list(lower), 1, alike) or [
        one for one in lower if given and given in re.split("[-_.]", one)
    ]
    return lower[found[0]] if found else None


def did_you_mean(word: Any, choices: Iterable[Any]) -> str:
    """Return the question and a blank, or nothing where no choice is close."""
    meant = closest(word, choices)
    return f"did you mean {meant}? " if meant else ""


def unknown(word: str, choices: Iterable[str], otherwise: str) -> tuple[str, str]:
    """Return what is wrong with a word that is none of these, and what to write instead."""
    meant = closest(word, choices)
    return "it is unknown", f"did you mean {meant}?" if meant else otherwise
