"""What `make settings` prints: it is what site.yml would write, it works when it is pasted, and it holds no secret."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.cache import CacheHandler

from conftest import PROJECT
from deployment.secrets import without_secrets
from rendering import INVENTORIES, SECRETS, app
from test_ask import told_to_a_terminal

pytestmark = pytest.mark.usefixtures("django_project")

CLIENTS = {
    "locmem": ["builtin", "django_redis", "resilient"],
    "standalone": ["builtin", "django_redis", "resilient"],
    "replication": ["builtin", "django_redis", "resilient"],
    "sentinel": ["django_redis", "resilient"],
    "cluster": ["resilient"],
}


def mode_of(inventory: str) -> str:
    return str(
        yaml.safe_load((PROJECT / "inventories" / inventory / "group_vars" / "all.yml").read_text())["cache_mode"]
    )


CASES = [
    *((inventory, mode_of(inventory), client) for inventory in INVENTORIES for client in CLIENTS[mode_of(inventory)]),
    # The one that has the hosts of every mode.
    *(("local", mode, client) for mode, clients in CLIENTS.items() for client in clients if mode != "replication"),
]
# Django 3.2 has no other client.
CASES = [case for case in CASES if case[0] != "django_redis" or case[2] == "django_redis"]


def paste(inventory: str | Path, **variables: Any) -> str:
    """What `make settings` prints for app-1."""
    return app(inventory, **variables).settings_to_paste()


def pasted(source: str, folder: Path) -> dict[str, Any]:
    """What a settings.py has that consists of this, beside its secrets.json."""
    (folder / "secrets.json").write_text(json.dumps(SECRETS), "utf-8")
    settings: dict[str, Any] = {"__file__": str(folder / "settings.py")}
    exec(compile(source, "settings.py", "exec"), settings)
    return settings


def texts(value: Any) -> list[str]:
    """Every text in a tree of dicts and lists."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts(item)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(("inventory", "mode", "client"), CASES)
def test_it_works_when_it_is_pasted(inventory: str, mode: str, client: str, tmp_path: Path) -> None:
    source = paste(inventory, cache_mode=mode, cache_client=client)
    settings = pasted(source, tmp_path)
    caches = CacheHandler(settings["CACHES"])
    for alias, setting in settings["CACHES"].items():
        cache = caches[alias]
        # What is imported with the first operation only.
        assert getattr(cache, "client", None) or getattr(cache, "_cache", None) is not None
        assert SECRETS["redis_password"] in texts(setting) or mode == "locmem"
        assert (SECRETS["redis_sentinel_password"] in texts(setting)) == (mode == "sentinel")
    if mode != "locmem":
        assert settings["SESSION_ENGINE"] == "django.contrib.sessions.backends.cache"
        assert settings["SESSION_CACHE_ALIAS"] in settings["CACHES"]


@pytest.mark.parametrize(
    ("inventory", "variables"),
    [
        ("locmem", {}),
        ("sentinel", {}),
        ("replication", {"cache_client": "django_redis", "redis_leader": "redis-2"}),
        ("replication", {"django_app_session_alias": "", "django_app_cache_aliases": {"default": {"key_prefix": "ж"}}}),
        ("standalone", {"django_app_caches": {"default": {"OPTIONS": {"password": "REDIS_PASSWORD"}}}}),
    ],
)
def test_it_is_what_would_be_deployed(inventory: str, variables: dict[str, Any]) -> None:
    """All of it but the head, which says what one needs and where the passwords are."""
    host = app(inventory, **variables)
    start = re.compile(r"^(?=REDIS_PASSWORD|# http.*#caches$)", re.MULTILINE)
    printed, deployed = (start.split(source, maxsplit=1)[1] for source in (host.settings_to_paste(), host.settings))
    assert "CACHES = {" in printed
    assert printed == deployed


@pytest.mark.parametrize(
    ("inventory", "variables", "wanted"),
    [
        ("locmem", {"cache_client": "resilient"}, ["Django==5.2.*"]),
        ("replication", {}, ["Django==5.2.*", "redis[hiredis]>=5"]),
        ("django_redis", {}, ["Django==3.2.*", "redis[hiredis]>=5", "django-redis"]),
        (
            "sentinel",
            {"django_app_cache_aliases": {"default": {"compressor": "lz4"}, "dj_session": {"compressor": "zstd"}}},
            ["Django==5.2.*", "redis[hiredis]>=5", "lz4", "pyzstd"],
        ),
    ],
)
def test_the_head_says_what_to_install(inventory: str, variables: dict[str, Any], wanted: list[str]) -> None:
    head = paste(inventory, **variables).partition("CACHES")[0]
    assert (
        re.findall(r'"(\S+)"', next(line for line in head.splitlines() if line.startswith("# pip install"))) == wanted
    )
    assert ("pip install ./django_app" in head) == (inventory == "sentinel")


