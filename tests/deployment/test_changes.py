"""Which host has something to do in which step of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import Changed, Values, compared, follows, issued, leads, running, site, steps, watches, with_ca
from deployment.changes import Changes
from deployment.site import Site
from deployment.states import States

SERVERS = ["redis-1", "redis-2", "redis-3"]
RESTART: Values = {"differs": ["content"], "restart": ["databases 16 -> databases 32"]}
# The users of a server get another password.
PASSWORD: Changed = {("redis-1", "redis", "users"): {"is_new": True, "users": ["app"]}}


@pytest.fixture
def ca(tmp_path: Path) -> Values:
    return with_ca(tmp_path)


def changes(one: Site, found: Changed | None = None) -> Changes:
    states = States(one)
    return Changes(states, compared(states, found))


def restart(*names: str) -> Changed:
    return {(name, "redis", "configuration"): RESTART for name in names}


# The first run, and one after which nothing is left


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("locmem", {"django_app": ["app-1"]}),
        ("standalone", {"redis": ["redis-1"], "django_app": ["app-1"]}),
        ("replication", {"redis": SERVERS, "django_app": ["app-1"]}),
        ("sentinel", {"redis": SERVERS, "sentinel": SERVERS, "agreement": SERVERS, "django_app": ["app-1"]}),
        (
            "cluster",
            {"redis": [f"redis-{n}" for n in range(1, 7)], "cluster": ["redis-1"], "django_app": ["app-1"]},
        ),
    ],
)
def test_a_first_run(mode: str, wanted: dict[str, list[str]]) -> None:
    assert steps(site(mode)) == wanted
    assert steps(site(mode, said=running(mode))) == {}


def test_the_groups_of_the_hosts() -> None:
    found = changes(site("standalone", apps=2)).groups()
    assert found == [
        {"host": "redis-1", "groups": ["deploy_changes", "deploy_redis"]},
        {"host": "app-1", "groups": ["deploy_changes", "deploy_django_app"]},
        {"host": "app-2", "groups": ["deploy_changes", "deploy_django_app"]},
    ]
    # Who is unchanged is looked at again as well, so that the summary is of one moment.
    one = changes(site("standalone", said=running("standalone")), PASSWORD)
    assert [host["host"] for host in one.groups()] == ["redis-1", "app-1"]
    assert changes(site("standalone", said=running("standalone"))).groups() == []


# Restarts


def test_replicas_are_restarted_first_and_the_leader_last() -> None:
    one = changes(site("replication", said=running("replication")), restart(*SERVERS))
    assert one.restarts == ["redis-2", "redis-3", "redis-1"]
    assert one.steps["restart_replica"] == ["redis-2", "redis-3"]
    assert one.steps["restart_leader"] == ["redis-1"]
    # It is who leads now that counts.
    said = {
        "redis-1": {"redis": follows("redis-3")},
        "redis-2": {"redis": follows("redis-3")},
        "redis-3": {"redis": leads(2)},
        "app-1": running("locmem")["app-1"],
    }
    one = changes(site("replication", said=said), restart(*SERVERS))
    assert (one.restarts, one.steps["restart_leader"]) == (["redis-1", "redis-2", "redis-3"], ["redis-3"])


def test_in_a_cluster_all_replicas_are_restarted_before_all_primaries() -> None:
    names = [f"redis-{number}" for number in range(1, 7)]
    one = changes(site("cluster", said=running("cluster")), restart(*names))
    assert one.steps["restart_replica"] == ["redis-4", "redis-5", "redis-6"]
    assert one.steps["restart_leader"] == ["redis-1", "redis-2", "redis-3"]
    # Whether they are one cluster again is seen at the end.
    assert one.steps["cluster"] == ["redis-1"]


@pytest.mark.parametrize(
    ("mode", "said", "successor"),
    [
        ("sentinel", {}, True),
        ("cluster", {}, True),
        ("replication", {}, False),
        ("standalone", {}, False),
        # One without replicas, and one whose Sentinels are only about to come.
        ("sentinel", {"redis-1": {"redis": leads(0), "sentinel": watches("redis-1")}}, False),
        ("sentinel", {name: {"sentinel": {"running": False}} for name in SERVERS}, False),
        # A replica of a server that is still in another mode's cluster leads its part of that.
        ("cluster", {"redis-1": {"redis": leads(1)}}, False),
    ],
)
def test_who_has_a_successor(mode: str, said: dict[str, Values], successor: bool) -> None:
    found = running(mode)
    for name, answer in said.items():
        found[name] = {**found[name], **answer}
    assert changes(site(mode, said=found)).has_successor("redis-1") is successor


def test_a_replica_needs_no_successor() -> None:
    assert not changes(site("sentinel", said=running("sentinel"))).has_successor("redis-2")


def test_a_server_that_was_stopped_is_started_and_not_restarted() -> None:
    said = {**running("replication"), "redis-2": {"redis": {"error": "refused", "installed": True}}}
    found = steps(site("replication", said=said))
    assert found == {"redis": ["redis-2"]}


# Servers, Sentinels and what follows from them


def test_a_directive_that_is_set_live_is_one_servers_step() -> None:
    live: Changed = {("redis-2", "redis", "configuration"): {"set": {"maxmemory": "1"}, "was": {"maxmemory": "2"}}}
    assert steps(site("replication", said=running("replication")), live) == {"redis": ["redis-2"]}
    # Sentinels are asked whether they still know all, whichever server has changed.
    found = steps(site("sentinel", said=running("sentinel")), live)
    assert found == {"redis": ["redis-2"], "agreement": SERVERS}


def test_a_sentinel_that_changes() -> None:
    told: Changed = {("redis-1", "sentinel", "sentinel"): {"told": ["SET mymaster quorum 2"], "was": {"quorum": "3"}}}
    found = steps(site("sentinel", said=running("sentinel")), told)
    assert found == {"sentinel": ["redis-1"], "agreement": SERVERS}
    stale: Changed = {("redis-2", "sentinel", "service"): {"stale": True}}
    found = steps(site("sentinel", said=running("sentinel")), stale)
    assert found == {"sentinel": ["redis-2"], "restart_sentinel": ["redis-2"], "agreement": SERVERS}


def test_who_is_gone_is_forgotten_by_all() -> None:
    gone: Changed = {("redis-1", "agreement", "sentinel_agrees"): {"gone": ["10.0.0.9:6379"]}}
    one = changes(site("sentinel", said=running("sentinel")), gone)
    assert (one.steps, one.forgets) == ({"agreement": SERVERS}, True)
    assert changes(site("sentinel", said=running("sentinel"))).forgets is False


def test_former_passwords_are_revoked_where_users_have_changed() -> None:
    found = steps(site("replication", said=running("replication")), PASSWORD)
    assert found == {"redis": ["redis-1"], "finish": ["redis-1"]}
    # A server that is started now has no former ones.
    assert "finish" not in steps(site("replication"))


def test_another_release_is_djangos_step_alone() -> None:
    release: Changed = {("app-1", "django_app", "release"): {"differs": ["target"]}}
    assert steps(site("standalone", said=running("standalone")), release) == {"django_app": ["app-1"]}


def test_new_nodes_of_a_cluster() -> None:
    new = {"redis": {"error": "refused", "installed": False}}
    found = steps(site("cluster", servers=8, said={**running("cluster"), "redis-7": new, "redis-8": new}))
    assert found == {"redis": ["redis-7", "redis-8"], "cluster": ["redis-1"]}


def test_firewalls_and_exporters() -> None:
    one = site("replication", redis_exporter_enabled=True, firewall_enabled=True, said=running("replication"))
    found = steps(
        one,
        {
            ("redis-2", "firewall", "firewall_load"): {"same": False},
            ("redis-3", "exporter", "service"): {"running": False},
        },
    )
    assert found == {"firewall": ["redis-2"], "exporter": ["redis-3"]}


def test_what_is_installed() -> None:
    said: dict[str, Values] = {name: {"probe": {"programs": {}}} for name in SERVERS}
    assert steps(site("replication", said=said))["install"] == SERVERS


# What all do together


def test_another_protocol_stops_all_together(ca: dict[str, Any]) -> None:
    said = running("sentinel")
    stale: Changed = {(name, "sentinel", "service"): {"stale": True} for name in SERVERS}
    one = changes(site("sentinel", said=said, **ca), {**restart(*SERVERS), **stale})
    assert (one.stops, one.sentinel_stops) == (SERVERS, SERVERS)
    # Stopped is as good as restarted.
    assert (one.restarts, one.sentinel_restarts) == ([], [])
    assert {name: one.steps[name] for name in ("stop_redis", "stop_sentinel", "redis", "sentinel")} == dict.fromkeys(
        ("stop_redis", "stop_sentinel", "redis", "sentinel"), SERVERS
    )


def test_a_new_certificate_of_one_server(ca: dict[str, Any]) -> None:
    one = site("sentinel", said=running("sentinel", tls=True), **ca)
    issued(States(one))
    assert steps(one) == {}
    (Path(ca["redis_tls_authority_dir"]) / "redis-2.crt").unlink()
    found = changes(one)
    assert found.certificates == {"redis-2": "redis-2.crt is missing"}
    # Django gets the CA of a server with a new certificate again, which may be another one.
    assert found.steps == {
        "redis": ["redis-2"],
        # It cannot read its certificate again.
        "restart_sentinel": ["redis-2"],
        "agreement": SERVERS,
        "django_app": ["app-1"],
    }


def test_a_new_certificate_of_a_sentinel_alone(ca: dict[str, Any]) -> None:
    names = [*SERVERS, "sentinel-1"]
    said = {**running("sentinel", tls=True), "sentinel-1": {"sentinel": watches("redis-1", tls=True)}}
    one = site("sentinel", sentinels=names, said=said, **ca)
    issued(States(one))
    (Path(ca["redis_tls_authority_dir"]) / "sentinel-1.crt").unlink()
    assert steps(one) == {"sentinel": ["sentinel-1"], "restart_sentinel": ["sentinel-1"], "agreement": names}
    # One that does not run reads it when it starts.
    said["sentinel-1"] = {}
    stopped = site("sentinel", sentinels=names, said=said, **ca)
    assert steps(stopped) == {"sentinel": ["sentinel-1"], "agreement": names}


def test_an_exporter_gets_the_ca_of_a_new_certificate(ca: dict[str, Any]) -> None:
    """Which may be another one, and the comparison has only seen the former one."""
    said = running("replication", tls=True)
    one = site("replication", said=said, own={"redis-2": {"redis_exporter_enabled": True}}, **ca)
    issued(States(one))
    assert steps(one) == {}
    for name in ("redis-2", "redis-3"):
        (Path(ca["redis_tls_authority_dir"]) / f"{name}.crt").unlink()
    assert steps(one) == {"redis": ["redis-2", "redis-3"], "exporter": ["redis-2"], "django_app": ["app-1"]}


def test_a_new_ca_is_one_for_django_too(ca: dict[str, Any]) -> None:
    found = steps(site("standalone", said=running("standalone", tls=True), **ca))
    assert found == {"redis": ["redis-1"], "django_app": ["app-1"]}
    own = site("standalone", said=running("standalone", tls=True), redis_tls_cert_file="/c", **ca)
    assert steps(own) == {}


# What the mode does not use


def unit(service: str) -> Values:
    return {"probe": {"units": [f"/etc/systemd/system/{service}.service"]}}


def test_a_smaller_mode() -> None:
    said = running("replication")
    for name in ("redis-2", "redis-3"):
        said[name] = {**said[name], **unit("redis-6379")}
    assert steps(site("standalone", servers=3, said=said)) == {"retire_redis": ["redis-2", "redis-3"]}


def test_no_sentinels_any_more() -> None:
    said = {name: {**answer, **unit("redis-sentinel-26379")} for name, answer in running("replication").items()}
    assert steps(site("replication", sentinels=SERVERS, said=said)) == {"retire_sentinel": SERVERS}


def test_no_cluster_any_more() -> None:
    said = running("cluster")
    for name in said:
        said[name] = {**said[name], **unit("redis-6379")}
    found = steps(site("standalone", servers=6, said=said), restart("redis-1"))
    assert found["retire_first"] == [f"redis-{number}" for number in range(2, 7)]
    assert found["restart_leader"] == ["redis-1"]
