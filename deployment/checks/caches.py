"""What is wrong with the cache aliases of an inventory, or with a CACHES that its user wrote.

Django and redis-py find most of it at the first request, and some of it never: a timeout that is no number silently
becomes 300 seconds. See https://docs.djangoproject.com/en/stable/topics/cache/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from cachestack import entries
from cachestack import option_rules as rules
from cachestack.entries import Entry
from cachestack.option_rules import Rule
from deployment.checks.problems import NOTHING
from deployment.clients import CLIENTS, DJANGO_FLOOR, LOCMEM_OPTIONS
from deployment.specs import kind
from deployment.words import closest, did_you_mean, unknown


class Fault(NamedTuple):
    """What is wrong with one word of an alias (a path such as options.socket_timeout), and what to write instead."""

    alias: str
    word: str
    value: Any
    wrong: str
    fix: str


# A check takes a value and returns what is wrong with it and what to write instead, or None.
Check = Callable[[Any], "tuple[str, str] | None"]


def of(rule: Rule) -> Check:
    """Return the check by a rule of the client's table, in the words of somebody who writes YAML."""

    def check(value: Any) -> tuple[str, str] | None:
        wrong = rule(value)
        if wrong is None:
            return None
        if isinstance(rule, rules.Choice):
            meant = did_you_mean(value, rule.choices)
            return "it is unknown", f"{meant}choose {', '.join(map(str, rule.choices))}"
        if rule is rules.text:
            return f"it must be text, and is {kind(value)}", "write it in quotes"
        if rule is rules.is_boolean:
            return f"it must be true or false, and is {kind(value)}", "write true or false, without quotes"
        if rule is rules.sentinels:
            return f"it {wrong.partition('; ')[0]}", "write pairs of a host and a port: [[10.0.0.1, 26379], ...]"
        return as_fault(wrong, "it ")

    return check


def as_fault(problem: str, subject: str = "") -> tuple[str, str]:
    """Return a problem of the client's as what is wrong and what to write instead."""
    wrong, _, fix = problem.partition("; ")
    return subject + wrong, fix or "write that, or remove it for the default"


def or_none(check: Check) -> Check:
    """Return the check of a value that may be none as well."""
    return lambda value: None if value is None else check(value)


def seconds(value: Any) -> tuple[str, str] | None:
    """Refuse a timeout that Django would not take as it is written, and say what Django would make of it."""
    wrong = rules.timeout(value)
    if wrong is None:
        return None
    fix = "write a whole number of seconds, null for ever, or 0 for no caching"
    if isinstance(value, str):
        became = "Django would silently take 300 seconds" if not _is_number(value) else "a number has no quotes"
        return f"it is text: {became}", fix
    if isinstance(value, float):
        rounded = int(value) if math.isfinite(value) else "refused"
        return f"it is a fraction, and would be {rounded}{'' if rounded else ': nothing would be cached'}", fix
    if isinstance(value, int) and value < 0:
        return "it is over before it begins: nothing would be cached", fix
    return f"it {wrong}", fix


def dotted(value: Any) -> tuple[str, str] | None:
    """Refuse what is no dotted path of a class."""
    if isinstance(value, str) and rules.dotted_path(value) is None:
        return None
    return "it must be the dotted path of a class", "write one such as package.module.Name"


def anything(value: Any) -> None:
    """Leave a value to the library."""


def of_python(value: Any) -> tuple[str, str] | None:
    """Refuse what only Python can write: classes, callables and the like."""
    if isinstance(value, (bool, int, float, str, list, tuple, Mapping)):
        return "it wants an object of Python, which an inventory cannot hold", "remove it, or set it in your settings"
    return None


def parser(value: Any) -> tuple[str, str] | None:
    """Refuse the parser of old documentation."""
    if value == "redis.connection.HiredisParser":
        return "redis-py has it no more", "remove it; hiredis is used where it is installed"
    return dotted(value)


# Of TLS without a look at the certificate, or at the name in it.
UNCHECKED_TLS = "whoever is in between could read and forge everything", "remove it; redis_tls brings what is needed"


def checking(check: Check) -> Check:
    """Refuse what makes TLS check nothing, and of other values those that ``check`` refuses."""
    return lambda value: UNCHECKED_TLS if value is False or value == "none" else check(value)


