"""Write an inventory of your own: the hosts, the mode, and generated secrets in an Ansible Vault.

    make inventory NAME=prod MODE=sentinel REDIS="10.0.0.1 10.0.0.2 10.0.0.3" APP=10.0.0.9
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
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from deployment.addresses import is_loopback
from deployment.checks.problems import Problem
from deployment.checks.rules import inventory_problems
from deployment.checks.servers import is_host
from deployment.clients import CLIENTS
from deployment.model import Inventory
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
REQUIRED = ("NAME", "MODE", "REDIS", "APP")
# The words that are variables of all hosts.
COMMON = {"cache_mode": "MODE", "cache_client": "CLIENT", "django_app_allowed_hosts": "DOMAIN"}
# How many places of a word a mode uses. An inventory may have more of them, for another mode.
MOST = {
    "locmem": {"REDIS": 0, "SENTINEL": 0},
    "standalone": {"REDIS": 1, "SENTINEL": 0},
    "replication": {"SENTINEL": 0},
    "cluster": {"SENTINEL": 0},
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLACE = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*:[^\[\]]*)\]|(?P<plain>[^:\[\]]+))(?::(?P<port>[0-9]{1,9}))?")


class CreateError(Exception):
    """The inventory could not be written; the text says why, and what to do."""


class Group(NamedTuple):
    """A group of hosts: the word that names them, how host names begin, the variable of their port, their secrets."""

    word: str
    prefix: str
    port_name: str
    secrets: tuple[str, ...]


GROUPS = {
    "redis": Group("REDIS", "redis", "redis_port", ("redis_password", "redis_admin_password")),
    "redis_sentinel": Group("SENTINEL", "sentinel", "redis_sentinel_port", ("redis_sentinel_password",)),
    "django_app": Group("APP", "app", "django_app_port", ("django_app_secret_key",)),
}


class Place(NamedTuple):
    """A machine by its address or name, and a port where one was given; `text` is how it was typed."""

    text: str
    host: str
    port: int | None = None

    @property
    def is_name(self) -> bool:
        """Whether it can be the name of a host in the inventory: it is no address, and no group has that name."""
        return is_host(self.host) and not (as_address(self.host) or is_loopback(self.host) or self.host in GROUPS)


class Host(NamedTuple):
    """A host of a group: the place that it was made from, and its variables."""

    place: Place
    variables: dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What was asked for, by word, "" where nothing was, and the inventory that this makes, right or wrong."""

    words: Mapping[str, str]

    def items(self, word: str) -> list[str]:
        """The single values that were given with a word."""
        return [item for item in re.split(r"[\s,]+", self.words[word]) if item]

    @property
    def mode(self) -> str:
        """The mode."""
        return self.words["MODE"]

    @cached_property
    def places(self) -> dict[str, list[Place]]:
        """The places of each group that the inventory has; without SENTINEL one on each machine of REDIS."""
        found = {name: [read_place(item) for item in self.items(group.word)] for name, group in GROUPS.items()}
        if self.mode != "sentinel":
            del found["redis_sentinel"]
        elif not found["redis_sentinel"]:
            machines = dict.fromkeys(place.host for place in found["redis"])
            found["redis_sentinel"] = [Place(host, host) for host in machines]
        return found

    @cached_property
    def hosts(self) -> dict[str, dict[str, Host]]:
        """The hosts of each group by their names."""
        taken = {place.host for places in self.places.values() for place in places if place.is_name}
        servers: dict[str, str] = {}
        groups: dict[str, dict[str, Host]] = {}
        for name, places in self.places.items():
            group, hosts = GROUPS[name], groups.setdefault(name, {})
            numbered = (f"{group.prefix}-{number}" for number in itertools.count(1))
            for place in places:
                server = servers.get(place.host) if name == "redis_sentinel" else None
                variables: dict[str, Any] = {} if place.port is None else {group.port_name: place.port}
                if server and server not in hosts:
                    host = server
                elif place.is_name and [one.host for one in places].count(place.host) == 1:
                    host = place.host
                else:
                    host = next(one for one in numbered if one not in taken)
                    variables = {"ansible_host": place.host, **variables}
                hosts[host] = Host(place, variables)
                if name == "redis":
                    servers.setdefault(place.host, host)
        return groups

    @cached_property
    def common(self) -> dict[str, Any]:
        """The variables of all hosts that are no secrets."""
        domains = self.items("DOMAIN")
        given = {"cache_mode": self.mode, "cache_client": self.words["CLIENT"], "django_app_allowed_hosts": domains}
        return {name: value for name, value in given.items() if value}

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The secrets of all hosts: letters and digits that nobody can guess, and that need no quotes anywhere."""
        needed = [name for group, hosts in self.hosts.items() if hosts for name in GROUPS[group].secrets]
        return {name: secrets.token_hex(32) for name in needed}

    @cached_property
    def inventory(self) -> Inventory:
        """The inventory as the checks see what is written."""
        variables: dict[str, dict[str, Any]] = {}
        for hosts in self.hosts.values():
            for name, host in hosts.items():
                variables.setdefault(name, {**self.common, **self.secrets}).update(host.variables)
        return Inventory(variables, {group: list(hosts) for group, hosts in self.hosts.items()})


# What was asked for


def read(given: Sequence[str]) -> Wanted:
    """Return what is asked for by arguments such as NAME=prod."""
    pairs = [one.partition("=") for one in given]
    return Wanted({**dict.fromkeys(WORDS, ""), **{word: " ".join(value.split()) for word, _, value in pairs}})


def read_place(text: str) -> Place:
    """Read an address or a name, perhaps with a port; what cannot be read is a name that the checks refuse."""
    match = PLACE.fullmatch(text)
    host, port = (match["ipv6"] or match["plain"], match["port"]) if match else (text, None)
    return Place(text, as_address(host) or host.lower(), int(port) if port else None)


def as_address(text: str) -> str | None:
    """Return an address as it is usually written, or None where it is none."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


