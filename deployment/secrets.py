"""What is a secret, by its name or in a URL, and texts and values without them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

# Names of variables, options and directives whose values are never shown.
SECRET = re.compile(
    r"pass(word|wd)?([-_.]|$)|requirepass|masterauth|secret|token|credential|api_?key|auth([-_.]|$)", re.I
)
# Directives of redis.conf and sentinel.conf whose values are never shown. The part configuration has the
# same pattern on the managed host (host/configuration.py), where this package is not; a test compares them.
SECRET_DIRECTIVE = re.compile(r"user$|.*(pass|passwd|password|auth)$|sentinel .*-pass\b")
# Environment variables that hold a secret themselves, and not the name of a file with one.
SECRET_IN_ENVIRONMENT = re.compile(
    r".*(PASSWORD|PASSWD|SECRET|TOKENS?(?=_|$)|CREDENTIALS?|API_?KEY|PRIVATE_?KEY)(?!.*_(FILE|PATH|DIR|URL)$).*", re.I
)
# A URL with a password.
SECRET_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/@]*:[^/@]+@.*", re.I | re.S)
# What is shown in place of a secret.
HIDDEN = "..."


def without_passwords(text: str) -> str:
    """Return a text without the passwords in its URLs."""
    text = re.sub(r"://(?:([^/\s:@]*:)(?:(?!://).)*|[^/\s:@]+)@", r"://\1...@", text)
    return re.sub(r"([?&](?:password|username)=)[^&\s'\"]*", r"\1...", text, flags=re.I)


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
