"""Hide the secrets in what a user wrote, for what is printed."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

# Ansible loads each plugin alone, without what lies around it.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from preflight.problems import SECRET, without_passwords

HIDDEN = "..."


def without_secrets(value: Any, names: Collection[str] = ()) -> Any:
    """``value`` with ``...`` in place of each secret: what stands under the name of one, and passwords in URLs.

    A text that is one of ``names`` stays, since it only refers to a secret (see to_python).
    """
    if isinstance(value, Mapping):
        return {key: _entry(str(key), item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item, names) for item in value]
    return without_passwords(value) if isinstance(value, str) else value


def _entry(key: str, value: Any, names: Collection[str]) -> Any:
    is_secret = SECRET.search(key) and isinstance(value, (str, int, float)) and value not in names
    return HIDDEN if is_secret else without_secrets(value, names)


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"without_secrets": without_secrets}