# What is wrong with it


def refusals(wanted: Wanted, inventories: Path) -> Iterator[str]:
    """Find everything that is wrong with the words, and with the inventory that they make."""
    for word in wanted.words:
        if word not in WORDS:
            yield f"{word}: it is unknown; {did_you_mean(word, WORDS)}there are {', '.join(WORDS)}"
    for word in REQUIRED:
        if not wanted.items(word) and (word, wanted.mode) != ("REDIS", "locmem"):
            others = f", or another one of {', '.join(MODES)}" if word == "MODE" else ""
            yield f"{word} is missing; write {word}={WORDS[word]}{others}"
    yield from name_refusals(wanted.words["NAME"], inventories)
    for word, most in MOST.get(wanted.mode, {}).items():
        if len(wanted.items(word)) > most:
            uses = f"MODE={wanted.mode} uses {most or 'none'} of these"
            yield f"{word} {wanted.words[word]}: {uses}; remove what it does not use, or choose another mode"
    # That a group has no host was said of the word that is missing.
    empty = {"inventory", *(f"group {name}" for name, hosts in wanted.hosts.items() if not hosts)}
    for problem in inventory_problems(wanted.inventory) if wanted.mode else ():
        if empty.isdisjoint(problem.where):
            yield in_words(problem, wanted)


def name_refusals(name: str, inventories: Path) -> Iterator[str]:
    """The name is one of a folder that is not there yet."""
    if name and not NAME.fullmatch(name):
        wrong = (
            "it is a path, and the folder is made in inventories/" if "/" in name else "it is no name of a folder here"
        )
        yield f"NAME {name}: {wrong}; write up to 64 letters, digits and . _ - such as {WORDS['NAME']}"
    elif name and os.path.lexists(inventories / name):
        yield f"NAME {name}: inventories/{name} is there already and stays as it is; choose another name"


def in_words(problem: Problem, wanted: Wanted) -> str:
    """Return a problem of the inventory with what was typed in place of the names that only the inventory has."""
    if word := COMMON.get(problem.variable):
        where = f"{word} {wanted.words[word]}"
    else:
        where = ", ".join(typed(one, problem.variable, wanted) for one in problem.where)
    made = {name for hosts in wanted.hosts.values() for name, host in hosts.items() if "ansible_host" in host.variables}
    names = {**COMMON, **{name: typed(name, "", wanted) for name in made}}
    text = re.sub(r"[\w.-]+", lambda found: names.get(found[0], found[0]), f"{problem.wrong}; {problem.fix}")
    for word in COMMON.values():
        text = text.replace(f"{word}: ", f"{word}=")
    return f"{where}: {text} [{problem.rule}]"


