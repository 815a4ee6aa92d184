"""What a step applies to a host, what is done to services, and what changes for all of them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import (
    MODES,
    SECRETS,
    Values,
    issued,
    parts,
    running,
    site,
    watches,
    with_ca,
)
from deployment.site import Site
from deployment.states import STEPS, States


@pytest.fixture
def ca(tmp_path: Path) -> Values:
    return with_ca(tmp_path)


@pytest.mark.parametrize("mode", MODES)
def test_the_steps_of_a_host(mode: str) -> None:
    states = States(site(mode, said=running(mode)))
    for name in states.names:
        assert set(states.steps(name)) <= set(STEPS)
    assert {"django_app", "ready"} <= set(states.steps("app-1"))


def test_stops_and_restarts_are_steps() -> None:
    steps = States(site("sentinel", said=running("sentinel"))).steps("redis-1")
    assert [one["part"] for one in steps["stop_redis"]["sections"][0]["parts"]] == ["service_stopped"]
    assert [one["name"] for one in steps["stop_sentinel"]["sections"][0]["parts"]] == ["redis-sentinel-26379"]
    restarted, agrees = steps["restart_sentinel"]["sections"][0]["parts"]
    # The other Sentinels alone, since the servers are restarted later.
    assert (restarted["part"], agrees["nodes"], agrees["forget"]) == ("service_restarted", [], False)
    assert len(agrees["sentinels"]) == 3


def test_a_restart_knows_who_may_take_over() -> None:
    states = States(site("sentinel", said=running("sentinel")))
    restart = states.restart("redis-1")
    assert restart["switchover"]["has_successors"] is True
    assert restart["switchover"]["sentinels"] == [{"address": f"10.0.0.{n}", "port": 26379} for n in (1, 2, 3)]
    assert restart["switchover"]["sentinel_user"] == "admin"
    assert [one["part"] for one in restart["state"]["sections"][0]["parts"]] == ["service_restarted", "topology"]
    # A Sentinel of before Redis 6.2 has no users.
    old = States(site("sentinel", said=running("sentinel", user="")))
    assert old.restart("redis-1")["switchover"]["sentinel_password"] == SECRETS["redis_sentinel_password"]
    assert States(site("replication")).restart("redis-1")["switchover"]["has_successors"] is False


def program(**found: Any) -> dict[str, Values]:
    return {"redis-1": {"program": found}}


@pytest.mark.parametrize(
    ("one", "package", "sections", "user"),
    [
        (site("standalone"), None, False, ""),
        (site("standalone", said={"redis-1": {"probe": {"programs": {}}}}), "redis-server", False, ""),
        (site("standalone", redis_server_bin="/opt/redis"), None, False, ""),
        (
            site("standalone", redis_server_bin="/opt/redis", said={"redis-1": {"probe": {"missing": ["redis"]}}}),
            "",
            False,
            "redis",
        ),
        (site("standalone", redis_install="auto", said=program(path="", error="none")), "", True, ""),
        (site("standalone", redis_install="auto", said=program(path="/x", downloads=True)), "", True, ""),
        (site("standalone", redis_install="auto", said=program(path="/x", downloads=False)), None, False, ""),
    ],
)
def test_what_is_installed(one: Site, package: str | None, sections: bool, user: str) -> None:
    states = States(one)
    assert states.needs_install("redis-1") is (package is not None)
    if package is not None:
        install = states.install("redis-1")
        assert (install["package"], bool(install["state"]), install["user"]) == (package, sections, user)


def test_hosts_of_one_machine_are_installed_one_at_a_time() -> None:
    own = {name: {"ansible_host": "10.0.0.1"} for name in ("redis-1", "redis-2")}
    states = States(site("replication", own=own))
    assert [states.install(f"redis-{number}")["at_once"] for number in (1, 2, 3)] == [1, 1, 0]


# The CA


def test_certificates_are_issued_for_all_names(ca: Values) -> None:
    own = {"redis-1": {"redis_bind": "10.0.0.1 -::1 0.0.0.0", "redis_sentinel_address": "sentinel.example"}}
    (authority,) = States(site("sentinel", own=own, **ca)).authorities.values()
    assert authority.names["redis-1"] == ["10.0.0.1", "sentinel.example", "redis-1", "::1"]
    assert list(authority.names) == ["redis-1", "redis-2", "redis-3"]


def test_without_tls_or_with_own_files_there_is_no_ca(ca: Values) -> None:
    assert States(site("sentinel")).authorities == {}
    assert States(site("sentinel", redis_tls_cert_file="/c", redis_tls_key_file="/k", **ca)).authorities == {}
    # A server that only a socket reaches has no certificate.
    assert States(site("standalone", redis_socket="/s", **ca)).authorities == {}


def test_new_certificates_are_issued_once_in_a_run(ca: Values) -> None:
    one = site("standalone", redis_tls_renew=True, **ca)
    states = issued(States(one))
    assert states.issued("redis-1") is not None
    assert States(one).issued("redis-1") is None


def test_django_gets_the_ca_of_its_servers(ca: Values) -> None:
    states = issued(States(site("replication", **ca)))
    path = "/etc/django_app/redis-ca.crt"
    (brought,) = [one for one in parts(states, "app-1", "django_app") if one.get("name") == "ca"]
    assert (brought["path"], "CERTIFICATE" in brought["content"]) == (path, True)
    states = issued(States(site("replication", django_app_redis_ca_file="/own.crt", **ca)))
    assert "ca" not in [one.get("name") for one in parts(states, "app-1", "django_app")]


# What changes for all at once


def test_another_protocol_stops_what_runs(ca: Values) -> None:
    said = running("sentinel")
    said["redis-3"] = {"redis": {"error": "refused", "installed": True}, "sentinel": watches("redis-1", tls=True)}
    states = States(site("sentinel", said=said, **ca))
    assert [name for name in states.used if states.stops_server(name)] == ["redis-1", "redis-2"]
    assert [name for name in states.watching if states.stops_sentinel(name)] == ["redis-1", "redis-2"]
    assert [name for name in states.names if states.changes_protocol(name)] == ["redis-1", "redis-2"]


def test_another_ca_stops_what_runs(ca: Values) -> None:
    said = running("replication", tls=True)
    one = site("replication", said=said, **ca)
    digest = issued(States(one)).used["redis-1"].ca_digest
    for trusted, stops in ((digest, False), ("another", True)):
        said["redis-1"]["probe"] = {"issued_by": trusted}
        states = States(site("replication", said=said, **ca))
        assert (states.stops_server("redis-1"), states.changes_protocol("redis-1")) == (stops, stops)


def test_another_ca_stops_all_sentinels(ca: Values) -> None:
    """Those on hosts without a server as well: the others do not understand them."""
    names = ["redis-1", "sentinel-1"]
    said = {**running("sentinel", tls=True), "sentinel-1": {"sentinel": watches("redis-1", tls=True)}}
    digest = issued(States(site("sentinel", sentinels=names, said=said, **ca))).used["redis-1"].ca_digest
    for trusted, stops in ((digest, []), ("another", names)):
        for name in names:
            said[name]["probe"] = {"issued_by": trusted}
        states = States(site("sentinel", sentinels=names, said=said, **ca))
        assert [name for name in names if states.stops_sentinel(name)] == stops
        assert [name for name in names if states.changes_protocol(name)] == stops
    assert states.questions("sentinel-1")["probe"]["issued_ca_file"] == "/etc/redis/redis-6379.ca.crt"


def test_renewal(ca: Values) -> None:
    states = issued(States(site("sentinel", sentinels=["redis-1", "sentinel-1"], **ca)))
    (certificate,) = states.renewal("redis-1")["sections"]
    assert certificate["parts"][-1]["part"] == "certificate"
    assert certificate["parts"][-1]["renew"] is True
    # The Sentinel, which cannot read its own again, is restarted.
    (certificate,) = states.renewal("sentinel-1")["sections"]
    assert {one["part"] for one in certificate["parts"]} == {"file"}