text, mapping, boolean, sentinels = of(rules.text), of(rules.mapping), of(rules.is_boolean), of(rules.sentinels)
positive, whole = of(rules.number(above=True)), of(rules.number(whole=True))
# What makes TLS check nothing is no option of an inventory, though the client has it.
CHECKING = {name: checking(of(rules.TLS[name])) for name in ("ssl_cert_reqs", "ssl_check_hostname")}
# Arguments of redis-py's connections and pools. https://redis.readthedocs.io/en/stable/connections.html
CONNECTION: dict[str, Check] = {
    **{name: of(rule) for name, rule in {**rules.CONNECTION, **rules.TCP, **rules.TLS}.items()},
    **CHECKING,
    "socket_timeout": or_none(positive),
    "socket_connect_timeout": or_none(positive),
    "retry_on_timeout": boolean,
    "parser_class": parser,
    **dict.fromkeys(("encoding", "encoding_errors", "lib_name", "lib_version", "ssl_ocsp_expected_cert"), text),
    "socket_read_size": of(rules.number(least=1, whole=True)),
    **dict.fromkeys(("ssl_validate_ocsp", "ssl_validate_ocsp_stapled"), boolean),
    **dict.fromkeys(
        (
            "command_packer",
            "connection_class",
            "credential_provider",
            "driver_info",
            "redis_connect_func",
            "retry",
            "retry_on_error",
            "socket_type",
            "ssl_exclude_verify_flags",
            "ssl_include_verify_flags",
            "ssl_min_version",
            "ssl_ocsp_context",
        ),
        of_python,
    ),
}
# What only Django's own backend takes beside these.
BUILTIN: dict[str, Check] = {**CONNECTION, "serializer": dotted, "pool_class": dotted}
# The names of the bundle's own client, but for the database, which stands beside the options.
RESILIENT: dict[str, Check] = {
    name: of(rule)
    for name, rule in {**rules.CONNECTION, **rules.TCP, **rules.TLS, **rules.POLICY, **rules.SENTINEL}.items()
} | CHECKING
# What django-redis reads; it ignores any other word. https://github.com/jazzband/django-redis
DJANGO_REDIS: dict[str, Check] = {
    "CLIENT_CLASS": dotted,
    "COMPRESSOR": dotted,
    "CONNECTION_FACTORY": dotted,
    "CONNECTION_POOL_CLASS": dotted,
    "CONNECTION_POOL_KWARGS": mapping,
    "IGNORE_EXCEPTIONS": boolean,
    "PARSER_CLASS": dotted,
    "PASSWORD": text,
    "PICKLE_VERSION": of(rules.Choice(-1, 0, 1, 2, 3, 4, 5)),
    "REDIS_CLIENT_CLASS": dotted,
    "REDIS_CLIENT_KWARGS": mapping,
    "REPLICA_READ_ONLY": boolean,
    "REVERSE_KEY_FUNCTION": text,
    "SENTINELS": sentinels,
    "SENTINEL_KWARGS": mapping,
    "SERIALIZER": dotted,
    "SOCKET_CONNECT_TIMEOUT": positive,
    "SOCKET_TIMEOUT": positive,
    "USERNAME": text,
}
# What belongs elsewhere, whoever the client is.
ELSEWHERE = {
    "MAX_ENTRIES": ("it bounds locmem alone, and Redis raises a TypeError", "remove it; redis_maxmemory bounds Redis"),
    "CULL_FREQUENCY": ("it bounds locmem alone, and Redis raises a TypeError", "remove it; redis_maxmemory bounds it"),
    "db": ("it is no option here", "write db beside options"),
    "DB": ("it is no option here", "write db beside options"),
    "host": ("it would be ignored", "the inventory's hosts decide where the servers are"),
    "port": ("it would be ignored", "redis_port decides it"),
    "ssl": ("redis-py raises a TypeError", "write redis_tls: true"),
    "timeout": (
        "it belongs to redis.BlockingConnectionPool alone",
        "write timeout beside options, or socket_timeout, or pool_class: redis.BlockingConnectionPool as well",
    ),
    "decode_responses": ("values are bytes, which it would try to read as text", "remove it"),
}
ALIAS: dict[str, Check] = {
    "compressor": of(rules.POLICY["compressor"]),
    "db": of(rules.DATABASE["db"]),
    "key_prefix": text,
    "max_entries": of(rules.number(least=1, whole=True)),
    "on_error": of(rules.POLICY["on_error"]),
    "options": anything,
    "read_from": of(rules.POLICY["read_from"]),
    "serializer": of(rules.Choice("pickle", "json", "signed")),
    "timeout": seconds,
    "version": of(rules.version),
}
# The options of each client.
OF_CLIENT = {"builtin": BUILTIN, "resilient": RESILIENT, "django_redis": DJANGO_REDIS}
# The value of what is none of these may be a secret with a slip in its name.
KNOWN = {*ELSEWHERE, *(option for options in OF_CLIENT.values() for option in options)}


