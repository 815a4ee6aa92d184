"""`make inventory`: what it writes passes the check and loads, and what it cannot write it refuses whole."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from hypothesis import assume, given, settings
from inventories import create

from conftest import PROJECT
from deployment.checks.rendered import django_caches
from deployment.checks.rules import inventory_problems
from deployment.clients import CLIENTS, UNABLE
from deployment.model import Inventory, hosts_of
from deployment.topology import redis_nodes, redis_sentinels

SCRIPT = PROJECT / "ansible" / "vault_password"
SIX = "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"
THREE = "10.0.0.1 10.0.0.2 10.0.0.3"
# Servers that each mode can have.
SERVERS = {"locmem": "", "standalone": "10.0.0.1", "replication": THREE, "sentinel": THREE, "cluster": SIX}
PAIRS = [(mode, client) for mode in SERVERS for client in ("", *CLIENTS) if (client, mode) not in UNABLE]
EACH_MODE = pytest.mark.parametrize("mode", SERVERS)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of configurations, empty, and no vault password of the user's own."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_VAULT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def folder(tmp_path: Path, config: Path) -> Path:
    """An empty folder of inventories."""
    path = tmp_path / "inventories"
    path.mkdir()
    return path


@pytest.fixture
def _no_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save the second that ansible-vault takes."""
    monkeypatch.setattr(create, "encrypted", lambda text, password: f"encrypted with {password}\n")


def words(mode: str, client: str = "", **others: str) -> list[str]:
    """Arguments for a right inventory of a mode, with other words in place of some; an empty one is left out."""
    right = {"NAME": "prod", "MODE": mode, "REDIS": SERVERS.get(mode, THREE), "APP": "10.0.0.9", "CLIENT": client}
    return [f"{word}={value}" for word, value in {**right, **others}.items() if value]


