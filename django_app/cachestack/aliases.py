"""What settings.CACHES says about each alias, in a form that is safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from django.conf import settings
from django.core.cache import BaseCache, caches

DEPLOYMENT = {"mode": "locmem", "client": "builtin"}

# Greedy up to the last '@', so that a password with a bare '/' or '@' in it is covered too.
_USERINFO = re.compile(r"://(?P<userinfo>.*)@")
_QUERY_SECRET = re.compile(r"(?P<name>[?&](?:user|username|password)=)(?P<value>[^&]*)", re.IGNORECASE)
_SECRET_OPTION = re.compile(r"password|secret", re.IGNORECASE)


@dataclass(frozen=True)
class Alias:
    """One entry of settings.CACHES.

    `servers` are the entries of LOCATION without user names and passwords, in Django's order.
    """

    name: str
    backend: str
    servers: tuple[str, ...]
    key_prefix: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def reads_from_replicas(self) -> bool:
        """Tell whether a read may reach another server than the write before it."""
        # The resilient client reads what its thread or task has written.
        return len(self.servers) > 1 and not self.backend.startswith("cachestack.resilient.")

    def connect(self) -> BaseCache:
        """Return this thread's cache object. Raise InvalidCacheBackendError if its class cannot be imported."""
        return caches[self.name]

    def mask(self, text: str) -> str:
        """Return the text with each password of this alias replaced."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return _USERINFO.sub("://***@", text)


def deployment() -> dict[str, str]:
    """Return {'mode': ..., 'client': ...} from settings.CACHESTACK."""
    return {**DEPLOYMENT, **getattr(settings, "CACHESTACK", {})}


def get_aliases() -> list[Alias]:
    """Return every alias of settings.CACHES, in its order."""
    return [_alias(name, conf) for name, conf in settings.CACHES.items()]


def _alias(name: str, conf: Mapping[str, Any]) -> Alias:
    location = conf.get("LOCATION") or []
    urls = re.split("[;,]", location) if isinstance(location, str) else [str(url) for url in location]
    secrets = {secret for url in urls for secret in _url_secrets(url)} | set(_option_secrets(conf))
    spellings = {spelling for secret in secrets for spelling in (secret, unquote(secret), quote(secret, ""))}
    return Alias(
        name=name,
        backend=conf.get("BACKEND", ""),
        servers=tuple(_QUERY_SECRET.sub(r"\g<name>***", _USERINFO.sub("://", url)) for url in urls),
        key_prefix=conf.get("KEY_PREFIX", ""),
        # The longest first: one password may be a part of another.
        secrets=tuple(sorted(filter(None, spellings), key=len, reverse=True)),
    )


def _url_secrets(url: str) -> Iterator[str]:
    for match in _USERINFO.finditer(url):
        password = match["userinfo"].partition(":")[2]
        yield password
        # A password that should have been percent-encoded is cut at these, and an error then names a piece of it.
        yield from re.split("[:/?#@]", password)
    for match in _QUERY_SECRET.finditer(url):
        if match["name"][1:].lower() == "password=":
            yield match["value"]


def _option_secrets(conf: Any) -> Iterator[str]:
    """Yield the values of the options that are called password or secret, at any depth."""
    if isinstance(conf, Mapping):
        for name, value in conf.items():
            if isinstance(value, (str, bytes, int)) and _SECRET_OPTION.search(str(name)):
                yield value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            else:
                yield from _option_secrets(value)
    elif isinstance(conf, (list, tuple)):
        for value in conf:
            yield from _option_secrets(value)