def alias_faults(
    aliases: Any, mode: str, client: str, session_alias: str | None = None, databases: int | None = None
) -> Iterator[Fault]:
    """Find what is wrong with the aliases of an inventory; the word is "" where the alias itself is.

    `databases`: how many the servers have, where that is known.
    """
    if not isinstance(aliases, Mapping):
        yield Fault("", "", NOTHING, "this is no mapping of aliases", "write {default: {}}")
        return
    if "default" not in aliases:
        yield Fault("", "", NOTHING, "Django needs a cache alias named 'default'", "add default: {}")
    if session_alias and session_alias not in aliases:
        yield Fault(
            session_alias,
            "",
            NOTHING,
            "the sessions use this alias, and there is none of that name",
            "add it to django_app_cache_aliases, or set django_app_session_alias to one of "
            f"{', '.join(map(str, aliases))}",
        )
    for name, given in aliases.items():
        alias = {} if given is None else given
        if not isinstance(name, str):
            yield Fault(str(name), "", NOTHING, "the name of an alias must be text", f"write '{name}'")
            continue
        if not isinstance(alias, Mapping):
            yield Fault(name, "", NOTHING, "this is no mapping", "write {} for an alias with nothing special")
            continue
        yield from _words(name, alias)
        if mode != "locmem" and client in CLIENTS:
            yield from _fit(name, alias, mode, client, databases)
        options = alias.get("options")
        if isinstance(options, Mapping):
            for option, value in options.items():
                if option == "timeout" and "pool_class" in options:
                    continue
                if wrong := _option_fault(str(option), value, mode, client):
                    yield Fault(name, f"options.{option}", value if str(option) in KNOWN else NOTHING, *wrong)
        elif options is not None:
            yield Fault(name, "options", NOTHING, "this is no mapping", "write {option: value}")


def alias_doubts(aliases: Any, client: str, session_alias: str | None) -> Iterator[Fault]:
    """Find what works and is hardly meant."""
    alias = aliases.get(session_alias) if isinstance(aliases, Mapping) else None
    if not isinstance(alias, Mapping) or not session_alias:
        return
    options = alias.get("options") if isinstance(alias.get("options"), Mapping) else {}
    fix = "remove it, or give the sessions an alias of their own"
    if client == "resilient" and "miss" in (alias.get("on_error"), (options or {}).get("on_error")):
        yield Fault(session_alias, "on_error", "miss", "an error would look like a user who is not logged in", fix)
    if client == "django_redis" and (options or {}).get("IGNORE_EXCEPTIONS") is True:
        yield Fault(session_alias, "options.IGNORE_EXCEPTIONS", True, "sessions cannot be made without an answer", fix)


def _words(name: str, alias: Mapping[str, Any]) -> Iterator[Fault]:
    for word, value in alias.items():
        if word not in ALIAS:
            if str(word).upper() == "LOCATION":
                wrong = ("LOCATION comes from the inventory's hosts", "remove it, or write the whole django_app_caches")
            else:
                wrong = unknown(str(word), ALIAS, f"an alias has {', '.join(ALIAS)}")
            yield Fault(name, str(word), NOTHING, *wrong)
        elif found := ALIAS[word](value):
            yield Fault(name, word, value, *found)


