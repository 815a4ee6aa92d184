"""What a deployment would do where a comparison found this or that: a line for each difference, and no other line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import Changed, Values, compared, follows, issued, plan, running, site, watches, with_ca
from deployment.site import Site
from deployment.states import States

LIVE = ["cost: 0 restarts"]

REPLICATION = site("replication", said=running("replication"))
SENTINEL = site("sentinel", said=running("sentinel"))
CLUSTER = site("cluster", said=running("cluster"))


def said(mode: str, changes: dict[str, Values]) -> dict[str, Values]:
    """What the hosts of a mode say that runs, but for some."""
    found = running(mode)
    return {**found, **{name: {**found.get(name, {}), **answer} for name, answer in changes.items()}}


def redis(mode: str, name: str, reply: Values) -> Site:
    """A site that runs, but for what one server says."""
    return site(mode, said=said(mode, {name: {"redis": reply}}))


def conf(name: str, **result: Any) -> Changed:
    return {(name, "redis", "configuration"): result}


def server(name: str, **result: Any) -> Changed:
    return {(name, "redis", "service"): result}


def app(part: str, name: str = "app-1", **result: Any) -> Changed:
    return {(name, "django_app", part): result}


def unit(service: str) -> Values:
    """The answer of a host that has a service."""
    return {"probe": {"units": [f"/etc/systemd/system/{service}.service"]}}


FIREWALL: Values = {"probe": {"units": ["cachestack-firewall.service"]}}
RESTART = {"differs": ["content"], "restart": ["databases 16 -> databases 32"]}
DIRECTIVES = {
    "maxmemory": ("0", "2147483648"),
    "maxclients": ("4064", "10000"),
    "save": ("3600 1", ""),
}

CHANGED: dict[str, tuple[Site, Changed, list[str]]] = {
    "a server that was stopped": (
        site("replication", said=said("replication", {"redis-2": {"redis": {"error": "refused", "installed": True}}})),
        {},
        ["redis-2  start on 10.0.0.2:6379 as replica of redis-1", *LIVE],
    ),
    "a server that only a socket reaches": (
        site("standalone", redis_socket="/run/redis.sock", said={"app-1": running("locmem")["app-1"]}),
        {},
        ["redis-1  start on /run/redis.sock as leader", *LIVE],
    ),
    "another password": (
        REPLICATION,
        {("redis-1", "redis", "users"): {"is_new": True, "users": ["app", "admin"], "path": "/a.conf"}},
        ["redis-1  correct the users live (app and admin)", "redis-1  write /a.conf", *LIVE],
    ),
    "a user that somebody changed": (
        REPLICATION,
        {("redis-1", "redis", "users"): {"users": ["app"]}},
        ["redis-1  correct the users live (app)", *LIVE],
    ),
    "a certificate of the user's own that is new on the host": (
        site("replication", redis_tls=True, redis_tls_cert_file="/c", said=running("replication", tls=True)),
        {("redis-2", "certificate", "certificate"): {"stale": True}},
        ["redis-2  have it read its certificate again", *LIVE],
    ),
    "no TLS any more": (
        site("sentinel", said=running("sentinel", tls=True)),
        {},
        [
            "redis-1  stop with all others, and start again (TLS changes)",
            "redis-1  stop the Sentinel with the servers, and start it again (TLS changes)",
            "redis-2  stop with all others, and start again (TLS changes)",
            "redis-2  stop the Sentinel with the servers, and start it again (TLS changes)",
            "redis-3  stop with all others, and start again (TLS changes)",
            "redis-3  stop the Sentinel with the servers, and start it again (TLS changes)",
            "cost: 3 servers stopped together: the cache is away until they run again, 0 restarts",
        ],
    ),
    "the firewall's rules": (
        site("replication", firewall_enabled=True, said=running("replication")),
        {
            ("app-1", "firewall", "file /etc/cachestack-firewall.nft"): {"differs": ["content"]},
            ("app-1", "firewall", "firewall_load"): {"same": False},
            ("redis-1", "firewall", "firewall_load"): {"same": False},
        },
        ["redis-1  load the firewall's rules", "app-1    load the firewall's rules", *LIVE],
    ),
    "no firewall any more": (
        site("locmem", said=said("locmem", {"app-1": FIREWALL})),
        {("app-1", "firewall", "service_absent"): {}},
        ["app-1  stop cachestack-firewall.service for good", *LIVE],
    ),
    "an exporter": (
        site("replication", redis_exporter_enabled=True, said=running("replication")),
        {
            ("redis-1", "exporter", "service"): {"running": False},
            ("redis-2", "exporter", "service"): {"described": True, "stale": True},
        },
        ["redis-1  start the exporter on 127.0.0.1:9121", "redis-2  restart the exporter (its service changes)", *LIVE],
    ),
    "no exporter any more": (
        site("replication", said=said("replication", {"redis-1": unit("redis-exporter-6379")})),
        {("redis-1", "exporter", "service_absent"): {}},
        ["redis-1  stop redis-exporter-6379 for good", *LIVE],
    ),
    "another owner of the file with the passwords": (
        REPLICATION,
        {("redis-1", "redis", "users"): {"differs": ["owner", "mode"], "path": "/etc/redis/redis-6379.auth.conf"}},
        ["redis-1  correct the owner and mode of /etc/redis/redis-6379.auth.conf", *LIVE],
    ),
    "another password of servers and Sentinels": (
        SENTINEL,
        {
            ("redis-1", "sentinel", "sentinel"): {
                "told": ["SET mymaster auth-pass"],
                "restart": ["it gets another password"],
            },
            ("redis-1", "sentinel", "service"): {"described": True, "stale": True},
        },
        [
            "redis-1  give the Sentinel the servers' new password",
            "redis-1  restart the Sentinel (it gets another password; its service changes)",
            "cost: 0 restarts, 1 restart of Sentinels",
        ],
    ),
    "a secret directive": (
        REPLICATION,
        conf("redis-1", differs=["content"], set={"tls-key-file-pass": "***"}, was={"tls-key-file-pass": "***"}),
        ["redis-1  set another tls-key-file-pass live", *LIVE],
    ),
    "memory and other numbers": (
        REPLICATION,
        conf(
            "redis-1",
            set={name: value for name, (_, value) in DIRECTIVES.items()},
            was={name: value for name, (value, _) in DIRECTIVES.items()},
        ),
        [
            "redis-1  set maxmemory 2gb live (was 0)",
            "redis-1  set maxclients 10000 live (was 4064)",
            'redis-1  set save "" live (was 3600 1)',
            *LIVE,
        ],
    ),
    "a file that says the same in other words": (
        REPLICATION,
        conf("redis-1", differs=["content"]),
        ["redis-1  write redis.conf, with nothing to set on the server", *LIVE],
    ),
    "what waits for replicas": (
        REPLICATION,
        conf("redis-1", differs=["content"], postponed=["min-replicas-to-write"]),
        [
            "redis-1  write redis.conf, with nothing to set on the server",
            "redis-1  set min-replicas-to-write live as soon as its replicas are connected",
            *LIVE,
        ],
    ),
    "a replica of another server": (
        redis("replication", "redis-2", follows("redis-3")),
        {("redis-2", "redis", "topology"): {}},
        ["redis-2  follow redis-1 (followed 10.0.0.3:6379)", *LIVE],
    ),
    "a replica of a server with an IPv6 address": (
        redis("replication", "redis-2", {**follows("redis-3"), "leader_address": "2001:db8::3"}),
        {("redis-2", "redis", "topology"): {}},
        ["redis-2  follow redis-1 (followed [2001:db8::3]:6379)", *LIVE],
    ),
    "a leader that followed a server with an IPv6 address": (
        redis("standalone", "redis-1", {"error": "timed out", "installed": True}),
        {
            ("redis-1", "redis", "topology"): {
                "role": "replica",
                "leader_address": "2001:db8::2",
                "leader_port": 6379,
            }
        },
        ["redis-1  lead (followed [2001:db8::2]:6379)", *LIVE],
    ),
    "a leader with an IPv6 address for a Sentinel": (
        SENTINEL,
        {("redis-1", "sentinel", "sentinel"): {"told": ["MONITOR shop 2001:db8::1 6379 2"]}},
        ["redis-1  have the Sentinel watch [2001:db8::1]:6379 as shop", *LIVE],
    ),
    "a replica that does not remember whom it follows": (
        REPLICATION,
        {("redis-2", "redis", "topology"): {}},
        ["redis-2  write down that it follows redis-1", *LIVE],
    ),
    "a leader that remembers that it follows": (
        REPLICATION,
        {("redis-1", "redis", "topology"): {}},
        ["redis-1  write down that it leads", *LIVE],
    ),
    "one restart": (
        REPLICATION,
        server("redis-2", stale=True, newer=["/etc/a", "/etc/b"]),
        ["redis-2  restart (/etc/a, /etc/b is newer than its process)", "cost: 1 restart"],
    ),
    "a program that was replaced": (
        REPLICATION,
        server("redis-2", stale=True),
        ["redis-2  restart (its program was replaced)", "cost: 1 restart"],
    ),
    "another unit": (
        REPLICATION,
        server("redis-2", described=True, stale=True),
        ["redis-2  restart (its service changes)", "cost: 1 restart"],
    ),
    "a server that hangs, and may lead": (
        redis("standalone", "redis-1", {"error": "timed out", "installed": True}),
        conf("redis-1", answers=False, changed=False),
        [
            "redis-1  restart, in place: until it is back the cache is away (it does not answer)",
            "cost: 1 restart, 1 interruption",
        ],
    ),
    "a server of its own": (
        site("standalone", said=running("standalone")),
        conf("redis-1", **RESTART),
        [
            "redis-1  restart, in place: until it is back the cache is away (databases 16 -> 32)",
            "cost: 1 restart, 1 interruption",
        ],
    ),
    "who is gone": (
        SENTINEL,
        {("redis-1", "agreement", "sentinel_agrees"): {"gone": ["10.0.0.4:6379"]}},
        ["redis-1  have the Sentinel forget 10.0.0.4:6379, which is gone", *LIVE],
    ),
    "a Sentinel's file that says nothing new": (
        SENTINEL,
        {("redis-1", "sentinel", "sentinel"): {"differs": ["content"]}},
        ["redis-1  write the Sentinel's settings, with nothing to set on it", *LIVE],
    ),
    "users of a Sentinel": (
        SENTINEL,
        {("redis-1", "sentinel", "sentinel"): {"told": ["USER default", "CONFIG sentinel-pass"]}},
        [
            "redis-1  correct the Sentinel's user default live",
            "redis-1  correct the Sentinel's sentinel-pass, with which it logs in to the others, live",
            *LIVE,
        ],
    ),
    "a dead node of the cluster": (
        CLUSTER,
        {("redis-1", "cluster", "cluster"): {"actions": ["forgot 10.0.0.4:6379"]}},
        ["cluster  forget 10.0.0.4:6379", *LIVE],
    ),
    "a new release": (
        REPLICATION,
        app("release", differs=["target"]),
        [
            "app-1  install a new release of the project, with its requirements",
            "app-1  reload Django",
            "cost: 0 restarts, Django reloads once",
        ],
    ),
    "a new release for several Django hosts": (
        site("replication", apps=2, said={**running("replication"), "app-2": running("replication")["app-1"]}),
        {**app("secrets", differs=["content"]), **app("secrets", "app-2", differs=["content"])},
        [
            "app-1  write new secrets",
            "app-1  reload Django",
            "app-2  write new secrets",
            "app-2  reload Django",
            "cost: 0 restarts, Django reloads on 2 hosts",
        ],
    ),
    "a Django that is older than its files": (
        REPLICATION,
        app("service", stale=True, newer=["/etc/settings.py"]),
        [
            "app-1  reload Django (/etc/settings.py is newer than its process)",
            "cost: 0 restarts, Django reloads once",
        ],
    ),
    "a Django that was stopped": (
        REPLICATION,
        app("service", running=False),
        ["app-1  start Django on 127.0.0.1:8000", *LIVE],
    ),
    "a server that another mode used": (
        site(
            "standalone",
            servers=2,
            said={**running("standalone"), "redis-2": {"redis": {"error": "refused"}, **unit("redis-6379")}},
        ),
        {},
        ["redis-2  stop redis-6379 for good; its data stays", *LIVE],
    ),
}


@pytest.mark.parametrize(("site", "changes", "wanted"), CHANGED.values(), ids=CHANGED)
def test_more_that_people_are_told(site: Site, changes: Changed, wanted: list[str]) -> None:
    assert plan(site, changes)["text"].splitlines() == wanted


# Those that need a CA


@pytest.fixture
def ca(tmp_path: Path) -> dict[str, Any]:
    return with_ca(tmp_path)


def test_tls_for_servers_that_have_none(ca: dict[str, Any]) -> None:
    certificates = [f"redis-{number}  give it a new certificate" for number in (1, 2, 3)]
    stops = [f"redis-{number}  stop with all others, and start again (TLS changes)" for number in (1, 2, 3)]
    lines = plan(site("replication", said=running("replication"), **ca))["text"].splitlines()
    assert lines[:6] == [line for pair in zip(certificates, stops) for line in pair]
    assert lines[6:] == [
        "cost: 3 servers stopped together: the cache is away until they run again, 0 restarts",
    ]


def test_a_certificate_that_somebody_changed_on_a_host(ca: dict[str, Any]) -> None:
    one = site("replication", said=running("replication", tls=True), **ca)
    issued(States(one))
    assert plan(one)["changes"] is False
    changes = {("redis-2", "certificate", "file /etc/redis/redis-6379.crt"): {"differs": ["content"]}}
    assert plan(one, changes)["text"].splitlines() == ["redis-2  give it a new certificate", *LIVE]


def test_new_certificates_of_sentinels(ca: dict[str, Any]) -> None:
    names = ["redis-1", "redis-2", "redis-3", "sentinel-1"]
    answers = {**running("sentinel", tls=True), "sentinel-1": {"sentinel": watches("redis-1", tls=True)}}
    one = site("sentinel", sentinels=names, said=answers, **ca)
    issued(States(one))
    assert plan(one)["changes"] is False
    for name in ("redis-2", "sentinel-1"):
        (Path(ca["redis_tls_authority_dir"]) / f"{name}.crt").unlink()
    found = plan(one)
    assert found["text"].splitlines() == [
        "redis-2     give it a new certificate",
        "redis-2     restart the Sentinel, first (it gets a new certificate)",
        "sentinel-1  give it a new certificate",
        "sentinel-1  restart the Sentinel, last (it gets a new certificate)",
        "cost: 0 restarts, 2 restarts of Sentinels",
    ]
    assert found["cost"]["sentinel_restarts"] == ["redis-2", "sentinel-1"]


def test_another_ca(ca: dict[str, Any]) -> None:
    """It is made only after the comparison, and all that trust the former one get it in the same run."""
    answers = running("standalone", tls=True)
    answers["redis-1"]["probe"] = {"issued_by": "the former one"}
    one = site("standalone", said=answers, redis_exporter_enabled=True, **ca)
    assert plan(one)["text"].splitlines() == [
        "redis-1  give it a new certificate",
        "redis-1  stop with all others, and start again (TLS changes)",
        "redis-1  restart the exporter (it gets another CA certificate)",
        "app-1    reload Django",
        "cost: 1 server stopped together: the cache is away until they run again, 0 restarts, Django reloads once",
    ]
    # A new certificate of the same CA is nothing that the exporter and Django read.
    issued(States(one))
    answers["redis-1"]["probe"] = {"issued_by": States(one).used["redis-1"].ca_digest}
    (Path(ca["redis_tls_authority_dir"]) / "redis-1.crt").unlink()
    same = site("standalone", said=answers, redis_exporter_enabled=True, **ca)
    assert plan(same)["text"].splitlines() == ["redis-1  give it a new certificate", *LIVE]


# A cluster that cannot be asked, and more servers than there are words for


def test_new_nodes_of_a_cluster_that_could_not_be_asked() -> None:
    """One that is down may have slots, and only the run itself waits for it."""
    new = {"redis": {"error": "refused", "installed": False}}
    down = {"redis": {"error": "refused", "installed": True}}
    one = site("cluster", servers=7, said={**running("cluster"), "redis-6": down, "redis-7": new})
    lines = plan(one)["text"].splitlines()
    assert lines == [
        "redis-6  start on 10.0.0.6:6379 for the cluster",
        "redis-7  start on 10.0.0.7:6379 for the cluster",
        "redis-7  join the cluster",
        *LIVE,
    ]


def test_the_eleventh_is_said_in_figures() -> None:
    one = site("replication", servers=13, said=running("replication", 13))
    changes: dict[tuple[str, str, str], Values] = {}
    for number in range(13, 1, -1):
        changes |= conf(f"redis-{number}", **RESTART)
    lines = plan(one, changes)["text"].splitlines()
    # In the inventory's order.
    assert [line.split()[0] for line in lines[:-1]] == [f"redis-{number}" for number in range(2, 14)]
    assert [line.split()[2].rstrip(",") for line in lines[9:12]] == ["tenth", "11th", "last"]


def test_every_difference_has_a_line() -> None:
    """Whatever the words for it are: no difference is kept from whoever reads the plan."""
    states = States(REPLICATION)
    for section, parts in compared(states)["redis-2"].items():
        for part in parts:
            if part not in ("changed", "needs_restart"):
                assert plan(REPLICATION, {("redis-2", section, part): {}})["hosts"]["redis-2"], (section, part)
