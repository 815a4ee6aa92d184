"""The module redis_config: what is set live, what waits for a restart, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.redis_client import quote
from ansible.plugins.modules import redis_config

from servers import Farm, RedisServer, server_binary
from test_modules import PASSWORD, Run, run

__all__ = ["run"]

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def server(farm: Farm) -> RedisServer:
    return farm.server(password=PASSWORD, maxmemory="64mb", databases="16")


@pytest.fixture
def configure(run: Run, server: RedisServer, tmp_path: Path) -> Configure:
    """Run the module on the server with its own directives, changed by the keywords."""
    auth_file = tmp_path / "auth.conf"
    auth_file.write_text(f"requirepass {quote(PASSWORD)}\n")
    path = tmp_path / "redis.conf"

    def start(check: bool = False, **directives: str) -> dict[str, Any]:
        own = {"port": str(server.port), "bind": server.host, "save": '""', "appendonly": "no"}
        own |= {"repl-diskless-sync-delay": "0", "maxmemory": "64mb", "databases": "16", **directives}
        lines = [f"{name.replace('_', '-')} {value}" for name, value in own.items()]
        return run(
            redis_config,
            check=check,
            address=server.host,
            port=server.port,
            auth_file=str(auth_file),
            path=str(path),
            program=str(server_binary()),
            content="\n".join([*lines, f"include {auth_file}"]) + "\n",
        )

    return start


def get(server: RedisServer, name: str) -> str:
    return str(server.client().config_get(name)[name])


def test_a_configuration_that_the_server_has_is_no_change(configure: Configure) -> None:
    assert configure()["changed"] is True
    result = configure()
    assert (result["changed"], result["set"], result["restart"], result["answers"]) == (False, {}, [], True)
    assert result["diff"] == []


@pytest.mark.parametrize("value", ["67108864", "65536kb", "64MB", "64mb"])
def test_the_same_value_in_other_units_is_no_difference(configure: Configure, value: str) -> None:
    assert configure(maxmemory=value)["set"] == {}


def test_a_mutable_directive_is_set_at_once(configure: Configure, server: RedisServer) -> None:
    foretold = configure(check=True, maxmemory="128mb")
    assert (foretold["set"], foretold["was"]) == ({"maxmemory": "134217728"}, {"maxmemory": "67108864"})
    assert get(server, "maxmemory") == "67108864"
    result = configure(maxmemory="128mb", save="3600 1 300 10")
    assert result["set"] == {"maxmemory": "134217728", "save": "3600 1 300 10"}
    assert (get(server, "maxmemory"), get(server, "save")) == ("134217728", "3600 1 300 10")
    assert configure(maxmemory="128mb", save="3600 1 300 10")["changed"] is False


def test_an_immutable_directive_waits_for_a_restart(configure: Configure, server: RedisServer) -> None:
    for _ in range(2):
        result = configure(databases="17")
        assert (result["set"], result["restart"]) == ({}, ["databases 16 -> databases 17"])
    assert get(server, "databases") == "16"
    assert [change["after_header"].split()[-1] for change in configure(check=True, databases="18")["diff"]] == [
        result_path(configure),
        "restart",
    ]


def result_path(configure: Configure) -> str:
    return str(configure(check=True, databases="18")["diff"][0]["after_header"])


def test_what_somebody_set_by_hand_is_found_and_healed(configure: Configure, server: RedisServer) -> None:
    configure()
    for name, value in (("maxmemory-samples", "9"), ("slowlog-max-len", "7"), ("replica-priority", "5")):
        server.client().config_set(name, value)
    foretold = configure(check=True)
    # Valkey has two names for some.
    assert {"maxmemory-samples", "replica-priority", "slowlog-max-len"} <= set(foretold["set"])
    assert get(server, "slowlog-max-len") == "7"
    text = "".join(change["before"] for change in foretold["diff"])
    assert "slowlog-max-len 7" in text
    assert configure()["changed"] is True
    assert get(server, "slowlog-max-len") == "128"


def test_a_directive_that_the_program_does_not_know_is_refused(configure: Configure, tmp_path: Path) -> None:
    configure()
    before = (tmp_path / "redis.conf").read_text()
    for check in (True, False):
        result = configure(check=check, maxmemry="64mb")
        assert "maxmemry" in result["msg"]
        assert "which is as it was" in result["msg"]
    assert (tmp_path / "redis.conf").read_text() == before


@pytest.mark.parametrize(
    ("name", "value"), [("requirepass", '"hunter2" "hunter2 twice"'), ("masterauth", '"hunter2" twice')]
)
def test_a_refused_line_with_a_secret_is_not_repeated(configure: Configure, name: str, value: str) -> None:
    message = configure(**{name: value})["msg"]
    assert f"'{name}" in message
    assert "***" in message
    assert "hunter2" not in message


def test_a_value_that_the_program_does_not_take_is_refused(configure: Configure) -> None:
    assert "much" in configure(maxmemory="much")["msg"]


def test_a_server_that_does_not_run_is_only_given_its_file(configure: Configure, server: RedisServer) -> None:
    server.stop()
    result = configure(maxmemory="128mb")
    assert (result["changed"], result["answers"], result["set"], result["restart"]) == (True, False, {}, [])
    assert configure(maxmemory="128mb")["changed"] is False


def test_in_check_mode_nothing_may_be_installed_yet(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "redis.conf")
    absent: dict[str, Any] = {"path": path, "program": str(tmp_path / "nothing"), "port": 1, "content": "port 1\n"}
    assert run(redis_config, check=True, **absent)["changed"] is True
    assert "does not take" in run(redis_config, **absent)["msg"]


def test_a_diff_shows_no_secret(configure: Configure) -> None:
    result = configure(user="somebody on >opensesame +@all", tls_key_file_pass="opensesame", masterauth="opensesame")
    assert "opensesame" not in str({**result, "invocation": ""})
    assert "user ***" in str(result["diff"])


def test_a_secret_that_is_set_is_named_without_its_value(configure: Configure) -> None:
    result = configure(check=True, tls_key_file_pass="opensesame")
    assert (result["set"], result["was"]) == ({"tls-key-file-pass": "***"}, {"tls-key-file-pass": "***"})


def test_in_check_mode_a_folder_may_not_be_there_yet(configure: Configure, tmp_path: Path) -> None:
    """The role is about to make it; what else is wrong is found nevertheless."""
    folder = str(tmp_path / "data")
    assert configure(check=True, dir=folder)["changed"] is True
    assert "maxmemry" in configure(check=True, dir=folder, maxmemry="1")["msg"]
    assert "No such file or directory" in configure(dir=folder)["msg"]


def test_the_throwaway_server_leaves_nothing_behind(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    configure(appendonly="yes")
    configure(maxmemry="1")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_port_is_never_changed_under_its_clients() -> None:
    pairs = redis_config.differences({"port": "1", "maxclients": "5"}, {"port": "0", "maxclients": "9"}, "port 2\n")
    assert pairs == {"port": ("1", "2")}


def test_a_folder_that_somebody_else_set_needs_a_restart(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    text = f"dir {tmp_path / 'link'}\n"
    wanted = {"dir": "/tmp/redis-try-x"}
    assert redis_config.differences({"dir": str(tmp_path / "data")}, wanted, text) == {}
    assert list(redis_config.differences({"dir": "/etc"}, wanted, text)) == ["dir"]
    assert "dir" in redis_config.AT_START


def test_a_server_that_does_not_let_itself_be_asked_is_an_error(
    configure: Configure, server: RedisServer, tmp_path: Path
) -> None:
    configure()
    (tmp_path / "auth.conf").write_text('requirepass "another"\n')
    result = configure(maxmemory="128mb")
    assert "does not say what it has, and its configuration is as it was: WRONGPASS" in result["msg"]
    assert "maxmemory 64mb" in (tmp_path / "redis.conf").read_text()


def test_a_leader_waits_for_replicas_only_when_it_has_them(
    configure: Configure, server: RedisServer, farm: Farm
) -> None:
    result = configure(min_replicas_to_write="1")
    assert (result["postponed"], result["set"]) == (["min-replicas-to-write"], {})
    server.client().set("still", "writable")
    farm.server(PASSWORD, server)
    result = configure(min_replicas_to_write="1")
    assert (result["postponed"], result["set"]) == ([], {"min-replicas-to-write": "1"})
    assert configure(min_replicas_to_write="1")["changed"] is False
