"""The module redis_switchover: another server leads, and no write is lost."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from ansible.plugins.modules import redis_switchover

from parts import ModuleRunner
from servers import SERVICE, Farm, RedisServer, wait_for
from watched import OWN, Watched, places

Switch = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Runs the module."""
    return functools.partial(ModuleRunner(capsys, monkeypatch), redis_switchover)


@pytest.fixture
def watched(farm: Farm, tmp_path: Path) -> Watched:
    return Watched(farm, tmp_path)


@pytest.fixture
def switch(run: Switch, watched: Watched) -> Switch:
    def start(server: RedisServer, check: bool = False, **more: Any) -> dict[str, Any]:
        sentinels = [{"address": sentinel.host, "port": sentinel.port} for sentinel in watched.sentinels]
        arguments = {"sentinels": sentinels, "sentinel_password": OWN, "service": SERVICE, **more}
        return run(check, port=server.port, auth_file=str(watched.auth_file), **arguments)

    return start


def test_a_replica_takes_over_and_the_leader_follows_it(watched: Watched, switch: Switch) -> None:
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


@pytest.mark.parametrize("check", [True, False])
def test_without_a_replica_it_leads_alone(watched: Watched, switch: Switch, check: bool) -> None:
    """Then it is restarted in place, which is no failure."""
    leader, replica = watched.servers
    replica.stop()
    assert wait_for(lambda: leader.ask("ROLE")[2] == [])
    result = switch(leader, check, wait=1)
    assert (result["changed"], result["alone"]) == (False, "it leads, and no replica can take over")
    leader.client().set("still", "writable")
    assert leader.ask("ROLE")[0] == b"master"


def test_a_mode_that_is_only_about_to_come_has_nobody_who_promotes(watched: Watched, switch: Switch) -> None:
    result = switch(watched.servers[0], has_successors=False)
    assert (result["changed"], "no replica can take over" in result["alone"]) == (False, True)
    assert watched.servers[0].ask("ROLE")[0] == b"master"


def test_a_server_that_does_not_answer_is_restarted_as_it_is(watched: Watched, switch: Switch) -> None:
    watched.servers[0].stop()
    result = switch(watched.servers[0])
    assert (result["changed"], "it does not say whether it leads" in result["alone"]) == (False, True)


def test_without_sentinels_nobody_takes_over_and_writes_go_on(watched: Watched, switch: Switch) -> None:
    for sentinel in watched.sentinels:
        sentinel.stop()
    assert "no Sentinel does it" in switch(watched.servers[0], wait=1)["msg"]
    watched.servers[0].client().set("still", "writable")


def test_a_replica_takes_over_in_a_cluster(run: Switch, farm: Farm) -> None:
    nodes = farm.cluster()
    result = run(port=nodes[0].port, auth_file=None)
    assert result["changed"] is True
    assert nodes[0].ask("ROLE")[0] == b"slave"
    assert run(port=nodes[0].port, auth_file=None)["changed"] is False


def test_a_primary_without_a_replica_says_so(run: Switch, farm: Farm) -> None:
    node = farm.cluster(replicas=0)[0]
    assert run(port=node.port, auth_file=None)["alone"] == "it leads, and no replica can take over"


# What a leader that goes is asked


class Leader:
    """A leader that says what it is told to say, and notes what it was told."""

    def __init__(self, offset: int, *replicas: tuple[str, int]) -> None:
        self.replication = {"master_repl_offset": str(offset)}
        self.replication |= {
            f"slave{place}": f"ip=10.0.0.2,port=6379,state={state},offset={has},lag=0"
            for place, (state, has) in enumerate(replicas)
        }
        self.commands: list[tuple[Any, ...]] = []

    def info(self, _section: str) -> dict[str, str]:
        return self.replication

    def command(self, *words: Any) -> str:
        self.commands.append(words)
        return "OK"


@pytest.mark.parametrize(
    ("replicas", "has_everything"),
    [
        ([("online", 100)], True),
        ([("online", 99)], False),
        ([("online", 100), ("online", 99)], False),
        ([("online", 100), ("wait_bgsave", 0)], True),
        ([("wait_bgsave", 100)], False),
        ([], False),
    ],
)
def test_nobody_is_promoted_before_the_replicas_have_everything(
    replicas: list[tuple[str, int]], has_everything: bool
) -> None:
    assert redis_switchover.have_everything(cast("Any", Leader(100, *replicas))) is has_everything


def test_writes_go_on_where_nobody_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    leader = Leader(100, ("online", 99))
    monkeypatch.setattr(redis_switchover, "ask_sentinel", lambda *_: ["10.0.0.1", "6379"])
    with pytest.raises(redis_switchover.SwitchoverError, match="no replica has what the leader has"):
        redis_switchover.by_sentinel(cast("Any", leader), {"service": "mymaster", "wait": 1}, 0.0)
    assert [words[:2] for words in leader.commands] == [("CLIENT", "PAUSE"), ("CLIENT", "UNPAUSE")]