def typed(where: str, variable: str, wanted: Wanted) -> str:
    """Return the word that a group comes from with all its places, or of a host with the place that it comes from."""
    name = where.removeprefix("group ")
    if name in GROUPS:
        return f"{GROUPS[name].word} {wanted.words[GROUPS[name].word]}".strip()
    # Of several groups the one that the variable is of.
    groups = [group for group, hosts in wanted.hosts.items() if name in hosts]
    group = max(groups, key=lambda one: len(one) * variable.startswith(f"{one}_"))
    return f"{GROUPS[group].word} {wanted.hosts[group][name].place.text}"


# The files


def hosts_yml(wanted: Wanted) -> str:
    """Return the text of hosts.yml."""
    lines = ["---"]
    if wanted.mode == "cluster":
        lines.append("# Every primary gets a replica on another machine; the run decides who is what.")
    for name, hosts in wanted.hosts.items():
        if name == "redis_sentinel" and set(hosts) <= set(wanted.hosts["redis"]):
            lines.append("# On the same machines; hosts of their own do as well.")
        lines += [f"{name}:", "  hosts:" if hosts else "  hosts: {}"]
        for number, (host, (_, variables)) in enumerate(hosts.items()):
            pairs = ", ".join(f"{key}: {scalar(value)}" for key, value in variables.items())
            line = f"    {scalar(host)}:{f' {{{pairs}}}' if pairs else ''}"
            leads = name == "redis" and wanted.mode in ("replication", "sentinel") and number == 0
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
    if client := wanted.common.get("cache_client"):
        blocks[0] += f"\n# {' | '.join(CLIENTS)}\ncache_client: {client}"
    lines = [f'{name}: "{{{{ vault_{name} }}}}"' for name in wanted.secrets]
    blocks.append(
        "\n".join([f"# Generated, and encrypted in vault.yml beside this file.\n# {edit_command(wanted)}", *lines])
    )
    if domains := wanted.common.get("django_app_allowed_hosts"):
        names = ", ".join(map(scalar, domains))
        blocks.append(f"# The names under which clients ask for the site.\ndjango_app_allowed_hosts: [{names}]")
    blocks.append("# What is often changed next: take away the # before one. docs/variables.md lists all of them.")
    blocks += [text for modes, text in OFTEN_CHANGED if wanted.mode in modes.split()]
    return "\n\n".join(blocks) + "\n"


def vault_yml(wanted: Wanted) -> str:
    """Return the text of group_vars/all/vault.yml before it is encrypted."""
    lines = [f'vault_{name}: "{value}"' for name, value in wanted.secrets.items()]
    return "\n".join(["---", f"# {edit_command(wanted)}", *lines, ""])


def edit_command(wanted: Wanted) -> str:
    """Return how to change the secrets."""
    return f"ansible-vault edit inventories/{wanted.words['NAME']}/group_vars/all/vault.yml"


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
            new.write(f"{secrets.token_hex(32)}\n")
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
    name = wanted.words["NAME"]
    files = {
        "hosts.yml": hosts_yml(wanted),
        "group_vars/all/main.yml": main_yml(wanted),
        "group_vars/all/vault.yml": encrypted(vault_yml(wanted), password),
    }
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=inventories) as building:
        # A folder in that one, since that one is for its owner alone.
        folder = Path(building) / name
        for file, text in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        folder.rename(inventories / name)


def written(wanted: Wanted, password: Path) -> str:
    """Return what to say of an inventory that was written."""
    folder = f"inventories/{wanted.words['NAME']}"
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
        if count := len(wanted.hosts.get(name, ())):
            yield f"{count} {what}{'s' if count > 1 else ''}"


def main(arguments: Sequence[str], inventories: Path = PROJECT / "inventories") -> int:
    """Run the command; return its exit code."""
    wanted = read(arguments)
    if refused := list(refusals(wanted, inventories)):
        words = " ".join(f"{word}={WORDS[word]}" for word in REQUIRED)
        lines = ["No inventory was written:", *(f"- {one}" for one in refused), f"Such as: make inventory {words}"]
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
