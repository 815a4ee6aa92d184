"""Write an inventory of your own: the hosts, the mode, and generated secrets in an Ansible Vault.

    python -m inventories.create NAME=prod MODE=sentinel REDIS="10.0.0.1 10.0.0.2 10.0.0.3" APP=10.0.0.9
        [SENTINEL="10.0.0.4 10.0.0.5 10.0.0.6"] [CLIENT=resilient] [DOMAIN=www.example.com]

Exit code 0: it was written, 1: it could not be written, 2: wrong use. Only 0 leaves an inventory behind.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import secrets
import signal
import string
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from deployment.addresses import bracketed, endpoint, is_loopback
from deployment.clients import CLIENTS, UNABLE
from deployment.model import BUS, THIS_MACHINE
from deployment.specs import options
from deployment.words import did_you_mean

PROJECT = Path(__file__).resolve().parent.parent
MODES: tuple[str, ...] = options()["cache_mode"].choices
# What can be given, each with an example.
WORDS = {
    "NAME": "prod",
    "MODE": "sentinel",
    "REDIS": '"10.0.0.1 10.0.0.2 10.0.0.3"',
    "APP": "10.0.0.9",
    "SENTINEL": '"10.0.0.4 10.0.0.5 10.0.0.6"',
    "CLIENT": "resilient",
    "DOMAIN": "www.example.com",
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
# A name whose last part is a number would be taken for an address.
HOST_NAME = re.compile(rf"(?=.{{1,253}}$)(?!(.*\.)?[0-9]+$){LABEL}(\.{LABEL})*")
PLACE = re.compile(r"(\[(?P<bracketed>[^\[\]]+)\]|(?P<plain>[^:\[\]]+))(:(?P<port>[0-9]{1,5}))?")
# How long the generated secrets are, by variable, and the modes that need them.
SECRETS = {
    "redis_password": (48, ("standalone", "replication", "sentinel", "cluster")),
    "redis_admin_password": (48, ("standalone", "replication", "sentinel", "cluster")),
    "redis_sentinel_password": (48, ("sentinel",)),
    "django_app_secret_key": (64, MODES),
}


class CreateError(Exception):
    """The inventory could not be written; the text says why, and what to do."""


@dataclass(frozen=True)
class Group:
    """A group of hosts: the word that names them, how host names begin, and the variable of their port."""

    word: str
    prefix: str
    port_name: str
    port: int


GROUPS = {
    "redis": Group("REDIS", "redis", "redis_port", 6379),
    "redis_sentinel": Group("SENTINEL", "sentinel", "redis_sentinel_port", 26379),
    "django_app": Group("APP", "app", "django_app_port", 8000),
}


@dataclass(frozen=True)
class Place:
    """A machine by its address or name, and a port where one was given."""

    host: str
    port: int | None = None

    @property
    def machine(self) -> str:
        """What tells its machine from others."""
        return THIS_MACHINE if is_loopback(self.host) else self.host

    @property
    def is_name(self) -> bool:
        """Whether it can be the name of a host in the inventory: it is no address, and no group has that name."""
        return HOST_NAME.fullmatch(self.host) is not None and not is_loopback(self.host) and self.host not in GROUPS

    def at(self, port: int) -> Place:
        """Return the same machine with a port."""
        return Place(self.host, port)

    def __str__(self) -> str:
        return endpoint(self.host, self.port) if self.port else self.host


@dataclass(frozen=True)
class Wanted:
    """What was asked for, as far as it could be read; `places` has those of each group."""

    name: str
    mode: str
    client: str
    domains: Sequence[str]
    places: Mapping[str, Sequence[Place]]


# What was asked for


def read(given: Sequence[str], inventories: Path) -> tuple[Wanted, list[str]]:
    """Return what is asked for by arguments such as NAME=prod, and everything that is wrong with it."""
    pairs = [one.partition("=") for one in given]
    words = {word: " ".join(value.split()) for word, _, value in pairs}
    faults = [
        f"{word}: it is unknown; {did_you_mean(word, WORDS)}there are {', '.join(WORDS)}"
        for word in words
        if word not in WORDS
    ]
    places: dict[str, list[Place]] = {}
    for name, group in GROUPS.items():
        places[name] = []
        for item in _items(words.get(group.word, "")):
            place, wrong = read_place(item)
            places[name].append(place)
            faults += [f"{group.word} {item}: {wrong}"] if wrong else []
    if words.get("MODE") == "sentinel" and not places["redis_sentinel"]:
        places["redis_sentinel"] = one_each(places["redis"])
    name, mode, client = (words.get(word, "") for word in ("NAME", "MODE", "CLIENT"))
    wanted = Wanted(name, mode, client, _items(words.get("DOMAIN", "")), places)
    return wanted, [*faults, *name_faults(wanted, inventories), *(fault for rule in RULES for fault in rule(wanted))]


def _items(text: str) -> list[str]:
    return [item for item in re.split(r"[\s,]+", text) if item]


def read_place(text: str) -> tuple[Place, str]:
    """Read an address or a name, perhaps with a port; return it and what is wrong with it, "" for nothing."""
    match = PLACE.fullmatch(text)
    host, port = (match["bracketed"] or match["plain"], match["port"]) if match else (text, None)
    is_name = match and match["plain"] and HOST_NAME.fullmatch(host)
    address = None if is_name else read_address(host)
    if not (is_name or address):
        example = "10.0.0.1, 10.0.0.1:6380, [2001:db8::1]:6380 or redis.example.com"
        return Place(text), f"it is no address and no name of a machine; write one such as {example}"
    if port and not 1 <= int(port) <= 65535:
        return Place(text), "its port is none; write one from 1 to 65535"
    return Place(address or host.lower(), int(port) if port else None), ""


def read_address(text: str) -> str | None:
    """Return an address as it is usually written, or None where it is none that a machine can have."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    nobody = address.is_unspecified or address.is_multicast or address.is_reserved or "%" in text
    return None if nobody and not address.is_loopback else str(address)


