"""The parts topology and volatile: whom a server follows, now and after its next start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host import topology as module
from ansible.module_utils.host.topology import follows, serves, topology
from ansible.module_utils.host.volatile import volatile
from ansible.module_utils.redis_client import ask_role, connection_of, quote

from parts import PASSWORD, apply, connection, refused
from servers import Farm, RedisServer, RedisServerFactory, free_port

LEADS = {"role": "leader"}
FOLLOWS = {"role": "replica", "leader_address": "192.0.2.11", "leader_port": 6379, "link": "connected"}
LEADER = {"address": "192.0.2.11", "port": 6379}


@pytest.fixture(scope="module")
def auth_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("auth") / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return str(path)


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


def place(server: RedisServer) -> dict[str, Any]:
    return {"address": server.host, "port": server.port}


@pytest.mark.parametrize(
    ("answer", "leader", "already"),
    [
        (LEADS, None, True),
        (FOLLOWS, None, False),
        (LEADS, LEADER, False),
        (FOLLOWS, LEADER, True),
        ({**FOLLOWS, "link": "connect"}, LEADER, True),
        (FOLLOWS, {**LEADER, "address": "192.0.2.12"}, False),
        (FOLLOWS, {**LEADER, "port": 6380}, False),
    ],
)
def test_follows(answer: dict[str, Any], leader: dict[str, Any] | None, already: bool) -> None:
    assert follows(answer, leader) is already


@pytest.mark.parametrize(
    ("answer", "serving"),
    [
        (LEADS, True),
        (FOLLOWS, True),
        *(({**FOLLOWS, "link": link}, False) for link in ("connect", "connecting", "sync")),
    ],
)
def test_serves(answer: dict[str, Any], serving: bool) -> None:
    assert serves({**answer, "offset": 5}, 5) is serving
    assert serves({**answer, "offset": 4}, 5) is (answer is LEADS)


def test_to_a_replica_and_back(redis_server: RedisServerFactory, leader: RedisServer, auth_file: str) -> None:
    """Each change is made once, remembered by the server, and foretold by check mode."""
    server = redis_server(password=PASSWORD)
    conf = server.config
    here = connection(server, auth_file)
    asked = {"connection": here, "wait": 20, "volatile_file": str(conf)}
    following = {**asked, "leader": place(leader)}

    foretold = apply(topology, following, check=True)
    assert (foretold["changed"], foretold["role"]) == (True, "leader")
    assert ask_role(connection_of(here))["role"] == "leader"

    leader.client().set("written", "before")
    result = apply(topology, following)
    assert (result["changed"], result["role"], result["link"]) == (True, "replica", "connected")
    assert (result["leader_address"], result["leader_port"]) == (leader.host, leader.port)
    assert server.client().get("written") == b"before"
    assert f"replicaof {leader.host} {leader.port}" in conf.read_text()
    for check in (False, True):
        assert apply(topology, following, check)["changed"] is False

    result = apply(topology, asked)
    assert (result["changed"], result["role"]) == (True, "leader")
    assert "replicaof" not in conf.read_text()
    for check in (False, True):
        assert apply(topology, asked, check)["changed"] is False
    server.stop()


@pytest.mark.parametrize("keep_role", [False, True])
def test_a_lost_replicaof_is_found_and_written_again(farm: Farm, keep_role: bool) -> None:
    """On the running server that is another role; in its file it is whom it would follow after a restart."""
    leader, replica = farm.replicated(1)
    asked = {"connection": connection(replica), "volatile_file": str(replica.config), "keep_role": keep_role}
    asked |= {} if keep_role else {"leader": place(leader)}
    for check in (True, False):
        assert apply(topology, asked, check)["changed"] is False
    lines = [line for line in replica.config.read_text().splitlines() if not line.startswith("replicaof")]
    replica.config.write_text("\n".join(lines) + "\n")
    assert apply(topology, asked, check=True)["changed"] is True
    assert "replicaof" not in replica.config.read_text()
    assert apply(topology, asked)["changed"] is True
    assert f"replicaof {leader.host} {leader.port}" in replica.config.read_text()
    assert apply(topology, asked, check=True)["changed"] is False
    if not keep_role:
        replica.ask("REPLICAOF", "NO", "ONE")
        assert apply(topology, asked, check=True)["changed"] is True
        assert apply(topology, asked)["role"] == "replica"


def test_it_waits_and_then_says_what_for(redis_server: RedisServerFactory, auth_file: str) -> None:
    server = redis_server(password=PASSWORD)
    nobody = free_port()
    asked = {"connection": connection(server, auth_file), "wait": 1}
    text = refused(topology, asked, leader={"address": "127.0.0.1", "port": nobody})
    assert f"port {server.port} does not serve after 1 s: its link to 127.0.0.1:{nobody} is connect" in text
    server.stop()
    assert "refused" in refused(topology, asked, wait=0)
    # Check mode waits for nothing.
    assert "refused" in apply(topology, asked, check=True, wait=300)["error"]


def test_it_waits_until_the_replica_has_what_its_leader_has(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    leader, replica = farm.replicated(1)
    asked = {"connection": connection(replica), "wait": 1, "leader": place(leader)}
    monkeypatch.setattr(module, "leaders_offset", lambda answer, params: 10**9)
    assert "it does not have all of the leader's data" in refused(topology, asked)
    monkeypatch.undo()
    assert apply(topology, asked)["offset"] >= 0


def test_a_role_that_others_gave_is_kept(farm: Farm) -> None:
    leader, replica = farm.replicated(1)
    for server, role in ((leader, "leader"), (replica, "replica")):
        target: dict[str, Any] = {"leader": LEADER} if role == "leader" else {}
        asked = {"connection": connection(server), "keep_role": True, "wait": 10, **target}
        result = apply(topology, asked)
        assert (result["changed"], result["role"]) == (False, role)


# volatile


@pytest.mark.parametrize(("leader", "first"), [(LEADER, "replicaof 192.0.2.11 6379\n"), (None, "")])
def test_the_first_start(tmp_path: Path, leader: dict[str, Any] | None, first: str) -> None:
    path = tmp_path / "redis.conf"
    asked = {"path": str(path), "leader": leader, "include": "/etc/redis/redis-6379.conf", "mode": "0600"}
    foretold = apply(volatile, asked, check=True)
    assert (foretold["changed"], foretold["differs"], path.exists()) == (True, ["missing"], False)
    assert apply(volatile, asked)["changed"] is True
    assert path.read_text() == f"{first}include /etc/redis/redis-6379.conf\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_the_server_wrote_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    path.write_text("include x\nreplicaof 192.0.2.99 1\n")
    path.chmod(0o644)
    asked = {"path": str(path), "leader": LEADER, "include": "x", "mode": "0600"}
    for check in (True, False):
        assert apply(volatile, asked, check)["differs"] == ["mode"]
    assert apply(volatile, asked)["changed"] is False
    assert path.read_text() == "include x\nreplicaof 192.0.2.99 1\n"


@pytest.mark.parametrize("included", ["", "include y\n", "include x\ninclude y\n", "include x y\n"])
def test_a_server_includes_its_configuration_and_nothing_else(tmp_path: Path, included: str) -> None:
    path = tmp_path / "redis.conf"
    path.write_text(f"replicaof 192.0.2.99 1\n{included}requirepass secret")
    asked = {"path": str(path), "leader": LEADER, "include": "x"}
    for check in (True, False):
        result = apply(volatile, asked, check)
        assert (result["differs"], result["diff"]) == (["content"], [])
    assert apply(volatile, asked)["changed"] is False
    assert path.read_text() == "replicaof 192.0.2.99 1\nrequirepass secret\ninclude x\n"