def wanted(*arguments: str) -> create.Wanted:
    """What the arguments ask for, which must be right."""
    found, faults = create.read(arguments, Path("/nonexistent"))
    assert faults == []
    return found


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def ran(*command: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Ansible's with the project's configuration."""
    variables = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), **environment}
    command = (program(command[0]), *command[1:])
    return subprocess.run(command, input=text, env=variables, capture_output=True, text=True, check=False)


def decrypted(path: Path, password: str) -> dict[str, str]:
    text = VaultLib([("default", VaultSecret(password.encode()))]).decrypt(path.read_text("utf-8"))
    values: dict[str, str] = yaml.safe_load(text)
    return values


def loaded(asked: create.Wanted, main: str | None = None) -> Inventory:
    """The inventory as the check sees it, read from what would be written."""
    hosts, common = yaml.safe_load(create.hosts_yml(asked)), yaml.safe_load(main or create.main_yml(asked))
    vault = yaml.safe_load(create.vault_yml(asked))
    for name in create.secrets_of(asked.mode):
        assert common[name] == f"{{{{ vault_{name} }}}}"
        common[name] = vault.pop(f"vault_{name}")
    assert vault == {}
    groups = {name: list(group["hosts"]) for name, group in hosts.items()}
    variables: dict[str, dict[str, Any]] = {host: dict(common) for host in hosts_of(groups)}
    for group in hosts.values():
        for host, own in group["hosts"].items():
            variables[host].update(own or {})
    return Inventory(variables, {"all": list(variables), **groups})


def used(main: str) -> str:
    """The text with everything in use that it offers as a comment."""
    return re.sub(r"^# (?=([a-z_]+:|  \S))", "", main, flags=re.M)


# What is written


@pytest.mark.parametrize(("mode", "client"), PAIRS)
def test_it_passes_the_check_as_it_is_and_with_all_that_it_offers(mode: str, client: str) -> None:
    asked = wanted(*words(mode, client))
    main = create.main_yml(asked)
    assert inventory_problems(loaded(asked)) == []
    offered = used(main)
    assert len(offered.splitlines()) == len(main.splitlines())
    assert len(yaml.safe_load(offered)) > len(yaml.safe_load(main)) + 8
    inventory = loaded(asked, offered)
    assert inventory_problems(inventory) == []
    # Its caches are also what the filter takes.
    app = inventory.variables["app-1"]
    sentinels = redis_sentinels(inventory.groups.get("redis_sentinel", ()), inventory.variables, mode)
    caches = django_caches(
        app["django_app_cache_aliases"],
        mode,
        inventory.deployments[0].client("app-1"),
        redis_nodes(inventory.groups["redis"], inventory.variables, mode),
        session_alias=None if mode == "locmem" else "dj_session",
        sentinels=sentinels,
    )
    assert set(caches) == set(app["django_app_cache_aliases"]) >= {"default", "reports"}


@pytest.mark.parametrize(("mode", "client"), PAIRS)
def test_it_has_what_was_asked_for_and_the_secrets_of_its_mode(mode: str, client: str) -> None:
    asked = wanted(*words(mode, client, DOMAIN="www.example.com, .example.org"))
    secrets = {"django_app_secret_key", *(["redis_password", "redis_admin_password"] if mode != "locmem" else [])}
    secrets |= {"redis_sentinel_password"} if mode == "sentinel" else set()
    main = yaml.safe_load(create.main_yml(asked))
    assert set(main) == {"cache_mode", *secrets, "django_app_allowed_hosts", *(["cache_client"] if client else [])}
    assert (main["cache_mode"], main.get("cache_client", "")) == (mode, client)
    assert main["django_app_allowed_hosts"] == ["www.example.com", ".example.org"]
    groups = yaml.safe_load(create.hosts_yml(asked))
    assert list(groups) == ["redis", *(["redis_sentinel"] if mode == "sentinel" else []), "django_app"]


def test_it_keeps_to_the_style_of_the_project(tmp_path: Path) -> None:
    for mode, client in PAIRS:
        asked = wanted(*words(mode, client, DOMAIN="www.example.com"))
        main = create.main_yml(asked)
        for number, text in enumerate((create.hosts_yml(asked), main, used(main), create.vault_yml(asked))):
            (tmp_path / f"{mode}-{client}-{number}.yml").write_text(text)
            assert max(map(len, text.splitlines())) <= 120
    command = [program("yamllint"), "--strict", "--config-file", str(PROJECT / ".yamllint"), str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


# (arguments, the hosts of each group)
HOSTS: list[tuple[list[str], dict[str, dict[str, Any]]]] = [
    (words("locmem"), {"redis": {}, "django_app": {"app-1": {"ansible_host": "10.0.0.9"}}}),
    (
        words("sentinel", REDIS="10.0.0.1,10.0.0.2,  10.0.0.3", APP="10.0.0.8\n10.0.0.9"),
        {
            "redis": {f"redis-{number}": {"ansible_host": f"10.0.0.{number}"} for number in (1, 2, 3)},
            "redis_sentinel": {"redis-1": None, "redis-2": None, "redis-3": None},
            "django_app": {"app-1": {"ansible_host": "10.0.0.8"}, "app-2": {"ansible_host": "10.0.0.9"}},
        },
    ),
    # Names are the hosts' own names, also where one host is in several groups.
    (
        words("standalone", REDIS="Db.example.com", APP="db.example.com"),
        {"redis": {"db.example.com": None}, "django_app": {"db.example.com": None}},
    ),
    # Not where another host has that name, or a group, or where YAML reads something else.
    (
        words("replication", REDIS="redis-2 10.0.0.2 redis", APP="on"),
        {
            "redis": {
                "redis-2": None,
                "redis-1": {"ansible_host": "10.0.0.2"},
                "redis-3": {"ansible_host": "redis"},
            },
            "django_app": {"on": None},
        },
    ),
    # Several servers on one machine.
    (
        words("replication", REDIS="db:6379 db:6380 cache:6379", APP="app:8080"),
        {
            "redis": {
                "redis-1": {"ansible_host": "db", "redis_port": 6379},
                "redis-2": {"ansible_host": "db", "redis_port": 6380},
                "cache": {"redis_port": 6379},
            },
            "django_app": {"app": {"django_app_port": 8080}},
        },
    ),
    (
        words("replication", REDIS="2001:DB8:0::1 [2001:db8::1]:6380 2001:db8::", APP="[2001:db8::9]"),
        {
            "redis": {
                "redis-1": {"ansible_host": "2001:db8::1"},
                "redis-2": {"ansible_host": "2001:db8::1", "redis_port": 6380},
                "redis-3": {"ansible_host": "2001:db8::"},
            },
            "django_app": {"app-1": {"ansible_host": "2001:db8::9"}},
        },
    ),
    # A Sentinel on a machine that has a server has that one's name, once.
    (
        words("sentinel", REDIS="10.0.0.1 db", SENTINEL="10.0.0.1:26380 db 10.0.0.7 watch:26380 10.0.0.1"),
        {
            "redis": {"redis-1": {"ansible_host": "10.0.0.1"}, "db": None},
            "redis_sentinel": {
                "redis-1": {"redis_sentinel_port": 26380},
                "db": None,
                "sentinel-1": {"ansible_host": "10.0.0.7"},
                "watch": {"redis_sentinel_port": 26380},
                "sentinel-2": {"ansible_host": "10.0.0.1"},
            },
            "django_app": {"app-1": {"ansible_host": "10.0.0.9"}},
        },
    ),
    # Without SENTINEL there is one on each machine.
    (
        words("sentinel", REDIS="10.0.0.1:6379 10.0.0.1:6380 db 10.0.0.3"),
        {
            "redis": {
                "redis-1": {"ansible_host": "10.0.0.1", "redis_port": 6379},
                "redis-2": {"ansible_host": "10.0.0.1", "redis_port": 6380},
                "db": None,
                "redis-3": {"ansible_host": "10.0.0.3"},
            },
            "redis_sentinel": {"redis-1": None, "db": None, "redis-3": None},
            "django_app": {"app-1": {"ansible_host": "10.0.0.9"}},
        },
    ),
    # This machine alone.
    (
        words("replication", REDIS="127.0.0.1 localhost:6380", APP="::1"),
        {
            "redis": {
                "redis-1": {"ansible_host": "127.0.0.1"},
                "redis-2": {"ansible_host": "localhost", "redis_port": 6380},
            },
            "django_app": {"app-1": {"ansible_host": "::1"}},
        },
    ),
]


@pytest.mark.parametrize(("arguments", "hosts"), HOSTS)
def test_hosts_are_named_and_placed(arguments: list[str], hosts: dict[str, dict[str, Any]]) -> None:
    asked = wanted(*arguments)
    assert yaml.safe_load(create.hosts_yml(asked)) == {name: {"hosts": group} for name, group in hosts.items()}
    assert inventory_problems(loaded(asked)) == []


def test_the_first_leader_is_said() -> None:
    text = create.hosts_yml(wanted(*words("sentinel")))
    assert "    redis-1: {ansible_host: 10.0.0.1} # leads when nothing runs yet\n    redis-2: {" in text
    assert "# leads" not in create.hosts_yml(wanted(*words("cluster")))


MACHINES = [*(f"10.0.0.{number}" for number in range(1, 9)), "db", "cache", "2001:db8::1", "on", "redis", "redis-1"]
PLACES = st.builds(create.Place, st.sampled_from(MACHINES), st.sampled_from([None] * 6 + [6380, 8000, 16379, 26379]))
# How many servers each mode can have.
MOST = {"locmem": (0, 0), "standalone": (1, 1), "replication": (2, 4), "sentinel": (2, 5), "cluster": (6, 8)}


def places(least: int, most: int) -> st.SearchStrategy[str]:
    return st.lists(PLACES.map(str), min_size=least, max_size=most, unique=True).map(" ".join)


@given(st.sampled_from(PAIRS), st.data())
@settings(max_examples=300)
def test_what_is_not_refused_passes_the_check(pair: tuple[str, str], data: st.DataObject) -> None:
    redis, apps = data.draw(places(*MOST[pair[0]])), data.draw(places(1, 3))
    sentinels = data.draw(places(3, 3) | st.just("")) if pair[0] == "sentinel" else ""
    asked, faults = create.read(words(*pair, REDIS=redis, SENTINEL=sentinels, APP=apps), Path("/nonexistent"))
    assume(not faults)
    assert inventory_problems(loaded(asked)) == []


@EACH_MODE
def test_ansible_reads_what_is_written(
    mode: str, folder: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert create.main(words(mode), folder) == 0
    said = capsys.readouterr().out
    assert "\n  make preflight INVENTORY=inventories/prod\n  ansible-playbook -i inventories/prod site.yml" in said
    files = [path for path in (folder / "prod").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(folder).as_posix() for path in files) == [
        "prod/group_vars/all/main.yml",
        "prod/group_vars/all/vault.yml",
        "prod/hosts.yml",
    ]
    password_file = config / "cachestack" / "vault_password"
    password = password_file.read_text("utf-8").strip()
    secrets = decrypted(folder / "prod/group_vars/all/vault.yml", password)
    assert {name: len(value) for name, value in secrets.items()} == {
        f"vault_{name}": length for name, length in create.secrets_of(mode).items()
    }
    for value in (password, *secrets.values()):
        assert re.fullmatch(r"[A-Za-z0-9]{48,}", value)
        assert value not in said
        assert not any(value in path.read_text("utf-8") for path in files)
    # Without a flag, since ansible.cfg names the script that has the password.
    listed = json.loads(ran("ansible-inventory", "-i", str(folder / "prod"), "--list").stdout)
    inventory = loaded(wanted(*words(mode)))
    for group, hosts in inventory.groups.items():
        assert group == "all" or listed.get(group, {"hosts": []})["hosts"] == hosts
    for host, variables in inventory.variables.items():
        assert listed["_meta"]["hostvars"][host].items() >= {**secrets, "cache_mode": mode}.items()
        assert listed["_meta"]["hostvars"][host].get("ansible_host") == variables.get("ansible_host")


@pytest.mark.usefixtures("_no_vault")
def test_rights(folder: Path, config: Path) -> None:
    assert create.main(words("standalone"), folder) == 0

    def rights(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    others = 0o777 & ~current_umask()
    assert rights(config / "cachestack") == 0o700
    assert rights(config / "cachestack" / "vault_password") == 0o600
    assert rights(folder / "prod") == others
    assert rights(folder / "prod" / "hosts.yml") == others & 0o666


def current_umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask


# Nothing is lost, and nothing is left behind


@pytest.mark.usefixtures("_no_vault")
def test_it_never_overwrites(folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert create.main(words("standalone"), folder) == 0
    before = contents(folder) | contents(config)
    assert create.main(words("sentinel"), folder) == 2
    assert "inventories/prod is there already" in capsys.readouterr().err
    assert create.main(words("sentinel", NAME="other"), folder) == 0
    assert (contents(folder) | contents(config)).items() >= before.items()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_comes_up_meanwhile_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def encrypted(text: str, password: Path) -> str:
        (folder / "prod").mkdir()
        (folder / "prod" / "hosts.yml").write_text("mine")
        return text

    monkeypatch.setattr(create, "encrypted", encrypted)
    assert create.main(words("standalone"), folder) == 1
    assert "No inventory was written: " in capsys.readouterr().err
    assert contents(folder) == {str(folder / "prod" / "hosts.yml"): b"mine"}
    assert os.listdir(folder) == ["prod"]


@pytest.fixture
def _handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, create.interrupted)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_handler", "_no_vault")
def test_an_interruption_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(self: Path, target: Path) -> None:
        assert [path.name for path in self.rglob("*.yml")] != []
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(SystemExit) as ended:
        create.main(words("standalone"), folder)
    assert ended.value.code == 128 + signal.SIGTERM
    assert os.listdir(folder) == []


def test_a_failure_of_ansible_vault_is_told(folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config / "cachestack" / "vault_password"
    path.parent.mkdir(parents=True)
    path.write_text("\n")
    assert create.main(words("standalone"), folder) == 1
    said = capsys.readouterr().err
    assert said.startswith("No inventory was written: ansible-vault did not encrypt the secrets")
    assert str(path) in said
    assert "vault_redis_password" not in said
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_made_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert create.main(words("standalone"), folder) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


# What is refused

# (arguments, what must be said of each problem)
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], ["NAME is missing; write NAME=prod", "MODE is missing", "REDIS is missing", "APP is missing"]),
    "empty": (["NAME=", "MODE= ", "REDIS=,", "APP="], ["NAME is", "MODE is", "REDIS is", "APP is missing"]),
    "a slip": (words("sentinel", SENTINELS="10.0.0.7"), ["SENTINELS: it is unknown; did you mean SENTINEL?"]),
    "small letters": (["name=prod", *words("locmem", NAME="")], ["name: it is unknown; did you mean NAME?", "NAME is"]),
    "no word": (["prod", *words("locmem")], ["prod: it is unknown; there are NAME, MODE, REDIS, APP"]),
    "a shipped name": (words("locmem", NAME="shipped"), ["NAME shipped: inventories/shipped is there already"]),
    "a path": (words("locmem", NAME="inventories/prod"), ["NAME inventories/prod: it is a path"]),
    "a way out": (words("locmem", NAME="../prod"), ["NAME ../prod: it is a path"]),
    "dots": (words("locmem", NAME=".."), ["NAME ..: it is no name of a folder here"]),
    "hidden": (words("locmem", NAME=".prod"), ["NAME .prod: it is no name"]),
    "an option": (words("locmem", NAME="-prod"), ["NAME -prod: it is no name"]),
    "a blank": (words("locmem", NAME="my prod"), ["NAME my prod: it is no name", "letters, digits and . _ -"]),
    "umlauts": (words("locmem", NAME="prüf"), ["NAME prüf: it is no name"]),
    "too long": (words("locmem", NAME="a" * 65), ["it is no name", "up to 64"]),
    "unknown mode": (words("sentinal"), ["MODE sentinal: it is unknown; did you mean sentinel? choose locmem,"]),
    "unknown client": (
        words("locmem", "django-redis"),
        ["CLIENT django-redis: it is unknown; did you mean django_redis? choose builtin"],
    ),
    "builtin of Sentinels": (
        words("sentinel", "builtin"),
        ["CLIENT builtin: it has no mode sentinel; write CLIENT=django_redis or resilient"],
    ),
    "builtin of clusters": (words("cluster", "builtin"), ["it has no mode cluster; write CLIENT=resilient,"]),
    "django-redis of clusters": (words("cluster", "django_redis"), ["CLIENT django_redis: it has no mode cluster"]),
    "locmem with Redis": (
        words("locmem", REDIS="10.0.0.1"),
        ["REDIS has 1 server, and MODE=locmem has none", "remove REDIS"],
    ),
    "two alone": (
        words("standalone", REDIS="10.0.0.1 10.0.0.2"),
        ["REDIS has 2 servers, and MODE=standalone has exactly one", "MODE=replication"],
    ),
    "no replica": (
        words("replication", REDIS="10.0.0.1"),
        ["REDIS has 1 server, and MODE=replication needs 2 or more", "MODE=standalone"],
    ),
    "nobody to watch": (
        words("sentinel", REDIS="10.0.0.1"),
        ["and MODE=sentinel needs 2 or more", "REDIS has, with one on each machine, 1 Sentinel, which cannot outlive"],
    ),
    "two Sentinels": (
        words("sentinel", REDIS="10.0.0.1 10.0.0.2"),
        ["2 Sentinels, which cannot outlive the loss of one; MODE=sentinel needs 3, 5", 'SENTINEL="10.0.0.4'],
    ),
    "four Sentinels": (
        words("sentinel", REDIS=f"{THREE} 10.0.0.4"),
        ["4 Sentinels, which outlive no more losses", f'write SENTINEL="{THREE}"'],
    ),
    "two named Sentinels": (words("sentinel", SENTINEL="a b"), ["SENTINEL has 2 Sentinels, which cannot"]),
    "Sentinels of another mode": (
        words("replication", SENTINEL=THREE),
        ["SENTINEL: MODE=replication has no Sentinels; remove it, or write MODE=sentinel"],
    ),
    "Sentinels on one machine": (
        words("sentinel", SENTINEL="10.0.0.1:26379 10.0.0.1:26380 10.0.0.2"),
        ["SENTINEL has 2 of 3 on 10.0.0.1, with which most Sentinels would be lost; have 1 at most"],
    ),
    "a small cluster": (
        words("cluster", REDIS=THREE),
        ["and MODE=cluster needs 6 or more, 3 primaries with a replica each; add 3"],
    ),
    "a cluster on one machine": (
        words("cluster", REDIS="db:1 db:2 db:3 db:4 10.0.0.2:5 10.0.0.2:6"),
        ["REDIS has 4 of 6 on db, with which a primary and its replica would be lost; have 3 at most"],
    ),
    "a high port": (
        words("cluster", REDIS=f"{SIX} 10.0.0.1:60000"),
        ["REDIS 10.0.0.1:60000: a cluster also needs the port 10000 above; write 55535 or less"],
    ),
    "the port of a bus": (
        words("cluster", REDIS=f"{SIX} 10.0.0.1:16379"),
        ["REDIS 10.0.0.1:16379: REDIS 10.0.0.1:6379 has that port (a cluster's servers have a second one, 10000"],
    ),
    "twice": (
        words("replication", REDIS="10.0.0.1 10.0.0.2 10.0.0.1:6379"),
        ["REDIS 10.0.0.1:6379 is there twice", "such as 10.0.0.1:6379 10.0.0.1:6380"],
    ),
    "twice by name": (words("replication", REDIS="db DB"), ["REDIS db:6379 is there twice"]),
    "twice in IPv6": (
        words("replication", REDIS="2001:db8::1 [2001:DB8:0::1]:6379"),
        ["REDIS [2001:db8::1]:6379 is there twice"],
    ),
    "a Sentinel twice": (
        words("sentinel", SENTINEL=f"{THREE} 10.0.0.1 10.0.0.2"),
        ["SENTINEL 10.0.0.1:26379 is there twice", "SENTINEL 10.0.0.2:26379 is there twice"],
    ),
    "the port of a Sentinel": (
        words("sentinel", REDIS="10.0.0.1:26379 10.0.0.2 10.0.0.3"),
        ["SENTINEL 10.0.0.1:26379: REDIS 10.0.0.1:26379 has that port; write another one"],
    ),
    "Django twice": (words("locmem", APP="10.0.0.9 10.0.0.9:8001"), ["APP has 10.0.0.9 2 times; write each machine"]),
    "loopback": (
        words("replication", REDIS="127.0.0.1 10.0.0.2"),
        ["127.0.0.1: every machine finds itself there, so that 10.0.0.2, 10.0.0.9 could not reach it"],
    ),
    "loopback for Django": (words("standalone", APP="localhost"), ["localhost: every machine", "10.0.0.1 could not"]),
    "no address": (words("standalone", REDIS="10.0.0.256"), ["REDIS 10.0.0.256: it is no address and no name"]),
    "half an address": (words("standalone", REDIS="10.0.0"), ["REDIS 10.0.0: it is no address"]),
    "a network": (words("standalone", REDIS="10.0.0.0/24"), ["REDIS 10.0.0.0/24: it is no address"]),
    "a URL": (words("standalone", REDIS="redis://db:6379"), ["REDIS redis://db:6379: it is no address"]),
    "a user": (words("standalone", APP="me@app"), ["APP me@app: it is no address"]),
    "nobody's address": (words("standalone", REDIS="0.0.0.0"), ["REDIS 0.0.0.0: it is no address"]),
    "everybody's address": (words("standalone", REDIS="::"), ["REDIS ::: it is no address"]),
    "an option as a host": (words("standalone", REDIS="-oProxyCommand=x"), ["REDIS -oProxyCommand=x: it is no"]),
    "a template": (words("standalone", REDIS="{{x}}"), ["REDIS {{x}}: it is no address"]),
    "no port": (words("standalone", REDIS="db:"), ["REDIS db:: it is no address"]),
    "port 0": (words("standalone", REDIS="db:0"), ["REDIS db:0: its port is none; write one from 1 to 65535"]),
    "a port too high": (words("standalone", REDIS="db:65536"), ["REDIS db:65536: its port is none"]),
    "brackets around a name": (words("standalone", REDIS="[db]:6379"), ["REDIS [db]:6379: it is no address"]),
    "a domain with a scheme": (
        words("locmem", DOMAIN="https://www.example.com"),
        ["DOMAIN https://www.example.com: it is no name of a site; write www.example.com"],
    ),
    "a domain with a port": (words("locmem", DOMAIN="www.example.com:443"), ["DOMAIN www.example.com:443: it is no"]),
    "every domain": (words("locmem", DOMAIN="*"), ["DOMAIN *: it is no name of a site"]),
    "everything": (
        ["NAME=a/b", "MODE=clustre", "CLIENT=x", "REDIS=1.2.3 ::1", "APP=10.0.0.9", "DOMAIN=a:b", "APPS=c"],
        ["NAME a/b", "did you mean cluster?", "CLIENT x", "REDIS 1.2.3", "::1: every machine", "DOMAIN a:b", "APPS"],
    ),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_words_are_refused_together(
    arguments: list[str], said: list[str], folder: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "shipped").mkdir()
    assert create.main(arguments, folder) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert (printed.out, lines[0]) == ("", "No inventory was written:")
    assert lines[-1].startswith("Such as: make inventory NAME=prod MODE=sentinel REDIS=")
    for words_of_it in said:
        assert any(words_of_it in line for line in lines[1:-1]), printed.err
    # No problem is said that is none.
    assert len(lines) - 2 <= max(len(said), 1)
    assert os.listdir(folder) == ["shipped"]
    assert not config.exists()


# The vault's password


def test_the_users_own_password_file_wins(folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = folder.parent / "own"
    own.write_text("open sesame\n")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(own))
    monkeypatch.setenv("ANSIBLE_VAULT_IDENTITY_LIST", f"other@{own}")
    assert create.main(words("standalone"), folder) == 0
    assert "vault_redis_password" in decrypted(folder / "prod/group_vars/all/vault.yml", "open sesame")
    assert not config.exists()


def test_the_script_prints_the_password(config: Path) -> None:
    path = create.password_file()
    assert path == config / "cachestack" / "vault_password"
    before = path.read_text("utf-8")
    assert create.password_file().read_text("utf-8") == before
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (before, "")


def test_where_nobody_says_a_folder_it_is_in_the_home(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = create.password_file()
    assert path == tmp_path / ".config" / "cachestack" / "vault_password"
    assert subprocess.check_output([str(SCRIPT)], text=True) == path.read_text("utf-8")


@pytest.mark.usefixtures("config")
def test_without_a_password_ansible_works_and_encrypts_nothing() -> None:
    """What ships has no vault; what would be encrypted with no secret could be read by everyone."""
    done = ran("ansible-inventory", "-i", str(PROJECT / "inventories" / "locmem"), "--list")
    assert done.returncode == 0
    assert "app-1" in done.stdout
    done = ran("ansible-vault", "encrypt", text="anything: secret\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "vault_password, is not on this machine: copy it from where the inventory was made" in done.stderr


@pytest.mark.parametrize("encrypted", [True, False])
def test_only_a_vault_that_will_not_open_is_spoken_of(encrypted: bool, tmp_path: Path, config: Path) -> None:
    (tmp_path / "ansible").mkdir()
    script = shutil.copy(SCRIPT, tmp_path / "ansible")
    path = tmp_path / "inventories" / "prod" / "group_vars" / "all" / "vault.yml"
    path.parent.mkdir(parents=True)
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n" if encrypted else "---\n")
    done = subprocess.run([script], capture_output=True, text=True, check=True)
    # Ansible takes no empty answer.
    assert done.stdout.strip()
    needed = f"For {path.relative_to(tmp_path)}: the vault password, {config}/cachestack/vault_password, is not on"
    assert done.stderr.startswith(needed) if encrypted else done.stderr == ""


def test_ansible_can_run_the_script() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert "\nvault_password_file = ansible/vault_password\n" in (PROJECT / "ansible.cfg").read_text("utf-8")


@pytest.mark.usefixtures("_no_vault", "config")
def test_git_takes_the_whole_inventory(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "inventories" / ".prod.half-written").mkdir(parents=True)
    (checkout / "inventories" / ".prod.half-written" / "hosts.yml").write_text("---\n")
    shutil.copy(PROJECT / ".gitignore", checkout)
    assert create.main(words("sentinel"), checkout / "inventories") == 0
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    listed = subprocess.check_output(["git", "ls-files", "--others", "--exclude-standard"], cwd=checkout, text=True)
    assert listed.split() == [
        ".gitignore",
        "inventories/prod/group_vars/all/main.yml",
        "inventories/prod/group_vars/all/vault.yml",
        "inventories/prod/hosts.yml",
    ]