def one_each(places: Iterable[Place]) -> list[Place]:
    """Return each machine once: the places of the Sentinels where nobody says others."""
    return [Place(host) for host in dict.fromkeys(place.host for place in places)]


# What is wrong with it


def name_faults(wanted: Wanted, inventories: Path) -> Iterator[str]:
    """The name is one of a folder that is not there yet."""
    name = wanted.name
    if not name:
        yield f"NAME is missing; write NAME={WORDS['NAME']} for the folder inventories/{WORDS['NAME']}"
    elif not NAME.fullmatch(name):
        wrong = (
            "it is a path, and the folder is made in inventories/" if "/" in name else "it is no name of a folder here"
        )
        yield f"NAME {name}: {wrong}; write up to 64 letters, digits and . _ - such as {WORDS['NAME']}"
    elif os.path.lexists(inventories / name):
        yield f"NAME {name}: inventories/{name} is there already and stays as it is; choose another name"


def mode_faults(wanted: Wanted) -> Iterator[str]:
    """The mode and the client are known, and go together."""
    mode, client = wanted.mode, wanted.client
    if not mode:
        yield f"MODE is missing; write MODE={WORDS['MODE']}, or another one of {', '.join(MODES)}"
    elif mode not in MODES:
        yield f"MODE {mode}: it is unknown; {did_you_mean(mode, MODES)}choose {', '.join(MODES)}"
    if client and client not in CLIENTS:
        yield f"CLIENT {client}: it is unknown; {did_you_mean(client, CLIENTS)}choose {', '.join(CLIENTS)}"
    elif (client, mode) in UNABLE:
        able = [one for one in CLIENTS if (one, mode) not in UNABLE]
        yield f"CLIENT {client}: it has no mode {mode}; write CLIENT={' or '.join(able)}, or leave it out"


