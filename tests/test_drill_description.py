"""How a deployment is described to the drill: what runs where, and how commands get there."""

from __future__ import annotations

from typing import Any

import pytest

from drill.description import UnreachableError, deployment_description

SERVICES = {"manager": "systemd", "supervisorctl": [], "connection": "community.docker.docker", "container": "c-1"}
SERVER = {
    "service": "redis-6379",
    "address": "redis-1",
    "here": "127.0.0.1",
    "port": 6379,
    "auth_file": "/a",
    "data": "/d",
}
SENTINELS = [{"name": "redis-1", "service": "shop", "down_after_ms": 2000}]


def described(**more: Any) -> dict[str, Any]:
    return {"service_described": {**SERVICES, **more}, "redis_described": SERVER, "redis_config": {"databases": 3}}


def test_a_deployment_is_described() -> None:
    hostvars = {"redis-1": {**described(), "redis_min_replicas_max_lag": "3"}}
    found = deployment_description(["redis-1"], hostvars, "sentinel", "resilient", SENTINELS)
    assert found["hosts"]["redis-1"] == {
        "access": ["docker", "exec", "-i", "c-1"],
        "manager": "systemd",
        "supervisorctl": [],
        "redis": SERVER,
        "sentinel": None,
        "app": None,
    }
    times = {"down_after": 2.0, "node_timeout": 5.0, "max_lag": 3.0}
    assert {name: found[name] for name in times} == times
    assert (found["service"], found["redis_config"]) == ("shop", {"databases": 3})


def test_this_machine_needs_no_words_before_a_command() -> None:
    found = deployment_description(["redis-1"], {"redis-1": described(connection="local")}, "cluster", "resilient")
    assert found["hosts"]["redis-1"]["access"] == []
    assert (found["service"], found["down_after"]) == ("", 0.0)


def test_other_peoples_servers_are_not_broken() -> None:
    with pytest.raises(UnreachableError, match="redis-1: a drill breaks servers"):
        deployment_description(
            ["redis-1"], {"redis-1": described(connection="ssh")}, "sentinel", "resilient", SENTINELS
        )
