"""What each option may be: a table of rules for every place where options stand."""

from __future__ import annotations

import difflib
import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Optional

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .codecs import COMPRESSORS, SERIALIZERS, load_serializer

# A rule takes a value and returns what is wrong with it, or None.
Rule = Callable[[Any], Optional[str]]

# More than any number here has to be, and less than what sockets and Redis take: 31 years, a gigabyte.
MOST = 10**9


def _number(*, least: float = 0.0, above: bool = False, whole: bool = False) -> Rule:
    def rule(value: Any) -> str | None:
        kind = "a whole number" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            return f"must be {kind}, without quotes"
        # As it would be written here, NaN is within any bounds.
        if not (least < value if above else least <= value) or value > MOST:
            return f"must be {kind} {'above' if above else 'of at least'} {least:g}, and {MOST} at most"
        return None

    return rule


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be text; leave it out if there is none"


def is_boolean(value: Any) -> str | None:
    """Return what is wrong with it if it is neither True nor False."""
    return None if isinstance(value, bool) else "must be True or False, without quotes"


def _mapping(value: Any) -> str | None:
    return None if isinstance(value, Mapping) else "must be a dict"


def _choice(*choices: Any) -> Rule:
    def rule(value: Any) -> str | None:
        if any(type(value) is type(choice) and value == choice for choice in choices):
            return None
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"must be {' or '.join(repr(choice) for choice in choices)}{hint}"

    return rule


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


def _timeout(value: Any) -> str | None:
    # Django takes 300 for what it cannot read, and 0, with which nothing is stored, for a fraction.
    if value is None:
        return None
    if isinstance(value, int) and value < 0:
        return "is over before it begins, so nothing would be stored; write None for ever, or a number of seconds"
    wrong = _number(whole=True)(value)
    return wrong and f"{wrong}: seconds, or None for ever"


def _version(value: Any) -> str | None:
    return None if type(value) is int else "must be a whole number, without quotes"


def _key_function(value: Any) -> str | None:
    if value is None or callable(value):
        return None
    found, wrong = _load(import_string, value) if isinstance(value, str) else (None, None)
    return wrong or (None if callable(found) else "must be a function, or the dotted path of one")


def _serializer(value: Any) -> str | None:
    if isinstance(value, str) and value == "signed":
        with suppress(ImproperlyConfigured):
            if settings.SECRET_KEY:
                return None
        return "needs SECRET_KEY, which is empty; write one"
    if isinstance(value, str) and "." not in value:
        return _choice(*SERIALIZERS)(value)
    found, wrong = _load(load_serializer, value)
    if not wrong and not (callable(getattr(found, "dumps", None)) and callable(getattr(found, "loads", None))):
        return "must have the methods dumps and loads, or be 'pickle', 'json' or 'signed'"
    return wrong


def _load(load: Callable[[Any], Any], value: Any) -> tuple[Any, str | None]:
    """Return what is loaded, and what is wrong with it."""
    if isinstance(value, str) and not re.fullmatch(r"\w+(\.\w+)+", value):
        return None, "must be a dotted path, such as 'package.module.name'"
    try:
        return load(value), None
    except ImportError as error:
        return None, f"cannot be imported: {error}"
    # A module can raise anything while it is imported, and a class while it is called.
    except Exception as error:
        return None, f"cannot be used, it raises {type(error).__name__}"


def _compressor(value: Any) -> str | None:
    wrong = _choice(*COMPRESSORS)(value)
    if wrong:
        return wrong
    try:
        COMPRESSORS[value].load()
    except ImportError:
        return f"needs a package that is not installed: pip install {COMPRESSORS[value].package}"
    return None


def _sentinels(value: Any) -> str | None:
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
    "username": _text,
    "password": _text,
    "client_name": _client_name,
    "max_connections": _number(least=1, whole=True),
    "socket_timeout": _number(above=True),
    "socket_connect_timeout": _number(above=True),
    "health_check_interval": _number(),
    "protocol": _choice(2, 3),
}
TCP: dict[str, Rule] = {"socket_keepalive": is_boolean, "socket_keepalive_options": _keepalive}
TLS: dict[str, Rule] = {
    "ssl_ca_certs": _text,
    "ssl_ca_data": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _choice("required", "optional", "none"),
    "ssl_certfile": _text,
    "ssl_check_hostname": is_boolean,
    "ssl_ciphers": _text,
    "ssl_keyfile": _text,
    "ssl_min_version": _tls_version,
    "ssl_password": _text,
}
POLICY: dict[str, Rule] = {
    "read_from": _choice("leader", "replicas"),
    "read_your_writes": _number(),
    "max_lag": _number(above=True),
    "on_error": _choice("miss", "raise"),
    "retry_deadline": _number(),
    "log_interval": _number(),
    "serializer": _serializer,
    "compressor": _compressor,
    "compress_from": _number(whole=True),
}
DATABASE: dict[str, Rule] = {"db": _number(whole=True)}
SENTINEL: dict[str, Rule] = {"sentinels": _sentinels, "sentinel_kwargs": _mapping}
# What stands beside OPTIONS; Django ignores anything else there.
ENTRY: dict[str, Rule] = {
    "TIMEOUT": _timeout,
    "KEY_PREFIX": _text,
    "VERSION": _version,
    "KEY_FUNCTION": _key_function,
    "OPTIONS": _mapping,
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
