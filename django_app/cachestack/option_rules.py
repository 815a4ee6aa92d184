"""What each option of the bundle's own client may be: one table of rules for every place where options stand.

Free of Django and of redis-py, since whoever checks an inventory asks it as well, on a machine that has neither.
What only a running project can tell, such as whether a class can be imported, cachestack.resilient.rules adds.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

# A rule takes a value and returns what is wrong with it, or None.
Rule = Callable[[Any], Optional[str]]

# The words for what writes a value, the default first. Signed is as safe as it can be without giving up what pickle
# can store; a class of one's own is a serializer, too.
SERIALIZERS = ("signed", "pickle", "json")
COMPRESSORS = ("none", "zlib", "lz4", "zstd")
DOTTED_PATH = re.compile(r"\w+(\.\w+)+")

# More than any number here has to be, and less than what sockets and Redis take: 31 years, a gigabyte.
MOST = 10**9


def number(*, least: float = 0.0, above: bool = False, whole: bool = False) -> Rule:
    """Return the rule for a number that is `least` or more, or `above` it."""

    def rule(value: Any) -> str | None:
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return f"must be {kind}, without quotes"
        # As it would be written here, NaN is within any bounds.
        if not (least < value if above else least <= value) or value > MOST:
            return f"must be {kind} {'above' if above else 'of at least'} {least:g}, and {MOST} at most"
        return None

    return rule


def text(value: Any) -> str | None:
    """Return what is wrong with it if it is no text."""
    return None if isinstance(value, str) else "must be text; leave it out if there is none"


def is_boolean(value: Any) -> str | None:
    """Return what is wrong with it if it is neither True nor False."""
    return None if isinstance(value, bool) else "must be True or False, without quotes"


def mapping(value: Any) -> str | None:
    """Return what is wrong with it if it is no dict."""
    return None if isinstance(value, Mapping) else "must be a dict"


class Choice:
    """The rule for a value that is one of the `choices`, and of the same type."""

    def __init__(self, *choices: Any) -> None:
        self.choices = choices

    def __call__(self, value: Any) -> str | None:
        """Return what is wrong with a value."""
        if any(type(value) is type(choice) and value == choice for choice in self.choices):
            return None
        hint = did_you_mean(value, self.choices) if isinstance(value, str) else ""
        return f"must be {' or '.join(repr(choice) for choice in self.choices)}{hint}"


def _client_name(value: Any) -> str | None:
    if isinstance(value, str) and re.fullmatch("[!-~]*", value):
        return None
    return "must be text without blanks and accents, as CLIENT SETNAME takes it"


def _keepalive(value: Any) -> str | None:
    if isinstance(value, Mapping) and all(type(word) is int for pair in value.items() for word in pair):
        return None
    return "must be a dict of numbers, such as {socket.TCP_KEEPIDLE: 60}"


def _tls_version(value: Any) -> str | None:
    return None if isinstance(value, ssl.TLSVersion) else "must be one of ssl.TLSVersion"


def timeout(value: Any) -> str | None:
    """Return what is wrong with an alias's TIMEOUT in seconds."""
    # Django takes 300 for what it cannot read, and 0, with which nothing is stored, for a fraction.
    if value is None:
        return None
    if isinstance(value, int) and value < 0:
        return "is over before it begins, so nothing would be stored; write None for ever, or a number of seconds"
    wrong = number(whole=True)(value)
    return wrong and f"{wrong}: seconds, or None for ever"


def version(value: Any) -> str | None:
    """Return what is wrong with an alias's VERSION."""
    return None if type(value) is int else "must be a whole number, without quotes"


def key_function(value: Any) -> str | None:
    """Return what is wrong with what names the function that makes keys."""
    if value is None or callable(value):
        return None
    return dotted_path(value) if isinstance(value, str) else "must be a function, or the dotted path of one"


def serializer(value: Any) -> str | None:
    """Return what is wrong with a serializer: a word for one, a dotted path, or an object or a class of one's own."""
    if isinstance(value, str):
        return dotted_path(value) if "." in value else Choice("pickle", "json", "signed")(value)
    if isinstance(value, type) or (callable(getattr(value, "dumps", None)) and callable(getattr(value, "loads", None))):
        return None
    return "must have the methods dumps and loads, or be 'pickle', 'json' or 'signed'"


def dotted_path(value: str) -> str | None:
    """Return what is wrong with the path of something that Python can import."""
    return None if DOTTED_PATH.fullmatch(value) else "must be a dotted path, such as 'package.module.name'"


