"""The part configuration: what is set live, what waits for a restart, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.configuration import AT_START, configuration, differences
from ansible.module_utils.host.run import PartError, Run
from ansible.module_utils.host.topology import topology
from ansible.module_utils.host.users import TO_LEADER, users
from ansible.module_utils.redis_client import RedisClient, quote

from parts import PASSWORD, apply, connection, refused
from servers import Farm, RedisServer, server_binary

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def server(farm: Farm) -> RedisServer:
    return farm.server(password=PASSWORD, maxmemory="64mb", databases="16")


@pytest.fixture
def wanted(server: RedisServer, tmp_path: Path) -> Configure:
    """The parameters for the server with its own directives, changed by the keywords."""
    auth_file = tmp_path / "auth.conf"
    auth_file.write_text(f"requirepass {quote(PASSWORD)}\n")

    def params(**directives: str) -> dict[str, Any]:
        own = {"port": str(server.port), "bind": server.host, "save": '""', "appendonly": "no"}
        own |= {"repl-diskless-sync-delay": "0", "maxmemory": "64mb", "databases": "16", **directives}
        lines = [f"{name.replace('_', '-')} {value}" for name, value in own.items()]
        return {
            "connection": connection(server, auth_file),
            "path": str(tmp_path / "redis.conf"),
            "program": str(server_binary()),
            "content": "\n".join([*lines, f"include {auth_file}"]) + "\n",
        }

    return params


@pytest.fixture
def configure(wanted: Configure) -> Configure:
    """Apply the part."""

    def start(check: bool = False, **directives: str) -> dict[str, Any]:
        return apply(configuration, wanted(**directives), check)

    return start


@pytest.fixture
def refusal(wanted: Configure) -> Callable[..., str]:
    """The text with which the part fails."""

    def start(check: bool = False, **directives: str) -> str:
        return refused(configuration, wanted(**directives), check)

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


def test_a_directive_that_the_program_does_not_know_is_refused(
    configure: Configure, refusal: Callable[..., str], tmp_path: Path
) -> None:
    configure()
    before = (tmp_path / "redis.conf").read_text()
    for check in (True, False):
        text = refusal(check, maxmemry="64mb")
        assert "maxmemry" in text
        assert "which is as it was" in text
    assert (tmp_path / "redis.conf").read_text() == before


@pytest.mark.parametrize(
    ("name", "value"), [("requirepass", '"hunter2" "hunter2 twice"'), ("masterauth", '"hunter2" twice')]
)
def test_a_refused_line_with_a_secret_is_not_repeated(refusal: Callable[..., str], name: str, value: str) -> None:
    message = refusal(**{name: value})
    assert f"'{name}" in message
    assert "***" in message
    assert "hunter2" not in message


def test_a_value_that_the_program_does_not_take_is_refused(refusal: Callable[..., str]) -> None:
    assert "much" in refusal(maxmemory="much")


def test_a_server_that_does_not_run_is_only_given_its_file(configure: Configure, server: RedisServer) -> None:
    server.stop()
    result = configure(maxmemory="128mb")
    assert (result["changed"], result["answers"], result["set"], result["restart"]) == (True, False, {}, [])
    assert configure(maxmemory="128mb")["changed"] is False


def test_in_check_mode_nothing_may_be_installed_yet(tmp_path: Path) -> None:
    absent = {
        "path": str(tmp_path / "absent" / "redis.conf"),
        "program": str(tmp_path / "nothing"),
        "connection": connection(1),
        "content": "port 1\n",
        "run_as": "nobody-yet",
        "owner": "nobody-yet",
    }
    assert apply(configuration, absent, check=True)["changed"] is True
    assert "does not take" in refused(configuration, {**absent, "run_as": ""})


def test_a_diff_shows_no_secret(configure: Configure) -> None:
    result = configure(user="somebody on >opensesame +@all", tls_key_file_pass="opensesame", masterauth="opensesame")
    assert "opensesame" not in str(result)
    assert "user ***" in str(result["diff"])


def test_a_secret_that_is_set_is_named_without_its_value(configure: Configure) -> None:
    result = configure(check=True, tls_key_file_pass="opensesame")
    assert (result["set"], result["was"]) == ({"tls-key-file-pass": "***"}, {"tls-key-file-pass": "***"})


def test_in_check_mode_a_directory_may_not_be_there_yet(
    configure: Configure, refusal: Callable[..., str], tmp_path: Path
) -> None:
    """The role is about to make it; what else is wrong is found nevertheless."""
    directory = str(tmp_path / "data")
    assert configure(check=True, dir=directory)["changed"] is True
    assert "maxmemry" in refusal(True, dir=directory, maxmemry="1")
    assert "No such file or directory" in refusal(dir=directory)


def test_the_trial_server_leaves_nothing_behind(
    configure: Configure, refusal: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    configure(appendonly="yes")
    refusal(maxmemry="1")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_port_is_never_changed_under_its_clients() -> None:
    pairs = differences({"port": "1", "maxclients": "5"}, {"port": "0", "maxclients": "9"}, "port 2\n")
    assert pairs == {"port": ("1", "2")}


def test_a_directory_that_somebody_else_set_needs_a_restart(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    text = f"dir {tmp_path / 'link'}\n"
    wanted = {"dir": "/tmp/redis-try-x"}
    assert differences({"dir": str(tmp_path / "data")}, wanted, text) == {}
    assert list(differences({"dir": "/etc"}, wanted, text)) == ["dir"]
    assert "dir" in AT_START


def test_a_server_that_does_not_let_itself_be_asked_is_an_error(
    configure: Configure, refusal: Callable[..., str], tmp_path: Path
) -> None:
    configure()
    (tmp_path / "auth.conf").write_text('requirepass "another"\n')
    text = refusal(maxmemory="128mb")
    assert "does not say what it has, and its configuration is as it was: WRONGPASS" in text
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


def test_what_was_postponed_is_set_when_replicas_have_come(wanted: Configure, server: RedisServer, farm: Farm) -> None:
    """The hosts of a run are served at once, and a replica's server may start after the leader's part."""
    params = {**wanted(min_replicas_to_write="1"), "only_postponed": True, "wait": 30}
    assert apply(configuration, params, check=True)["postponed"] == ["min-replicas-to-write"]
    timer = threading.Timer(0.5, farm.server, (PASSWORD, server))
    timer.start()
    result = apply(configuration, params)
    timer.join()
    assert (result["postponed"], result["set"]) == ([], {"min-replicas-to-write": "1"})


def test_users_and_configuration_share_one_trial_server(server: RedisServer, wanted: Configure, tmp_path: Path) -> None:
    """With the lines of the new users, which in check mode are in no file."""
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] || echo >> {tmp_path}/starts\nexec {server_binary()} "$@"\n')
    program.chmod(0o755)
    params = {**wanted(maxmemory="32mb"), "program": str(program)}
    passwords = {"admin": "roles'", "app": "opensesame"}
    asked = {"connection": params["connection"], "program": str(program), "candidate": params["content"]}
    for check in (True, False):
        (tmp_path / "starts").write_text("")
        run = Run(check)
        try:
            told = users({**asked, "passwords": passwords, "keys": ["x"]}, run)
            assert told["users"] == ["default", "admin", "app", TO_LEADER]
            assert configuration(params, run)["set"] == {"maxmemory": "33554432"}
        finally:
            run.close()
        assert (tmp_path / "starts").read_text() == "\n"
        assert "opensesame" not in str(run.diffs)
    with RedisClient(server.host, server.port) as client:
        client.command("AUTH", "app", "opensesame")


def test_a_file_with_another_password_is_no_obstacle(server: RedisServer, wanted: Configure, tmp_path: Path) -> None:
    """Nor is one that is gone: who was let in by the passwords of the inventory is let in again."""
    params, file = wanted(maxmemory="32mb"), tmp_path / "auth.conf"
    asked = {"connection": params["connection"], "program": params["program"], "candidate": params["content"]}
    leads = {"connection": params["connection"]}
    for spoil in (lambda: file.write_text('requirepass "another"\n'), file.unlink):
        spoil()
        run = Run(check_mode=True)
        try:
            assert users({**asked, "passwords": {"default": PASSWORD}}, run)["is_new"] is True
            assert configuration(params, run)["set"] == {"maxmemory": "33554432"}
            assert topology(leads, run)["role"] == "leader"
        finally:
            run.close()


def test_the_users_of_the_trial_server_are_those_of_this_run(wanted: Configure, tmp_path: Path) -> None:
    """Whatever the file on disk has, the trial server starts with what the run is about to write there."""
    run = Run(check_mode=True)
    params = wanted()
    (tmp_path / "auth.conf").unlink()
    run.planned[str(tmp_path / "auth.conf")] = "user somebody on >x +nonsense\n"
    with pytest.raises(PartError, match=r"\+nonsense"):
        configuration(params, run)