@pytest.mark.parametrize(
    ("inventory", "variables", "leader"),
    [
        ("replication", {}, "redis-1"),
        ("replication", {"redis_leader": "redis-3"}, "redis-3"),
        ("replication", {"cache_mode": "standalone"}, "redis-1"),
        # Nobody can be meant but the only one, and who leads is asked by Django itself.
        ("standalone", {}, None),
        ("sentinel", {}, None),
        ("cluster", {}, None),
    ],
)
def test_a_leader_is_only_a_guess(inventory: str, variables: dict[str, Any], leader: str | None) -> None:
    found = re.search(r"^# No server was asked: (\S+) leads", paste(inventory, **variables), re.M)
    assert (found[1] if found else None) == leader


# What users hand through may hold secrets.


@pytest.mark.parametrize(
    ("variables", "hidden"),
    [
        ({"django_app_caches": {"default": {"OPTIONS": {"PASSWORD": "s3cret"}}}}, 1),
        ({"django_app_caches": {"default": {"LOCATION": ["redis://:s3cret@192.0.2.1:6379/1"]}}}, 1),
        ({"django_app_cache_aliases": {"default": {"options": {"ssl_password": "s3cret"}}, "dj_session": {}}}, 1),
        ({"django_app_settings": {"SESSION_TOKEN": "s3cret", "SESSION_COOKIE_AGE": 60, "EMAIL_PASSWORD": "s3cret"}}, 0),
    ],
)
def test_it_shows_no_secret_that_the_user_wrote(variables: dict[str, Any], hidden: int) -> None:
    host = app("standalone", **variables)
    source = host.settings_to_paste()
    assert "s3cret" not in source
    assert source.count("# Where a text has '...'") == hidden
    assert "s3cret" in host.settings


def test_other_settings_of_caches_and_sessions_win(tmp_path: Path) -> None:
    own = {"SESSION_ENGINE": "django.contrib.sessions.backends.cached_db", "DEBUG": True}
    settings = pasted(paste("replication", django_app_settings=own), tmp_path)
    assert settings["SESSION_ENGINE"] == own["SESSION_ENGINE"]
    assert "DEBUG" not in settings


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"password": "s3cret", "PASSWORD": 1234}, {"password": "...", "PASSWORD": "..."}),
        ({"password": "REDIS_PASSWORD", "username": "me"}, {"password": "REDIS_PASSWORD", "username": "me"}),
        ({"password": None, "passwords": {"a": "b"}}, {"password": None, "passwords": {"a": "b"}}),
        ({"SENTINEL_KWARGS": {"password": "s3cret"}}, {"SENTINEL_KWARGS": {"password": "..."}}),
        (["rediss://me:s3@cret@h:1/2", "redis://h"], ["rediss://me:...@h:1/2", "redis://h"]),
        ("redis://:a@h1,redis://:b@h2", "redis://:...@h1,redis://:...@h2"),
        ({"TIMEOUT": 300, "OPTIONS": {"db": 1, "x": True, "y": 0.5}}, None),
    ],
)
def test_without_secrets(value: Any, wanted: Any) -> None:
    assert without_secrets(value, names=["REDIS_PASSWORD"]) == (value if wanted is None else wanted)


# The command itself.

SEVERAL = """
redis: {hosts: {redis-1: {ansible_host: 192.0.2.1}}}
django_app:
  hosts:
    app-1: {ansible_host: 192.0.2.2}
    app-2: {ansible_host: 192.0.2.3, django_app_cache_aliases: {default: {db: 7}, dj_session: {db: 8}}}
    app-3: {ansible_host: 192.0.2.4}
"""


@pytest.fixture
def _tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools of this environment, and nothing of the user's."""
    for name in ("ANSIBLE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("ANSIBLE_CONFIG", str(PROJECT / "ansible.cfg"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)


def told(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "ansible" / "ask.py"), "settings", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("_tools")
def test_hosts_that_differ_have_a_block_each(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(SEVERAL, "utf-8")
    names = ("redis_password", "redis_admin_password", "django_app_secret_key")
    secrets = {name: f"s3cret{string.printable[:62]}{name}" for name in names}
    result = told("-i", str(inventory), "-e", "cache_client=django_redis", "-e", json.dumps(secrets))
    assert (result.returncode, result.stderr) == (0, "")
    assert "s3cret" not in result.stdout
    assert "\x1b" not in result.stdout
    assert re.findall(r"^# (app.*)", result.stdout, re.MULTILINE) == ["app-1, app-3", "app-2"]
    assert re.findall(r"redis://192.0.2.1:6379/(\d)", result.stdout) == ["1", "2", "7", "8"]
    pool = pasted(result.stdout, tmp_path)["CACHES"]["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]
    assert (pool["username"], pool["password"]) == ("app", SECRETS["redis_password"])


@pytest.mark.usefixtures("_tools")
def test_on_a_terminal_it_has_colours() -> None:
    coloured = told_to_a_terminal({}, "-i", str(PROJECT / "inventories" / "local"), "-e", "cache_mode=sentinel")
    assert "\x1b[" in coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert plain == paste("local", cache_mode="sentinel")


@pytest.mark.usefixtures("_tools")
def test_a_wrong_inventory_is_refused() -> None:
    result = told("-i", str(PROJECT / "inventories" / "local"), "-e", "cache_client=django-redis")
    assert (result.returncode, result.stdout) == (1, "")
    assert "django-redis" in result.stderr