def _fit(name: str, alias: Mapping[str, Any], mode: str, client: str, databases: int | None) -> Iterator[Fault]:
    """What is right by itself, and not for this mode or client."""
    db = alias.get("db")
    if isinstance(db, int) and not isinstance(db, bool):
        if mode == "cluster" and db:
            yield Fault(name, "db", db, "a Redis Cluster has the database 0 alone", "remove db")
        elif databases is not None and db >= databases:
            fix = f"write 0 to {databases - 1}, or raise databases in redis_config"
            yield Fault(name, "db", db, f"the servers have {databases} databases", fix)
    if client == "builtin" and alias.get("compressor", "none") in rules.COMPRESSORS[1:]:
        fix = "write cache_client: resilient or django_redis"
        yield Fault(name, "compressor", alias["compressor"], "cache_client builtin has none", fix)
    for word in ("on_error", "serializer"):
        if word in alias and client != "resilient":
            fix = "write cache_client: resilient"
            yield Fault(name, word, alias[word], f"cache_client {client} does not know it", fix)


def _option_fault(option: str, value: Any, mode: str, client: str) -> tuple[str, str] | None:
    if mode == "locmem":
        # Aliases outlive a change of mode, so options of other clients are left out and no fault.
        return ALIAS["max_entries"](value) if option in LOCMEM_OPTIONS else None
    if option in ELSEWHERE:
        return ELSEWHERE[option]
    if client not in CLIENTS:
        return None
    # What is in lower case goes to redis-py, whose arguments the builtin client's are.
    known = {**CONNECTION, **DJANGO_REDIS} if client == "django_redis" else OF_CLIENT[client]
    if option not in known:
        return _foreign(option, known, client)
    if option == "CONNECTION_POOL_KWARGS":
        return "its entries would hide those of the inventory", "write them beside it, in lower case"
    return known[option](value)


def _foreign(option: str, known: Mapping[str, Check], client: str) -> tuple[str, str]:
    owner = next((other for other, words in OF_CLIENT.items() if option in words), None)
    if owner:
        return f"it belongs to {owner}, and cache_client is {client}", f"remove it, or write cache_client: {owner}"
    return unknown(option, known, "see the client's documentation")


# A CACHES that its user wrote.

BACKENDS = {
    "django.core.cache.backends.redis.RedisCache": "builtin",
    "django_redis.cache.RedisCache": "django_redis",
    **dict.fromkeys(entries.BACKENDS.values(), "resilient"),
}
KINDS = {backend: kind for kind, backend in entries.BACKENDS.items()}
ENTRY = ("BACKEND", "LOCATION", "TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION", "OPTIONS")
SCHEMES = ("redis", "rediss", "unix")


def caches_faults(
    caches: Mapping[str, Any], django: tuple[int, ...] = (), databases: int | None = None, used: str = ""
) -> Iterator[Fault]:
    """Find what is wrong with a CACHES, as far as it can be seen without its servers.

    `django`: the version that reads it, `databases`: how many the servers have, `used`: the client that is installed;
    where these are known.
    """
    if "default" not in caches:
        yield Fault("", "", NOTHING, "Django needs a cache alias named 'default'", "add one")
    first: dict[str, tuple[str, Any]] = {}
    for key, entry in caches.items():
        name = str(key)
        if not isinstance(entry, Mapping):
            yield Fault(name, "", NOTHING, "this is no mapping", "write BACKEND, LOCATION and OPTIONS")
            continue
        backend = str(entry.get("BACKEND", ""))
        client = BACKENDS.get(backend)
        yield from _of_entry(name, entry) if client != "resilient" else ()
        if client:
            if django and django < DJANGO_FLOOR[client]:
                yield Fault(
                    name, "BACKEND", backend, f"Django {'.'.join(map(str, django))} does not have it", "choose another"
                )
            if used and client != used and "django_redis" in (client, used):
                fix = f"write cache_client: {client}, so that it is installed"
                yield Fault(name, "BACKEND", backend, f"it belongs to {client}, and cache_client is {used}", fix)
            if client == "resilient":
                yield from _by_client(name, entry, databases)
            else:
                yield from _written(name, entry, client, databases)
            if client == "django_redis":
                yield from _shared_pool(name, entry, first)
        elif not backend or (meant := closest(backend, BACKENDS, 0.9)):
            fix = f"did you mean {meant}?" if backend else f"write one, such as {next(iter(BACKENDS))}"
            yield Fault(name, "BACKEND", backend or NOTHING, "it is unknown" if backend else "there is none", fix)


