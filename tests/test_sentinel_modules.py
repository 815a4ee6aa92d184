"""The modules redis_sentinel, redis_sentinel_info and redis_switchover against Sentinels that run."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.redis_client import ANY_NAME, RedisClient, RedisError, credentials, quote
from ansible.plugins.modules import redis_sentinel, redis_sentinel_info, redis_switchover

from conftest import Certificate
from servers import SERVICE, Farm, RedisServer, server_binary, wait_for
from test_modules import PASSWORD, Run, run

__all__ = ["run"]

OWN = 'the Sentinels\' "own"'


class Watched:
    """A leader with replicas, and Sentinels that watch it, as a deployment has them."""

    def __init__(self, farm: Farm, folder: Path, replicas: int = 1, down_after: int = 500) -> None:
        self.servers = farm.replicated(replicas, PASSWORD)
        farm.sentinels(self.servers[0], down_after, OWN)
        self.sentinels = [server for server in farm.servers if server.mode == ("--sentinel",)]
        self.auth_file = folder / "auth.conf"
        self.auth_file.write_text(f"requirepass {quote(PASSWORD)}\n")
        self.sentinel_auth_file = folder / "sentinel.auth.conf"
        self.sentinel_auth_file.write_text(f"requirepass {quote(OWN)}\n")

    def asked(self, **more: Any) -> dict[str, Any]:
        """What redis_sentinel_info is asked of the first Sentinel."""
        here = {"port": self.sentinels[0].port, "auth_file": str(self.sentinel_auth_file)}
        return {**here, "service": SERVICE, "wait": 15, **more}

    def told(self, **more: Any) -> dict[str, Any]:
        """What redis_sentinel tells the first Sentinel."""
        place = {"leader_address": self.servers[0].host, "leader_port": self.servers[0].port, "quorum": 2}
        settings = {"down-after-milliseconds": 500, "failover-timeout": 2500}
        asked = {name: value for name, value in self.asked().items() if name != "wait"}
        return {
            **asked,
            **place,
            "settings": settings,
            "program": str(server_binary()),
            "password": OWN,
            "leader_password": PASSWORD,
            **more,
        }

    def master(self) -> dict[str, Any]:
        """What the first Sentinel says of the leader."""
        return dict(self.sentinels[0].ask("SENTINEL MASTERS")[SERVICE])


@pytest.fixture
def watched(farm: Farm, tmp_path: Path) -> Watched:
    return Watched(farm, tmp_path)


def places(servers: list[RedisServer]) -> list[str]:
    return [f"{server.host}:{server.port}" for server in servers]


# redis_sentinel


def test_a_sentinel_that_has_everything_is_no_change(run: Run, watched: Watched) -> None:
    assert run(redis_sentinel, **watched.told())["changed"] is True
    for check in (True, False):
        result = run(redis_sentinel, check=check, **watched.told())
        assert (result["changed"], result["told"], result["restart"]) == (False, [], [])


def test_a_changed_setting_is_set_at_once(run: Run, watched: Watched) -> None:
    run(redis_sentinel, **watched.told())
    changed = {"quorum": 3, "settings": {"down-after-milliseconds": 700, "failover-timeout": 2500}}
    wanted = [f"SET {SERVICE} quorum 3", f"SET {SERVICE} down-after-milliseconds 700"]
    foretold = run(redis_sentinel, check=True, **watched.told(**changed))
    assert (foretold["told"], sorted(foretold["was"])) == (wanted, ["down-after-milliseconds", "quorum"])
    assert foretold["was"]["quorum"] == "2"
    assert watched.master()["quorum"] == 2
    result = run(redis_sentinel, **watched.told(**changed))
    assert (result["told"], result["restart"]) == (wanted, [])
    assert (watched.master()["quorum"], watched.master()["down-after-milliseconds"]) == (3, 700)


def test_another_service_is_watched_with_its_password(run: Run, watched: Watched) -> None:
    result = run(redis_sentinel, **watched.told(service="shop"))
    assert result["told"][0] == f"REMOVE {SERVICE}"
    assert result["told"][1].startswith("MONITOR shop 127.0.0.1 ")
    assert PASSWORD not in str({**result, "invocation": ""})
    asked = watched.asked(service="shop", nodes=places(watched.servers))
    # It reaches the servers, which it cannot without their password.
    assert run(redis_sentinel_info, **asked)["running"] is True


def test_passwords_survive_a_restart_of_the_sentinel(run: Run, watched: Watched) -> None:
    """Sentinel writes them without quotes into its own file; ours is the one that counts."""
    run(redis_sentinel, **watched.told())
    assert credentials(str(watched.sentinel_auth_file)) == ("", OWN)
    sentinel = watched.sentinels[0]
    kept = [line for line in sentinel.config.read_text().splitlines() if line.startswith(("sentinel ", "port", "bind"))]
    kept = [line for line in kept if " auth-pass " not in line and " sentinel-pass " not in line]
    sentinel.stop()
    sentinel.config.write_text("\n".join([*kept, f"include {watched.sentinel_auth_file}"]) + "\n")
    sentinel.start()
    asked = watched.asked(nodes=places(watched.servers), sentinels=places(watched.sentinels))
    assert run(redis_sentinel_info, **asked)["quorum"].startswith("OK")


def test_another_own_password_needs_a_restart(run: Run, watched: Watched) -> None:
    run(redis_sentinel, **watched.told())
    result = run(redis_sentinel, **watched.told(password="changed-one"))
    assert result["restart"] == ["it gets another password"]
    # The run was cut short before the restart.
    result = run(redis_sentinel, **watched.told(password="changed-one"))
    assert result["changed"] is False
    assert "it has another password" in result["restart"][0]


def test_users_come_without_a_restart(run: Run, watched: Watched) -> None:
    """Clients may ask who leads and no more, and the roles may do everything."""
    run(redis_sentinel, **watched.told())
    users = {"passwords": {"admin": "roles'", "sentinel": "sentinels'"}}
    result = run(redis_sentinel, **watched.told(**users))
    assert (result["changed"], result["restart"]) == (True, [])
    assert run(redis_sentinel, **watched.told(**users))["changed"] is False
    assert credentials(str(watched.sentinel_auth_file)) == ("admin", "roles'")
    with RedisClient("127.0.0.1", watched.sentinels[0].port) as client:
        client.command("AUTH", OWN)
        assert client.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        for command in ("SENTINEL FAILOVER x", "SENTINEL RESET *", "SENTINEL REMOVE x", "SHUTDOWN", "ACL LIST", "INFO"):
            with pytest.raises(RedisError, match=r"^NOPERM "):
                client.command(*command.split())
    assert run(redis_sentinel_info, **watched.asked())["user"] == "admin"
    # Another password of its clients, and rules that somebody gave, are told as well.
    result = run(redis_sentinel, **watched.told(**users, password="changed-one"))
    assert (result["told"], result["restart"]) == (["USER default"], [])


def test_a_sentinel_that_does_not_run_is_only_given_its_file(run: Run, watched: Watched) -> None:
    watched.sentinels[0].stop()
    result = run(redis_sentinel, **watched.told())
    assert (result["changed"], result["told"], result["restart"]) == (True, [], [])
    assert f"sentinel auth-pass {SERVICE} " in watched.sentinel_auth_file.read_text()


# redis_sentinel_info


def test_a_settled_sentinel_answers_at_once(run: Run, watched: Watched) -> None:
    result = run(redis_sentinel_info, **watched.asked(wait=0))
    assert (result["running"], result["unsettled"], result["changed"]) == (True, "", False)
    assert (result["leader_address"], result["leader_port"]) == (watched.servers[0].host, watched.servers[0].port)
    assert result["quorum"].startswith("OK 3 usable Sentinels")


@pytest.mark.parametrize(("error", "trusted"), [(socket.timeout, True), (ssl.SSLError, False)])
def test_a_slow_sentinel_has_no_wrong_certificate(
    run: Run,
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

    real_look = redis_sentinel_info.look
    monkeypatch.setattr(redis_sentinel_info, "look", look)
    # The front takes those who speak no TLS, too.
    monkeypatch.setattr(redis_sentinel_info, "as_it_speaks", lambda asked: {**asked, "tls_name": ANY_NAME})
    front = {"port": tls_front(watched.sentinels[0].port), "tls_name": certificate.name}
    result = run(redis_sentinel_info, **watched.asked(wait=5, tls_ca_file=str(certificate.ca_file), **front))
    assert (result["running"], result["tls"], result["trusted"]) == (True, True, trusted)


def test_a_failover_is_waited_for(run: Run, watched: Watched) -> None:
    watched.servers[0].stop()
    assert wait_for(lambda: "s_down" in watched.master()["flags"])
    assert run(redis_sentinel_info, **watched.asked(wait=0))["unsettled"]
    result = run(redis_sentinel_info, **watched.asked())
    assert (result["unsettled"], result["leader_port"]) == ("", watched.servers[1].port)


def test_a_failover_that_is_impossible_is_told(run: Run, watched: Watched) -> None:
    for sentinel in watched.sentinels[1:]:
        sentinel.stop()
    watched.servers[0].stop()
    assert wait_for(lambda: "s_down" in watched.master()["flags"])
    assert wait_for(lambda: "NOQUORUM" in run(redis_sentinel_info, **watched.asked(wait=0))["quorum"])
    result = run(redis_sentinel_info, **watched.asked(wait=1))
    assert "does not answer" in result["unsettled"]


def test_who_is_not_known_is_an_error_with_names(run: Run, watched: Watched) -> None:
    result = run(redis_sentinel_info, **watched.asked(nodes=[*places(watched.servers), "192.0.2.9:1"], wait=1))
    assert "does not reach, 192.0.2.9:1" in result["msg"]
    result = run(
        redis_sentinel_info,
        **watched.asked(nodes=places(watched.servers), sentinels=[*places(watched.sentinels), "192.0.2.9:2"], wait=1),
    )
    assert "192.0.2.9:2" in result["msg"]


@pytest.mark.parametrize("kind", ["replica", "Sentinel"])
def test_who_is_gone_is_forgotten(run: Run, farm: Farm, tmp_path: Path, kind: str) -> None:
    watched = Watched(farm, tmp_path, replicas=2)
    gone = watched.servers.pop() if kind == "replica" else watched.sentinels.pop()
    expected = {"nodes": places(watched.servers), "sentinels": places(watched.sentinels)}

    result = run(redis_sentinel_info, **watched.asked(**expected, forget=True))
    assert (result["changed"], result["strangers"]) == (False, places([gone])), "it is still there"
    assert places([gone])[0] in str(result["warnings"])

    gone.stop()
    assert wait_for(lambda: run(redis_sentinel_info, **watched.asked(**expected))["gone"] == places([gone]))
    assert run(redis_sentinel_info, check=True, **watched.asked(**expected, forget=True))["changed"] is True
    assert run(redis_sentinel_info, **watched.asked(**expected))["gone"] == places([gone])
    result = run(redis_sentinel_info, **watched.asked(**expected, forget=True))
    assert (result["changed"], result["gone"], result["strangers"]) == (True, [], [])
    assert run(redis_sentinel_info, **watched.asked(**expected, forget=True))["changed"] is False


def test_a_sentinel_that_is_down_remembers(run: Run, watched: Watched) -> None:
    sentinel = watched.sentinels[0]
    sentinel.stop()
    result = run(redis_sentinel_info, **watched.asked(volatile_file=str(sentinel.config)))
    assert (result["running"], result["leader_port"]) == (False, watched.servers[0].port)
    assert "refused" in result["error"]
    result = run(redis_sentinel_info, **watched.asked(volatile_file="/nowhere"))
    assert "leader_port" not in result


# redis_switchover


@pytest.fixture
def switch(run: Run, watched: Watched) -> Callable[..., dict[str, Any]]:
    def start(server: RedisServer, check: bool = False, **more: Any) -> dict[str, Any]:
        sentinels = [{"address": sentinel.host, "port": sentinel.port} for sentinel in watched.sentinels]
        arguments = {"sentinels": sentinels, "sentinel_password": OWN, "service": SERVICE, **more}
        return run(redis_switchover, check, port=server.port, auth_file=str(watched.auth_file), **arguments)

    return start


def test_a_replica_takes_over_and_the_leader_follows_it(
    watched: Watched, switch: Callable[..., dict[str, Any]]
) -> None:
    leader, replica = watched.servers
    for number in range(1000):
        leader.client().set(f"key:{number}", number)
    assert switch(leader, check=True)["changed"] is True
    assert leader.ask("ROLE")[0] == b"master"

    result = switch(leader)
    assert (result["changed"], result["leader"]) == (True, places([replica])[0])
    # At once, not when Sentinel gets round to it.
    assert leader.ask("ROLE")[0] == b"slave"
    assert replica.ask("ROLE")[0] == b"master"
    assert replica.client().dbsize() == 1000
    replica.client().set("after", 1)
    assert wait_for(lambda: leader.client().get("after") == b"1")
    assert "replicaof" in leader.config.read_text()
    assert switch(leader)["changed"] is False, "it does not lead any more"


def test_without_a_replica_nobody_takes_over_and_writes_go_on(
    watched: Watched, switch: Callable[..., dict[str, Any]]
) -> None:
    leader, replica = watched.servers
    replica.stop()
    result = switch(leader, wait=1)
    assert "nobody takes over" in result["msg"]
    leader.client().set("still", "writable")
    assert leader.ask("ROLE")[0] == b"master"


def test_without_sentinels_nobody_takes_over_and_writes_go_on(
    watched: Watched, switch: Callable[..., dict[str, Any]]
) -> None:
    for sentinel in watched.sentinels:
        sentinel.stop()
    assert "no Sentinel does it" in switch(watched.servers[0], wait=1)["msg"]
    watched.servers[0].client().set("still", "writable")


def test_a_replica_takes_over_in_a_cluster(run: Run, farm: Farm) -> None:
    nodes = farm.cluster()
    result = run(redis_switchover, port=nodes[0].port, auth_file=None)
    assert result["changed"] is True
    assert nodes[0].ask("ROLE")[0] == b"slave"
    assert run(redis_switchover, port=nodes[0].port, auth_file=None)["changed"] is False


def test_a_primary_without_a_replica_says_so(run: Run, farm: Farm) -> None:
    node = farm.cluster(replicas=0)[0]
    assert "no replica that is there" in run(redis_switchover, port=node.port, auth_file=None)["msg"]
