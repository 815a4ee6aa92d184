"""How a deployment is described to the drill: what runs where, and how commands get there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployment import run
from deployment.site import Site
from drill.description import UnreachableError, deployment_description
from drill.hosts import App, Deployment, Host, Server, read_deployment
from rendering import site

CONTAINER = {"ansible_connection": "community.docker.docker", "ansible_docker_host": "c-1"}
LEADER = {"role": "leader"}


def looked_at(inventory: str, **variables: Any) -> Site:
    """A site whose hosts have answered; its first server leads."""
    made = site(inventory, **variables)
    said = {
        host: {"facts": {"memtotal_mb": 1000, "all_ipv4_addresses": [own.get("ansible_host")]}}
        for host, own in made.values.items()
    }
    return replace(made, looked={**said, "redis-1": {**said["redis-1"], "redis": LEADER}})


def read(made: Site, folder: Path) -> Deployment:
    """The description as drill/run.py reads it."""
    path = folder / "deployment.json"
    path.write_text(json.dumps(deployment_description(made, run.describe(made))), "utf-8")
    return read_deployment(path)


def test_a_deployment_is_described(tmp_path: Path) -> None:
    own = {"redis_config": {"databases": 20}, "redis_sentinel_service": "shop", "redis_min_replicas_max_lag": 3}
    found = read(looked_at("sentinel", **CONTAINER, **own, redis_sentinel_down_after_ms=2000), tmp_path)
    assert (found.mode, found.service, found.redis_config) == ("sentinel", "shop", {"databases": 20})
    assert (found.limits.down_after, found.limits.node_timeout, found.limits.max_lag) == (2.0, 5.0, 3.0)
    hosts = {host.name: host for host in found.hosts}
    access = ("docker", "exec", "-i", "c-1")
    assert hosts["redis-1"] == Host(
        "redis-1",
        access,
        "systemd",
        redis=Server("redis-6379", "192.0.2.11", 6379, "/etc/redis/redis-6379.auth.conf"),
        sentinel=Server("redis-sentinel-26379", "192.0.2.11", 26379, "/etc/redis/redis-sentinel-26379.auth.conf"),
    )
    assert hosts["app-1"] == Host(
        "app-1",
        access,
        "systemd",
        app=App("django_app", ("/srv/django_app/current/manage.py",), "django_app", "http://127.0.0.1:8000"),
    )


def test_this_machine_needs_no_words_before_a_command(tmp_path: Path) -> None:
    found = read(looked_at("local", cache_mode="cluster"), tmp_path)
    assert {host.access for host in found.hosts} == {()}
    assert (found.service, found.limits.down_after, found.limits.node_timeout) == ("", 0.0, 2.0)
    assert len([host for host in found.hosts if host.redis]) == 6
    assert not any(host.sentinel for host in found.hosts)


def test_a_host_that_the_mode_does_not_use_is_left_out(tmp_path: Path) -> None:
    found = read(looked_at("local", cache_mode="standalone"), tmp_path)
    assert [host.name for host in found.hosts] == ["redis-1", "app-1"]


def test_other_peoples_servers_are_not_broken() -> None:
    made = looked_at("sentinel")
    with pytest.raises(UnreachableError, match="redis-1: a drill breaks servers"):
        deployment_description(made, run.describe(made))
