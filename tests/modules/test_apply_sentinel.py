"""The parts sentinel and sentinel_agrees, and what a Sentinel says of itself, against Sentinels that run."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host import sentinel_look as module
from ansible.module_utils.host.sentinel import sentinel, sentinel_agrees
from ansible.module_utils.host.sentinel_look import sentinel_state
from ansible.module_utils.redis_client import ANY_NAME, RedisClient, RedisError, credentials

from conftest import Certificate
from parts import PASSWORD, apply, connection, refused
from servers import SERVICE, Farm, wait_for
from watched import OWN, Watched, places


@pytest.fixture
def watched(farm: Farm, tmp_path: Path) -> Watched:
    return Watched(farm, tmp_path)


# redis_sentinel


def test_a_sentinel_that_has_everything_is_no_change(watched: Watched) -> None:
    assert apply(sentinel, watched.told())["changed"] is True
    for check in (True, False):
        result = apply(sentinel, watched.told(), check=check)
        assert (result["changed"], result["told"], result["restart"]) == (False, [], [])


def test_a_changed_setting_is_set_at_once(watched: Watched) -> None:
    apply(sentinel, watched.told())
    changed = {"quorum": 3, "settings": {"down-after-milliseconds": 700, "failover-timeout": 2500}}
    wanted = [f"SET {SERVICE} quorum 3", f"SET {SERVICE} down-after-milliseconds 700"]
    foretold = apply(sentinel, watched.told(**changed), check=True)
    assert (foretold["told"], sorted(foretold["was"])) == (wanted, ["down-after-milliseconds", "quorum"])
    assert foretold["was"]["quorum"] == "2"
    assert watched.master()["quorum"] == 2
    result = apply(sentinel, watched.told(**changed))
    assert (result["told"], result["restart"]) == (wanted, [])
    assert (watched.master()["quorum"], watched.master()["down-after-milliseconds"]) == (3, 700)


def test_another_service_is_watched_with_its_password(watched: Watched) -> None:
    result = apply(sentinel, watched.told(service="shop"))
    assert result["told"][0] == f"REMOVE {SERVICE}"
    assert result["told"][1].startswith("MONITOR shop 127.0.0.1 ")
    assert PASSWORD not in str(result)
    # It reaches the servers, which it cannot without their password.
    assert apply(sentinel_agrees, watched.expected(service="shop", sentinels=[]))["running"] is True


def test_passwords_survive_a_restart_of_the_sentinel(watched: Watched) -> None:
    """Sentinel writes them without quotes into its own file; ours is the one that counts."""
    apply(sentinel, watched.told())
    assert credentials(str(watched.sentinel_auth_file)) == ("", OWN)
    first = watched.sentinels[0]
    kept = [line for line in first.config.read_text().splitlines() if line.startswith(("sentinel ", "port", "bind"))]
    kept = [line for line in kept if " auth-pass " not in line and " sentinel-pass " not in line]
    first.stop()
    first.config.write_text("\n".join([*kept, f"include {watched.sentinel_auth_file}"]) + "\n")
    first.start()
    assert apply(sentinel_agrees, watched.expected())["quorum"].startswith("OK")


def test_another_own_password_needs_a_restart(watched: Watched) -> None:
    apply(sentinel, watched.told())
    result = apply(sentinel, watched.told(password="changed-one"))
    assert result["restart"] == ["it gets another password"]
    # The run was cut short before the restart.
    result = apply(sentinel, watched.told(password="changed-one"))
    assert result["changed"] is False
    assert "it has another password" in result["restart"][0]


def test_users_come_without_a_restart(watched: Watched) -> None:
    """Clients may ask who leads and no more, and the roles may do everything."""
    apply(sentinel, watched.told())
    users = {"passwords": {"admin": "roles'", "sentinel": "sentinels'"}}
    result = apply(sentinel, watched.told(**users))
    assert (result["changed"], result["restart"]) == (True, [])
    assert apply(sentinel, watched.told(**users))["changed"] is False
    assert credentials(str(watched.sentinel_auth_file)) == ("admin", "roles'")
    with RedisClient("127.0.0.1", watched.sentinels[0].port) as client:
        client.command("AUTH", OWN)
        assert client.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        for command in ("SENTINEL FAILOVER x", "SENTINEL RESET *", "SENTINEL REMOVE x", "SHUTDOWN", "ACL LIST", "INFO"):
            with pytest.raises(RedisError, match=r"^NOPERM "):
                client.command(*command.split())
    assert sentinel_state(watched.question())["user"] == "admin"
    # Another password of its clients is told as well.
    for check in (True, False):
        result = apply(sentinel, watched.told(**users, password="changed-one"), check)
        assert (result["told"], result["restart"]) == (["USER default"], [])


# What somebody may have changed by hand, and how the result names it.
DRIFT = {
    "a widened rule": (["ACL", "SETUSER", "default", "+@all"], ["USER default"]),
    "a second password": (["ACL", "SETUSER", "admin", ">another"], ["USER admin"]),
    "a user deleted": (["ACL", "DELUSER", "sentinel"], ["USER sentinel"]),
    "a user whom nobody knows": (["ACL", "SETUSER", "guest", "on", "nopass", "+@all"], ["USER guest"]),
    "another login to the others": (
        ["SENTINEL", "CONFIG", "SET", "sentinel-pass", "another"],
        ["CONFIG sentinel-pass"],
    ),
    "another login to the servers": (
        ["SENTINEL", "SET", SERVICE, "auth-pass", "another"],
        [f"SET {SERVICE} auth-pass"],
    ),
}


@pytest.mark.parametrize(("command", "told"), DRIFT.values(), ids=DRIFT)
def test_what_somebody_changed_is_named_and_healed(watched: Watched, command: list[str], told: list[str]) -> None:
    asked = watched.told(passwords={"admin": "roles'", "sentinel": "sentinels'"})
    apply(sentinel, asked)
    for check in (True, False):
        assert apply(sentinel, asked, check)["told"] == []
    with RedisClient("127.0.0.1", watched.sentinels[0].port) as admin:
        admin.command("AUTH", "admin", "roles'")
        admin.command(*command)
    for check in (True, False):
        result = apply(sentinel, asked, check)
        assert (result["changed"], result["told"]) == (True, told)
    assert apply(sentinel, asked)["changed"] is False


WITH_USERS = {"passwords": {"admin": "roles'", "sentinel": "sentinels'"}}


@pytest.mark.parametrize(("more", "login"), [({}, [OWN]), (WITH_USERS, ["admin", "roles'"])], ids=["one", "users"])
def test_a_file_that_somebody_changed_or_deleted_hides_nothing(
    watched: Watched, more: dict[str, Any], login: list[str]
) -> None:
    """A run that was cut short between the Sentinel and the file has left it with a former password, too."""
    asked, file = watched.told(**more), watched.sentinel_auth_file
    apply(sentinel, asked)
    for spoil in (file.unlink, lambda: file.write_text('requirepass "x"\n')):
        spoil()
        with RedisClient("127.0.0.1", watched.sentinels[0].port) as client:
            client.command("AUTH", *login)
            client.command("SENTINEL", "SET", SERVICE, "quorum", 1)
        for check in (True, False):
            result = apply(sentinel, asked, check)
            assert (result["changed"], result["restart"]) == (True, [])
            assert f"SET {SERVICE} quorum 2" in result["told"]
        assert apply(sentinel, asked, check=True)["changed"] is False


def test_an_empty_host_in_check_mode(watched: Watched, tmp_path: Path) -> None:
    watched.sentinels[0].stop()
    absent = connection(watched.sentinels[0], tmp_path / "absent" / "auth.conf")
    asked = watched.told(connection=absent, program=str(tmp_path / "nothing"), owner="nobody-yet")
    assert apply(sentinel, asked, check=True)["changed"] is True
    foretold = apply(sentinel_agrees, watched.expected(), check=True)
    assert (foretold["running"], foretold["changed"]) == (False, False)
    assert "refused" in foretold["error"]


def test_a_sentinel_that_does_not_run_is_only_given_its_file(watched: Watched) -> None:
    watched.sentinels[0].stop()
    result = apply(sentinel, watched.told())
    assert (result["changed"], result["told"], result["restart"]) == (True, [], [])
    assert f"sentinel auth-pass {SERVICE} " in watched.sentinel_auth_file.read_text()


# What it says, and whom it must know


def test_a_settled_sentinel_answers_at_once(watched: Watched) -> None:
    result = sentinel_state(watched.question(wait=0))
    assert (result["running"], result["unsettled"]) == (True, "")
    assert (result["leader_address"], result["leader_port"]) == (watched.servers[0].host, watched.servers[0].port)
    assert result["quorum"].startswith("OK 3 usable Sentinels")


@pytest.mark.parametrize(("error", "trusted"), [(socket.timeout, True), (ssl.SSLError, False)])
def test_a_slow_sentinel_has_no_wrong_certificate(
    watched: Watched,
    certificate: Certificate,
    tls_front: Callable[[int], int],
    monkeypatch: pytest.MonkeyPatch,
    error: type[OSError],
    trusted: bool,
) -> None:
    failures = [error("at first")]

    def look(redis: RedisClient, params: dict[str, Any]) -> dict[str, Any]:
        if failures:
            raise failures.pop()
        return real_look(redis, params)

    real_look = module.look
    monkeypatch.setattr(module, "look", look)
    # The front takes those who speak no TLS, too.
    monkeypatch.setattr(module, "as_it_speaks", lambda asked: {**asked, "tls_name": ANY_NAME})
    front = {"port": tls_front(watched.sentinels[0].port), "tls_name": certificate.name}
    result = sentinel_state(watched.question(wait=5, tls_ca_file=str(certificate.ca_file), **front))
    assert (result["running"], result["tls"], result["trusted"]) == (True, True, trusted)


def test_a_failover_is_waited_for(watched: Watched) -> None:
    watched.servers[0].stop()
    assert wait_for(lambda: "s_down" in watched.master()["flags"])
    assert sentinel_state(watched.question(wait=0))["unsettled"]
    result = sentinel_state(watched.question())
    assert (result["unsettled"], result["leader_port"]) == ("", watched.servers[1].port)


def test_a_failover_that_is_impossible_is_told(watched: Watched) -> None:
    for other in watched.sentinels[1:]:
        other.stop()
    watched.servers[0].stop()
    assert wait_for(lambda: "s_down" in watched.master()["flags"])
    assert wait_for(lambda: "NOQUORUM" in sentinel_state(watched.question(wait=0))["quorum"])
    result = sentinel_state(watched.question(wait=1))
    assert "does not answer" in result["unsettled"]


def test_who_is_not_known_is_an_error_with_names(watched: Watched) -> None:
    asked = watched.expected(nodes=[*places(watched.servers), "192.0.2.9:1"], wait=1)
    text = refused(sentinel_agrees, asked)
    assert "is not ready after 1 s: it does not know, or does not reach, 192.0.2.9:1" in text
    # Check mode waits for nothing, and has told nobody.
    foretold = apply(sentinel_agrees, asked, check=True, wait=300)
    assert (foretold["running"], "192.0.2.9:1" in foretold["error"]) == (True, True)
    asked = watched.expected(sentinels=[*places(watched.sentinels), "192.0.2.9:2"], wait=1)
    assert "192.0.2.9:2" in refused(sentinel_agrees, asked)
    watched.sentinels[0].stop()
    assert "refused" in refused(sentinel_agrees, watched.expected(wait=0))


@pytest.mark.parametrize("kind", ["replica", "Sentinel"])
def test_who_is_gone_is_forgotten(farm: Farm, tmp_path: Path, kind: str) -> None:
    watched = Watched(farm, tmp_path, replicas=2)
    gone = watched.servers.pop() if kind == "replica" else watched.sentinels.pop()
    result = apply(sentinel_agrees, watched.expected(), forget=True)
    assert (result["changed"], result["strangers"]) == (False, places([gone])), "it is still there"
    assert places([gone])[0] in str(result["warnings"])

    gone.stop()
    assert wait_for(lambda: apply(sentinel_agrees, watched.expected())["gone"] == places([gone]))
    assert apply(sentinel_agrees, watched.expected(), check=True, forget=True)["changed"] is True
    assert apply(sentinel_agrees, watched.expected())["gone"] == places([gone])
    result = apply(sentinel_agrees, watched.expected(), forget=True)
    assert (result["changed"], result["gone"], result["strangers"]) == (True, [], [])
    assert apply(sentinel_agrees, watched.expected(), forget=True)["changed"] is False


def test_a_sentinel_that_is_down_remembers(watched: Watched) -> None:
    first = watched.sentinels[0]
    first.stop()
    result = sentinel_state(watched.question(volatile_file=str(first.config)))
    assert (result["running"], result["leader_port"]) == (False, watched.servers[0].port)
    assert "refused" in result["error"]
    result = sentinel_state(watched.question(volatile_file="/nowhere"))
    assert "leader_port" not in result