def _of_entry(name: str, entry: Mapping[str, Any]) -> Iterator[Fault]:
    """What stands beside OPTIONS and LOCATION."""
    for word in entry:
        if word not in ENTRY:
            yield Fault(name, str(word), NOTHING, *unknown(str(word), ENTRY, f"an entry has {', '.join(ENTRY)}"))
    for word, check in (("TIMEOUT", seconds), ("KEY_PREFIX", text), ("VERSION", ALIAS["version"])):
        if word in entry and (wrong := check(entry[word])):
            yield Fault(name, word, entry[word], *wrong)


def _by_client(name: str, given: Mapping[str, Any], databases: int | None) -> Iterator[Fault]:
    """What the bundle's own client says of an entry, and what only an inventory knows."""
    entry = read_entry(given)
    for problem in entry.problems:
        yield Fault(name, "", NOTHING, *as_fault(problem))
    for option, check in CHECKING.items():
        if option in entry.given and check(entry.given[option]) == UNCHECKED_TLS:
            yield Fault(name, f"OPTIONS.{option}", entry.given[option], *UNCHECKED_TLS)
    named = [entry.given.get("db"), *(server.db for server in entry.servers)]
    if databases is not None and any(type(db) is int and db >= databases for db in named):
        yield Fault(name, "", NOTHING, f"the servers have {databases} databases", f"write a db of 0 to {databases - 1}")


def read_entry(given: Mapping[str, Any]) -> Entry:
    """Return an entry of CACHES with a backend of the bundle's own client, as that client reads it."""
    params = {word: value for word, value in given.items() if word not in ("BACKEND", "LOCATION")}
    return Entry(KINDS[str(given["BACKEND"])], given.get("LOCATION", ""), params)


def _shared_pool(name: str, entry: Mapping[str, Any], first: dict[str, tuple[str, Any]]) -> Iterator[Fault]:
    """django-redis has one pool for each URL, with the options of who came first."""
    for url in _urls(entry.get("LOCATION")):
        other, options = first.setdefault(url, (name, entry.get("OPTIONS")))
        if options != entry.get("OPTIONS"):
            wrong = f"django-redis would connect with the options of {other}, which has the same URL"
            yield Fault(name, "LOCATION", NOTHING, wrong, "give it another db or the same options")


def _written(name: str, entry: Mapping[str, Any], client: str, databases: int | None) -> Iterator[Fault]:
    location = entry.get("LOCATION")
    urls = _urls(location)
    if client == "django_redis" and isinstance(location, str) and ";" in location:
        one = "django-redis takes it for one URL, and the database 0"
        yield Fault(name, "LOCATION", NOTHING, one, "write a list of URLs")
    if not urls:
        yield Fault(name, "LOCATION", entry.get("LOCATION"), "there is no server", "write a list of URLs")
    for url in urls:
        if wrong := url_fault(url):
            # One that has more than an address may have a password.
            is_plain = re.fullmatch(r"\w*(:/{0,2})?[\w.-]*(:\d+)?(/\w*)?", url) is not None
            yield Fault(name, "LOCATION", url if is_plain else NOTHING, *wrong)
    if len(set(urls)) < len(urls):
        yield Fault(name, "LOCATION", NOTHING, "it has a server twice", "remove one")
    options = entry.get("OPTIONS") or {}
    if not isinstance(options, Mapping):
        yield Fault(name, "OPTIONS", NOTHING, "this is no mapping", "write {option: value}")
        return
    known = OF_CLIENT[client] if client == "django_redis" else {**OF_CLIENT[client], "db": whole}
    yield from _clashes(name, urls, options, databases)
    for option, value in options.items():
        if option == "timeout" and "pool_class" in options:
            continue
        if option in known:
            if wrong := known[option](value):
                yield Fault(name, f"OPTIONS.{option}", value, *wrong)
        elif client == "django_redis" and option in CONNECTION:
            wrong = "django-redis would ignore it", "write it in CONNECTION_POOL_KWARGS"
            yield Fault(name, f"OPTIONS.{option}", value, *wrong)
        elif option in LOCMEM_OPTIONS:
            yield Fault(name, f"OPTIONS.{option}", value, *ELSEWHERE[option])
        else:
            yield Fault(name, f"OPTIONS.{option}", NOTHING, *_foreign(str(option), known, client))
    pool = options.get("CONNECTION_POOL_KWARGS", {}) if client == "django_redis" else {}
    words = {**CONNECTION, "ssl": boolean} if "SENTINELS" in options else CONNECTION
    for option, value in pool.items() if isinstance(pool, Mapping) else ():
        wrong_option = words[option](value) if option in words else unknown(option, words, "see redis-py")
        if wrong_option:
            shown = value if option in words else NOTHING
            yield Fault(name, f"OPTIONS.CONNECTION_POOL_KWARGS.{option}", shown, *wrong_option)