def server_faults(wanted: Wanted) -> Iterator[str]:
    """There are as many servers as the mode can have."""
    mode, count = wanted.mode, len(wanted.places["redis"])
    wrong = ""
    if not count and mode != "locmem":
        yield f"REDIS is missing; write REDIS={WORDS['REDIS']}"
    elif mode == "locmem" and count:
        wrong = "has none, as Django keeps its caches in its processes; remove REDIS, or choose another mode"
    elif mode == "standalone" and count > 1:
        wrong = "has exactly one; leave one, or write MODE=replication"
    elif mode in ("replication", "sentinel") and count < 2:
        wrong = "needs 2 or more, a leader and a replica; add servers, or write MODE=standalone"
    elif mode == "cluster" and count < 6:
        wrong = (
            f"needs 6 or more, 3 primaries with a replica each; add {6 - count}, of which some can be on the same "
            "machines (10.0.0.1:6379 10.0.0.1:6380), or write another mode"
        )
    if wrong:
        yield f"REDIS has {count} server{'s' if count > 1 else ''}, and MODE={mode} {wrong}"


def sentinel_faults(wanted: Wanted) -> Iterator[str]:
    """Sentinels elect by majority, which must outlive the loss of one of them."""
    redis, sentinels = wanted.places["redis"], wanted.places["redis_sentinel"]
    count = len(sentinels)
    if wanted.mode != "sentinel":
        if sentinels and wanted.mode in MODES:
            yield f"SENTINEL: MODE={wanted.mode} has no Sentinels; remove it, or write MODE=sentinel"
        return
    if not sentinels or (count >= 3 and count % 2):
        return
    what = "REDIS has, with one on each machine," if sentinels == one_each(redis) else "SENTINEL has"
    why = "cannot outlive the loss of one" if count < 3 else "outlive no more losses than one fewer would"
    best = f'"{" ".join(map(str, sentinels[:-1]))}"' if count > 3 else WORDS["SENTINEL"]
    yield (
        f"{what} {count} Sentinel{'s' if count > 1 else ''}, which {why}; MODE=sentinel needs 3, 5 or another odd "
        f"number: write SENTINEL={best}, or other machines"
    )


def app_faults(wanted: Wanted) -> Iterator[str]:
    """Django is on one machine or more, once on each."""
    machines = Counter(place.machine for place in wanted.places["django_app"])
    if not machines:
        yield f"APP is missing: it says where Django runs; write APP={WORDS['APP']}"
    for machine, count in machines.items():
        if count > 1:
            yield f"APP has {machine} {count} times; write each machine once"


def port_faults(wanted: Wanted) -> Iterator[str]:
    """Two services cannot have one port of a machine; a cluster's servers have two ports each."""
    used: dict[tuple[str, int], str] = {}
    for name, group in GROUPS.items():
        buses = [0, BUS] if wanted.mode == "cluster" and name == "redis" else [0]
        for place in wanted.places[name]:
            port = place.port or group.port
            here = [(place.machine, port + above) for above in buses]
            other = next((used[one] for one in here if one in used), "")
            if here[-1][1] > 65535:
                yield f"{group.word} {place}: a cluster also needs the port {BUS} above; write {65535 - BUS} or less"
            elif other == f"{group.word} {place.at(port)}":
                more = f"{place.at(port)} {place.at(port + 1)}"
                yield f"{other} is there twice; write it once, or several on one machine with ports, such as {more}"
            elif other:
                second = f" (a cluster's servers have a second one, {BUS} above)" if wanted.mode == "cluster" else ""
                yield f"{group.word} {place.at(port)}: {other} has that port{second}; write another one"
            used.update(dict.fromkeys(here, f"{group.word} {place.at(port)}"))


def loopback_faults(wanted: Wanted) -> Iterator[str]:
    """A loopback address leads every machine to itself."""
    every = [place for places in wanted.places.values() for place in places]
    local, others = (
        list(dict.fromkeys(str(place) for place in every if (place.machine == THIS_MACHINE) is here))
        for here in (True, False)
    )
    if local and others:
        yield (
            f"{', '.join(local)}: every machine finds itself there, so that {', '.join(others)} could not reach it; "
            "write the address under which the others do"
        )


def spread_faults(wanted: Wanted) -> Iterator[str]:
    """No machine takes a majority of the Sentinels, or a primary and its replica, with it."""
    name = {"sentinel": "redis_sentinel", "cluster": "redis"}.get(wanted.mode, "")
    places = wanted.places.get(name, ())
    most = len(places) // 2
    for machine, count in Counter(place.machine for place in places).items():
        if len(places) > 2 and count > most and machine != THIS_MACHINE:
            loss = "most Sentinels" if name == "redis_sentinel" else "a primary and its replica"
            word = GROUPS[name].word
            what = f"{word} has {count} of {len(places)} on {machine}"
            yield f"{what}, with which {loss} would be lost; have {most} at most"


