"""Rules for what Django is told: its version, its client, its caches and its other settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployment.checks.caches import (
    Fault,
    alias_doubts,
    alias_faults,
    as_fault,
    caches_faults,
)
from deployment.checks.problems import NOTHING, Finding
from deployment.checks.rendered import django_caches
from deployment.checks.servers import is_host
from deployment.clients import CLIENTS, DATABASES, DJANGO_FLOOR, UNABLE
from deployment.model import Deployment, Inventory, django_version
from deployment.render.caches import CacheSettingsError
from deployment.specs import defaults, is_whole
from deployment.topology import redis_sentinels

# The settings that the inventory has words of its own for.
SETTINGS = {
    "ALLOWED_HOSTS": "write django_app_allowed_hosts",
    "CACHES": "write django_app_cache_aliases, or django_app_caches for the whole",
    "SECRET_KEY": "write django_app_secret_key",
    "SESSION_CACHE_ALIAS": "write django_app_session_alias",
}


def clients(deployment: Deployment) -> Iterator[Finding]:
    """Not every client serves every mode, and not every Django has every client."""
    mode = deployment.mode
    for host in deployment.apps:
        client, version = deployment.client(host), deployment.get(host, "django_app_django_version")
        if client not in CLIENTS or mode == "locmem":
            continue
        if (client, mode) in UNABLE:
            fix = "write cache_client: resilient, or remove it for the default"
            yield Finding(host, "cache_client", client, f"it has no mode {mode}", fix)
            continue
        floor, django = DJANGO_FLOOR[client], django_version(version)
        if django != (0,) and django < floor:
            can = [other for other in CLIENTS if DJANGO_FLOOR[other] <= django and (other, mode) not in UNABLE]
            fix = f"write cache_client: {can[0]}, or" if can else "write"
            wrong = f"Django {version} has no client {client}, which needs {'.'.join(map(str, floor))} or later"
            yield Finding(host, "cache_client", client, wrong, f"{fix} a later django_app_django_version")


def twice(inventory: Inventory) -> Iterator[Finding]:
    """A machine has one service django_app, so that a second Django host there would replace the first."""
    first: dict[tuple[str, str], str] = {}
    for deployment in inventory.deployments:
        for host in deployment.apps:
            # Each directory of supervisor has one as well.
            place = (deployment.machine(host), str(deployment.get(host, "service_dir")))
            other = first.setdefault(place, host)
            if other != host:
                wrong = f"{other} is on the same machine, which can have one service django_app"
                fix = "remove one of them, and write django_app_workers for more processes"
                yield Finding(host, "", NOTHING, wrong, fix)


def aliases(deployment: Deployment) -> Iterator[Finding]:
    """What an alias says wrong is found at the first request, or never."""
    known: dict[str, list[Fault]] = {}
    for host in deployment.apps:
        client = deployment.client(host)
        if deployment.mapping(host, "django_app_caches"):
            continue
        if client not in CLIENTS or (client, deployment.mode) in UNABLE:
            # Another rule says so; the rest is told for the client that it will be.
            client = "resilient"
        found, session_alias = deployment.aliases(host), deployment.session_alias(host)
        key = repr((found, client, session_alias))
        if key not in known:
            known[key] = list(alias_faults(found, deployment.mode, client, session_alias, _databases(deployment)))
        faults = [*known[key], *_plain_options(deployment, found, client)]
        yield from (_finding(host, "django_app_cache_aliases", fault) for fault in faults)
        if not faults and deployment.nodes:
            yield from _refused(deployment, host, client, found, session_alias)


def _plain_options(deployment: Deployment, found: Any, client: str) -> Iterator[Fault]:
    """Options of connections that the servers do not have: of TLS, or of TCP where there is a socket."""
    servers = deployment.nodes
    # What others say of where they are has no sockets; and where one is reached with TLS all are.
    tells = deployment.mode in ("sentinel", "cluster")
    sockets = [not tells and bool(deployment.get(node, "redis_socket")) for node in servers]
    has_tls = any(deployment.get(node, "redis_tls") is True and not socket for node, socket in zip(servers, sockets))
    has_socket = any(sockets) and not has_tls
    for name, alias in found.items() if isinstance(found, Mapping) else ():
        options = alias.get("options") if isinstance(alias, Mapping) else None
        for option in options if isinstance(options, Mapping) and client != "resilient" and servers else ():
            if str(option).startswith("ssl_") and not has_tls:
                wrong = "redis-py raises a TypeError without TLS"
                yield Fault(str(name), f"options.{option}", NOTHING, wrong, "remove it, or write redis_tls: true")
            if str(option).startswith("socket_keepalive") and has_socket:
                wrong = "redis-py raises a TypeError on a Unix socket"
                yield Fault(str(name), f"options.{option}", NOTHING, wrong, "remove it")


def alias_warnings(deployment: Deployment) -> Iterator[Finding]:
    """The caches work, but hardly as they are meant, such as with sessions that are lost without an error."""
    for host in deployment.apps:
        found, session_alias = deployment.aliases(host), deployment.session_alias(host)
        written = deployment.mapping(host, "django_app_caches")
        for fault in alias_doubts(found, deployment.client(host), session_alias) if not written else ():
            yield _finding(host, "django_app_cache_aliases", fault)
        options = written.get(session_alias, {}).get("OPTIONS", {}) if written else {}
        if options.get("IGNORE_EXCEPTIONS") is True:
            wrong, fix = (
                "sessions cannot be made without an answer",
                "remove it, or give the sessions an entry of their own",
            )
            yield Finding(host, f"django_app_caches.{session_alias}.OPTIONS.IGNORE_EXCEPTIONS", True, wrong, fix)


def _refused(
    deployment: Deployment, host: str, client: str, found: Mapping[str, Any], session_alias: str
) -> Iterator[Finding]:
    """What only shows when the caches are made, such as two aliases that would share a pool."""
    nodes = [
        {
            "name": name,
            # Whether its address is one another rule says.
            "address": f"redis-{number}",
            "port": defaults()["redis_port"],
            "tls": deployment.get(name, "redis_tls") is True,
            "socket": deployment.get(name, "redis_socket") or None,
        }
        for number, name in enumerate(deployment.nodes)
    ]
    sentinels = redis_sentinels(deployment.sentinels[:3], {name: {} for name in deployment.sentinels}, deployment.mode)
    if deployment.mode == "sentinel" and not sentinels:
        return
    try:
        django_caches(
            found, deployment.mode, client, nodes, session_alias=session_alias, sentinels=sentinels, service="service"
        )
    except CacheSettingsError as error:
        for line in str(error).splitlines():
            alias, _, problem = line.partition(": ")
            yield Finding(host, f"django_app_cache_aliases.{alias}", NOTHING, *as_fault(problem))


def _databases(deployment: Deployment) -> int:
    """How many databases the servers have."""
    for host in deployment.nodes:
        given = deployment.mapping(host, "redis_config").get("databases", DATABASES)
        return int(given) if is_whole(given) else DATABASES
    return DATABASES


def _finding(host: str, variable: str, fault: Fault) -> Finding:
    path = ".".join(filter(None, (variable, fault.alias, fault.word)))
    return Finding(host, path, fault.value, fault.wrong, fault.fix)


def caches(deployment: Deployment) -> Iterator[Finding]:
    """A CACHES that its user wrote is not checked by Django either."""
    for host in deployment.apps:
        given = deployment.mapping(host, "django_app_caches")
        version = django_version(deployment.get(host, "django_app_django_version"))
        for fault in caches_faults(given, version, _databases(deployment), deployment.client(host)) if given else ():
            yield _finding(host, "django_app_caches", fault)
        session = deployment.session_alias(host)
        if given and session and session not in given:
            wrong = "the sessions use this alias, and there is none of that name"
            yield Finding(
                host, "django_app_session_alias", session, wrong, f"choose {', '.join(map(str, given))}, or write ''"
            )


def settings(deployment: Deployment) -> Iterator[Finding]:
    """DEBUG on a server, any name in ALLOWED_HOSTS, or a setting for which the inventory has a variable."""
    for host in deployment.apps:
        given = deployment.mapping(host, "django_app_settings")
        for name, value in given.items():
            word = f"django_app_settings.{name}"
            if name in SETTINGS:
                shown = NOTHING if name in ("SECRET_KEY", "CACHES") else value
                yield Finding(host, word, shown, "the inventory has a variable for it", SETTINGS[name])
            elif name == "DEBUG" and value is not False and _is_server(deployment, host):
                wrong = "everybody would see the code and the settings of an error's page"
                yield Finding(host, word, value, wrong, "remove it")
            elif not str(name).isupper() or not str(name).isidentifier():
                wrong = "Django reads settings in capitals alone"
                yield Finding(host, word, NOTHING, wrong, f"write {str(name).upper()}, or remove it")
        hosts = deployment.get(host, "django_app_allowed_hosts")
        if isinstance(hosts, (list, tuple)) and "*" in hosts and _is_server(deployment, host):
            wrong = "'*' takes requests for any name, which poisons links and caches"
            yield Finding(host, "django_app_allowed_hosts", list(hosts), wrong, "write the names of the site")
        for name in hosts if isinstance(hosts, (list, tuple)) else ():
            if name != "*" and not _is_requested(str(name)):
                wrong = f"{name!r} is no name that a request can have"
                fix = "write names such as www.example.com or .example.com, without a scheme, a port and *"
                yield Finding(host, "django_app_allowed_hosts", NOTHING, wrong, fix)
        if hosts == []:
            wrong = "Django would refuse every request"
            yield Finding(host, "django_app_allowed_hosts", [], wrong, "write the names of the site")


def _is_requested(name: str) -> bool:
    """Tell whether a request can be for a name; in one for an IPv6 address that is in brackets."""
    if ":" in name:
        return name.startswith("[") and name.endswith("]") and is_host(name[1:-1])
    return is_host(name.lstrip("."))


def _is_server(deployment: Deployment, host: str) -> bool:
    return str(deployment.get(host, "service_manager")) == "systemd"


def names(deployment: Deployment) -> Iterator[Finding]:
    """The project is where it is said to be, and its modules are written as Python finds them."""
    for host in deployment.apps:
        source = deployment.get(host, "django_app_src")
        if isinstance(source, str) and source.startswith("/") and not Path(source).is_dir():
            wrong = "there is no such folder on the control machine"
            yield Finding(host, "django_app_src", source, wrong, "write the project's folder, or a git URL")
        # What is before the @ is a token, or a user with a password.
        if isinstance(source, str) and re.match(r"https?://[^/]*@", source):
            wrong = "git would keep what is before the @ in its files, and show it in its arguments"
            fix = "write a URL of SSH, or have git's credential helper know it"
            yield Finding(host, "django_app_src", NOTHING, wrong, fix)
        for name in ("django_app_base_settings", "django_app_wsgi"):
            value = deployment.get(host, name)
            if not isinstance(value, str):
                continue
            module, colon, _ = value.partition(":")
            wanted = ":" if name == "django_app_wsgi" else ""
            if not all(part.isidentifier() for part in module.split(".")) or colon != wanted:
                example = "config.wsgi:application" if wanted else "config.settings"
                wrong = "it is no dotted path of a module" + (" with a name behind a colon" if wanted else "")
                yield Finding(host, name, value, wrong, f"write one such as {example}")