def sentinels(value: Any) -> str | None:
    """Return what is wrong with a list of Sentinels, each a pair of a host and a port."""
    if not isinstance(value, (list, tuple)) or not value:
        return "must be a list of (host, port) pairs, such as [('10.0.0.1', 26379)]"
    known = set()
    for place, pair in enumerate(value, 1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            return f"has {show(pair)} as entry {place}; write a pair (host, port), such as ('10.0.0.1', 26379)"
        host, port = pair
        if not isinstance(host, str) or not is_host(host):
            return f"has {show(host)} as the host of entry {place}; write a host name or an IP address"
        if type(port) is not int or not 0 < port < 65536:
            return f"has {show(port)} as the port of entry {place}; write a number from 1 to 65535, without quotes"
        known.add((host.lower(), port))
    return "has the same Sentinel twice; remove one" if len(known) < len(value) else None


def is_host(text: str) -> bool:
    """Tell whether it can be a host name or an IP address. An underscore is none by the book, and Docker writes it."""
    try:
        if ":" in text:
            ipaddress.IPv6Address(text)
        # As the resolver does it.
        text.encode("idna")
    except ValueError:
        return False
    return bool(re.fullmatch(r"[\w.:%-]+", text))


def show(value: Any) -> str:
    """Return the value if it is short and cannot hold a password, as a URL does; otherwise what it is."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int) and abs(value) < 10**20:
        return str(int(value))
    if isinstance(value, str) and "://" not in value and re.fullmatch(r"[\w .,:/+-]{0,60}", value):
        return repr(str(value))
    return f"(of the type {type(value).__name__})"


def did_you_mean(word: str, choices: Iterable[Any]) -> str:
    """Return the question, or nothing where no choice is close."""
    lower = {str(choice).lower(): choice for choice in choices}
    close = difflib.get_close_matches(word[:60].lower(), list(lower), 1)
    return f"; did you mean {lower[close[0]]!r}?" if close else ""


# Arguments of redis-py's connections. https://redis.readthedocs.io/en/stable/connections.html
CONNECTION: dict[str, Rule] = {
    "username": text,
    "password": text,
    "client_name": _client_name,
    "max_connections": number(least=1, whole=True),
    "socket_timeout": number(above=True),
    "socket_connect_timeout": number(above=True),
    "health_check_interval": number(),
    "protocol": Choice(2, 3),
}
TCP: dict[str, Rule] = {"socket_keepalive": is_boolean, "socket_keepalive_options": _keepalive}
TLS: dict[str, Rule] = {
    "ssl_ca_certs": text,
    "ssl_ca_data": text,
    "ssl_ca_path": text,
    "ssl_cert_reqs": Choice("required", "optional", "none"),
    "ssl_certfile": text,
    "ssl_check_hostname": is_boolean,
    "ssl_ciphers": text,
    "ssl_keyfile": text,
    "ssl_min_version": _tls_version,
    "ssl_password": text,
}
POLICY: dict[str, Rule] = {
    "read_from": Choice("leader", "replicas"),
    "read_your_writes": number(),
    "max_lag": number(above=True),
    "on_error": Choice("miss", "raise"),
    "retry_deadline": number(),
    "log_interval": number(),
    "serializer": serializer,
    "compressor": Choice(*COMPRESSORS),
    "compress_from": number(whole=True),
}
DATABASE: dict[str, Rule] = {"db": number(whole=True)}
SENTINEL: dict[str, Rule] = {"sentinels": sentinels, "sentinel_kwargs": mapping}
# What stands beside OPTIONS; Django ignores anything else there.
ENTRY: dict[str, Rule] = {
    "TIMEOUT": timeout,
    "KEY_PREFIX": text,
    "VERSION": version,
    "KEY_FUNCTION": key_function,
    "OPTIONS": mapping,
}

# What people bring along from other backends, and what to write instead.
FOREIGN = {
    "MAX_ENTRIES": "remove it, Redis is bounded by its own maxmemory",
    "CULL_FREQUENCY": "remove it, Redis evicts by its own maxmemory-policy",
    "PASSWORD": "write password",
    "CLIENT_CLASS": "remove it, the BACKEND decides the client",
    "CONNECTION_POOL_KWARGS": "write its entries beside it",
    "IGNORE_EXCEPTIONS": "write on_error: 'miss'",
    "COMPRESSOR": "write compressor: 'none', 'zlib', 'lz4' or 'zstd'",
    "SERIALIZER": "write serializer: 'pickle', 'json' or 'signed'",
    "SENTINELS": "write sentinels",
    "SENTINEL_KWARGS": "write sentinel_kwargs",
    "retry": "write retry_deadline, in seconds",
    "retry_on_timeout": "write retry_deadline, in seconds",
    "retry_on_error": "write retry_deadline, in seconds",
    "decode_responses": "remove it, values are bytes until the serializer has read them",
    "ssl": "write rediss:// in LOCATION",
    "host": "write it in LOCATION",
    "port": "write it in LOCATION",
    "timeout": "write TIMEOUT beside OPTIONS, or socket_timeout",
    "replica_reads": "write read_from: 'replicas'",
    "read_from_replicas": "write read_from: 'replicas'",
    "deadline": "write retry_deadline",
}