def domain_faults(wanted: Wanted) -> Iterator[str]:
    """The domains are what Django compares with what browsers ask for."""
    for domain in wanted.domains:
        address = read_address(domain.strip("[]"))
        if not HOST_NAME.fullmatch(domain.removeprefix(".")) and domain != bracketed(address or ""):
            yield f"DOMAIN {domain}: it is no name of a site; write {WORDS['DOMAIN']}, without https:// and a port"


RULES = (
    mode_faults,
    server_faults,
    sentinel_faults,
    app_faults,
    port_faults,
    loopback_faults,
    spread_faults,
    domain_faults,
)


# The files


def hosts_of(wanted: Wanted) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the groups, each with its hosts' variables by their names."""
    taken = {place.host for places in wanted.places.values() for place in places if place.is_name}
    servers: dict[str, str] = {}
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for name, group in GROUPS.items():
        places, hosts = wanted.places[name], groups.setdefault(name, {})
        numbered = (f"{group.prefix}-{number}" for number in itertools.count(1))
        for place in places:
            server = servers.get(place.host) if name == "redis_sentinel" else None
            variables: dict[str, Any] = {group.port_name: place.port} if place.port else {}
            if server and server not in hosts:
                host = server
            elif place.is_name and [one.host for one in places].count(place.host) == 1:
                host = place.host
            else:
                host = next(one for one in numbered if one not in taken)
                variables = {"ansible_host": place.host, **variables}
            hosts[host] = variables
            if name == "redis":
                servers.setdefault(place.host, host)
    return groups


def hosts_yml(wanted: Wanted) -> str:
    """Return the text of hosts.yml."""
    groups = hosts_of(wanted)
    lines = ["---"]
    if wanted.mode == "cluster":
        lines.append("# Every primary gets a replica on another machine; the run decides who is what.")
    for name, hosts in groups.items():
        if name == "redis_sentinel":
            if wanted.mode != "sentinel":
                continue
            if set(hosts) <= set(groups["redis"]):
                lines.append("# On the same machines; hosts of their own do as well.")
        lines += [f"{name}:", "  hosts:" if hosts else "  hosts: {}"]
        for host, variables in hosts.items():
            leads = name == "redis" and wanted.mode in ("replication", "sentinel") and host == next(iter(hosts))
            pairs = ", ".join(f"{key}: {scalar(value)}" for key, value in variables.items())
            line = f"    {scalar(host)}:{f' {{{pairs}}}' if pairs else ''}"
            lines.append(f"{line} # leads when nothing runs yet" if leads else line)
    return "\n".join([*lines, ""])


def scalar(value: Any) -> str:
    """Return a value as YAML has it, in quotes where it would be read as something else without."""
    text = str(value)
    try:
        return text if yaml.safe_load(f"{{{text}: {text}}}") == {value: value} else json.dumps(text)
    except yaml.YAMLError:
        return json.dumps(text)


def main_yml(wanted: Wanted) -> str:
    """Return the text of group_vars/all/main.yml."""
    blocks = [f"---\n# {' | '.join(MODES)}\ncache_mode: {wanted.mode}"]
    if wanted.client:
        blocks[0] += f"\n# {' | '.join(CLIENTS)}\ncache_client: {wanted.client}"
    lines = [f'{name}: "{{{{ vault_{name} }}}}"' for name in secrets_of(wanted.mode)]
    blocks.append(
        "\n".join([f"# Generated, and encrypted in vault.yml beside this file.\n# {edit_command(wanted)}", *lines])
    )
    if wanted.domains:
        domains = ", ".join(map(scalar, wanted.domains))
        blocks.append(f"# The names under which clients ask for the site.\ndjango_app_allowed_hosts: [{domains}]")
    blocks.append("# What is often changed next: take away the # before a variable. The README lists all of them.")
    blocks += [text for modes, text in OFTEN_CHANGED if wanted.mode in modes.split()]
    return "\n\n".join(blocks) + "\n"