def _clashes(name: str, urls: list[str], options: Mapping[str, Any], databases: int | None) -> Iterator[Fault]:
    """What URLs and options say together."""
    for url in urls:
        said = re.search(r"://[^/]*/(\d+)$|[?&]db=(\d+)", url)
        db = int(said[1] or said[2]) if said else None
        if db is not None and databases is not None and db >= databases:
            yield Fault(
                name, "LOCATION", NOTHING, f"the servers have {databases} databases", f"write 0 to {databases - 1}"
            )
        if db is not None and "db" in options and str(options["db"]) != str(db):
            yield Fault(name, "OPTIONS.db", options["db"], f"the URL says {db}, and would win silently", "say it once")
    given = options.get("CONNECTION_POOL_KWARGS")
    pool = given if isinstance(given, Mapping) else {}
    if "SENTINELS" in options and any(url.startswith("rediss://") for url in urls):
        fix = "write redis://, and ssl: true in CONNECTION_POOL_KWARGS"
        yield Fault(name, "LOCATION", NOTHING, "redis-py would ask no Sentinel, and raises a TypeError", fix)
    # To find servers with TLS by Sentinel, django-redis is told so by `ssl`.
    plain = [url for url in urls if url.startswith("redis://")] if pool.get("ssl") is not True else []
    for option in (*options, *pool):
        if plain and str(option).startswith("ssl_"):
            yield Fault(
                name, f"OPTIONS.{option}", NOTHING, "redis-py raises a TypeError with redis://", "write rediss://"
            )
        if any(url.startswith("unix://") for url in urls) and str(option).startswith("socket_keepalive"):
            yield Fault(name, f"OPTIONS.{option}", NOTHING, "redis-py raises a TypeError with unix://", "remove it")


# What makes TLS check nothing when it stands in a URL, as redis-py reads it there.
UNCHECKED_IN_URL = {"ssl_cert_reqs": ("none",), "ssl_check_hostname": ("0", "f", "false", "n", "no")}


def url_fault(url: str) -> tuple[str, str] | None:
    """Return what is wrong with the URL of a server."""
    scheme, separator, rest = url.partition("://")
    if scheme not in SCHEMES or not separator or not rest:
        return "it must start with redis://, rediss:// or unix://", "write redis://address:port"
    if url != url.strip():
        return "it has blanks around it", "remove them"
    authority = rest.rpartition("@")[0]
    if authority and (re.search(r"[@/#?\[\]]", authority) or re.search(r"%(?![0-9A-Fa-f]{2})", authority)):
        return "its password has characters that must be percent-encoded", "write it as the option password instead"
    if scheme == "unix":
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "its port is no number from 1 to 65535", "write redis://address:port"
    if port == 0 or not parts.hostname:
        return "it has no address or no port", "write redis://address:port"
    if not re.fullmatch(r"/?|/[0-9]+", parts.path):
        return "its path is no database: redis-py would silently take 0", "write redis://address:port/1"
    for name, value in parse_qsl(parts.query):
        if value.lower() in UNCHECKED_IN_URL.get(name, ()):
            return UNCHECKED_TLS
    return None


def _urls(location: Any) -> list[str]:
    """The servers of a LOCATION, as Django's backend splits it."""
    if isinstance(location, str):
        return [url for url in re.split("[;,]", location) if url]
    if isinstance(location, Iterable) and not isinstance(location, Mapping):
        return [str(url) for url in location]
    return []


def _is_number(value: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", value.strip()) is not None