def edit_command(wanted: Wanted) -> str:
    """Return how to change the secrets."""
    return f"ansible-vault edit inventories/{wanted.name}/group_vars/all/vault.yml"


EVERY_MODE = " ".join(MODES)
# What people change next, and the modes in which there is something to change. All of it is out of use, as comments:
# a variable with one blank before it and what belongs to it below with three.
OFTEN_CHANGED = (
    (
        EVERY_MODE,
        """\
# Who logs in on the hosts and may use sudo, for whose password -K asks.
# ansible_user: deploy""",
    ),
    (
        "standalone replication sentinel cluster",
        """\
# The most memory that a server's data may take. The default is half of the machine's, divided by the servers on it.
# redis_maxmemory: 2gb
# What goes when the memory is full.
# redis_maxmemory_policy: allkeys-lfu
# Any other directive of redis.conf.
# redis_config: {maxclients: 20000}
# TLS for every connection, with certificates that are made for you; or say where yours are, see docs/security.md.
# redis_tls: true
# Close the ports to everybody but the deployment itself and these.
# firewall_enabled: true
# firewall_allow: [10.0.0.5]
# An exporter for Prometheus beside each server.
# redis_exporter_enabled: true
# What Django may do beside its caches.
# redis_app_rules: ["~queue:*", "+lpush", "+brpop"]""",
    ),
    (
        "sentinel",
        """\
# Milliseconds without an answer after which the leader is given up: shorter is quicker, and sooner without a reason.
# redis_sentinel_down_after_ms: 5000""",
    ),
    (
        "cluster",
        """\
# Milliseconds without an answer after which a primary is given up: shorter is quicker, and sooner without a reason.
# redis_cluster_node_timeout_ms: 5000""",
    ),
    (
        "locmem",
        """\
# The caches of Django: timeouts in seconds or null for ever, prefixes, and the most entries in each process.
# django_app_cache_aliases:
#   default: {timeout: 600, key_prefix: shop, max_entries: 10000}
#   reports: {timeout: null}""",
    ),
    (
        "standalone sentinel",
        """\
# The caches of Django: databases, timeouts in seconds or null for ever, and prefixes.
# django_app_cache_aliases:
#   default: {db: 1, timeout: 600, key_prefix: shop}
#   dj_session: {db: 2}
#   reports: {db: 3, timeout: null, options: {socket_timeout: 2}}""",
    ),
    (
        "replication",
        """\
# The caches of Django: databases, timeouts in seconds or null for ever, prefixes, and where to read.
# django_app_cache_aliases:
#   default: {db: 1, timeout: 600, key_prefix: shop, read_from: replicas}
#   dj_session: {db: 2}
#   reports: {db: 3, timeout: null, read_from: leader, options: {socket_timeout: 2}}""",
    ),
    (
        "cluster",
        """\
# The caches of Django: timeouts in seconds or null for ever, and prefixes, since a cluster has one database alone.
# django_app_cache_aliases:
#   default: {timeout: 600, key_prefix: shop}
#   dj_session: {key_prefix: session}
#   reports: {timeout: null, key_prefix: reports, options: {socket_timeout: 2}}""",
    ),
    (
        EVERY_MODE,
        """\
# Your own Django project instead of the shipped one: a folder on the machine that deploys, or a git URL.
# django_app_src: https://git.example.com/shop.git
# django_app_src_version: main
# django_app_base_settings: shop.settings
# django_app_wsgi: shop.wsgi:application
# django_app_requirements: requirements.txt
# django_app_django_version: "5.2"
# How many processes serve, and any other setting of Django.
# django_app_workers: 4
# django_app_settings: {TIME_ZONE: Europe/London}""",
    ),
)


def secrets_of(mode: str) -> dict[str, int]:
    """Return the secrets that a mode needs, each with its length."""
    return {name: length for name, (length, modes) in SECRETS.items() if mode in modes}


def vault_yml(wanted: Wanted) -> str:
    """Return the text of group_vars/all/vault.yml before it is encrypted, with new secrets."""
    lines = [f'vault_{name}: "{secret(length)}"' for name, length in secrets_of(wanted.mode).items()]
    return "\n".join(["---", f"# {edit_command(wanted)}", *lines, ""])


def secret(length: int) -> str:
    """Return letters and digits that nobody can guess, and that need no quotes anywhere."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


# The vault


def password_file() -> Path:
    """Return the file with the vault's password: the user's own if there is one, else ours, made if it is missing."""
    if own := os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE"):
        return Path(own)
    # As ansible/vault_password has it.
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(config) / "cachestack" / "vault_password"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        if vaults := [str(one) for one in sorted(PROJECT.glob("inventories/*/group_vars/all/vault.yml"))]:
            raise CreateError(f"a new vault password would not open {', '.join(vaults)}; copy theirs to {path} first")
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as new, suppress(FileExistsError):
            new.write(f"{secret(64)}\n")
            new.flush()
            # Unlike a rename it leaves what another run has made meanwhile.
            os.link(new.name, path)
    return path


def encrypted(text: str, password: Path) -> str:
    """Return what ansible-vault makes of a text. Raises CreateError if it fails."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_VAULT")}
    own |= {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_VAULT_PASSWORD_FILE": str(password)}
    command = [str(Path(sys.executable).with_name("ansible-vault")), "encrypt", "--output", "-"]
    try:
        done = subprocess.run(command, input=text, env=own, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CreateError("there is no ansible-vault beside this Python; use make inventory") from None
    if done.returncode or not done.stdout.startswith("$ANSIBLE_VAULT"):
        raise CreateError(f"ansible-vault did not encrypt the secrets with {password}:\n{done.stderr.strip()}")
    return f"{done.stdout.strip()}\n"


# The folder


def write(wanted: Wanted, inventories: Path, password: Path) -> None:
    """Write the inventory whole or not at all. Raises OSError if something of that name has come up meanwhile."""
    files = {
        "hosts.yml": hosts_yml(wanted),
        "group_vars/all/main.yml": main_yml(wanted),
        "group_vars/all/vault.yml": encrypted(vault_yml(wanted), password),
    }
    with tempfile.TemporaryDirectory(prefix=f".{wanted.name}.", dir=inventories) as building:
        # A folder in that one, since that one is for its owner alone.
        folder = Path(building) / wanted.name
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        folder.rename(inventories / wanted.name)


def written(wanted: Wanted, password: Path) -> str:
    """Return what to say of an inventory that was written."""
    folder = f"inventories/{wanted.name}"
    return f"""\
Wrote {folder}:
  hosts.yml                 {", ".join(_counts(wanted))}
  group_vars/all/main.yml   the mode, and what is often changed next
  group_vars/all/vault.yml  the secrets, encrypted with the password in {password}:
                            keep a copy of that, and put one on every machine that deploys
Next:
  make preflight INVENTORY={folder}
  ansible-playbook -i {folder} site.yml    (after . .venv/bin/activate)"""


def _counts(wanted: Wanted) -> Iterator[str]:
    for name, what in (("redis", "Redis server"), ("redis_sentinel", "Sentinel"), ("django_app", "Django host")):
        if count := len(wanted.places[name]):
            yield f"{count} {what}{'s' if count > 1 else ''}"


def main(arguments: Sequence[str], inventories: Path = PROJECT / "inventories") -> int:
    """Run the command; return its exit code."""
    wanted, faults = read(arguments, inventories)
    if faults:
        words = " ".join(f"{word}={WORDS[word]}" for word in ("NAME", "MODE", "REDIS", "APP"))
        lines = ["No inventory was written:", *(f"- {fault}" for fault in faults), f"Such as: make inventory {words}"]
        print("\n".join(lines), file=sys.stderr)
        return 2
    try:
        password = password_file()
        write(wanted, inventories, password)
    except (CreateError, OSError) as error:
        print(f"No inventory was written: {error}", file=sys.stderr)
        return 1
    print(written(wanted, password))
    return 0


def interrupted(number: int, _frame: object) -> NoReturn:
    """End in the way that leaves nothing behind."""
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    sys.exit(main(sys.argv[1:]))
