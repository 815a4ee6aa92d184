"""CACHES where everything is closed: TLS everywhere, and a user who may do no more than his cache does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible.module_utils.redis_acl import UNKNOWN, app_rules, rules, sentinel_rules
from redis.connection import SSLConnection

from conftest import Certificate, TLSFront, forget_pools
from sample_caches import (
    BUILTIN,
    CLIENTS,
    DJANGO_REDIS,
    PRINTABLE,
    RESILIENT,
    SENTINELS_PASSWORD,
    loaded,
    node,
    patient,
    pools_of,
    rendered,
    run_every_operation,
)
from servers import SERVICE, Farm, RedisServer, wait_for

pytestmark = pytest.mark.usefixtures("django_project", "_no_shared_pools")


Closed = Callable[..., dict[str, Any]]
CLOSED = pytest.mark.parametrize(
    ("mode", "client"),
    [
        *itertools.product(("standalone", "replication"), (BUILTIN, DJANGO_REDIS, RESILIENT)),
        ("sentinel", DJANGO_REDIS),
        ("sentinel", RESILIENT),
        ("cluster", RESILIENT),
    ],
)


@pytest.fixture
def closed(farm: Farm, certificate: Certificate, tls_front: TLSFront) -> Closed:
    """Start the servers of a mode, with the user `app` for a client. Return the arguments of `rendered`.

    Data nodes have the certificate `file`; they and the Sentinels tell no address but those with TLS.
    """

    def start(mode: str, client: str, file: Path = certificate.address_file) -> dict[str, Any]:
        servers = farm.cluster(primaries=2) if mode == "cluster" else farm.replicated(replicas=mode != "standalone")
        ports = {server.port: tls_front(server.port, file) for server in servers}
        allowed = rules("app", UNKNOWN, app_rules([client], mode == "cluster", ["dj/*"], []))
        for server in servers:
            server.ask("ACL SETUSER", "app", "on", f">{PRINTABLE}", *allowed)
            if mode == "cluster":
                server.client().config_set("cluster-announce-port", ports[server.port])
        for server in servers[1:] if mode != "cluster" else ():
            server.client().config_set("replica-announce-port", ports[server.port])
            server.client().replicaof(server.host, str(ports[servers[0].port]))
            assert server.wait_until_ready()
        if mode == "cluster":
            told = set(ports.values())
            assert wait_for(lambda: all(told == _told_by(server) for server in servers))
        nodes = [node(server, port=ports[server.port], tls=True) for server in servers]
        arguments = {"nodes": nodes, "username": "app", "password": PRINTABLE, "ca_file": str(certificate.ca_file)}
        return {**arguments, **(watching(ports[servers[0].port]) if mode == "sentinel" else {})}

    def watching(port: int) -> dict[str, Any]:
        farm.sentinels(farm.servers[0], password=SENTINELS_PASSWORD)
        sentinels = farm.servers[-3:]
        for server in sentinels:
            server.ask("SENTINEL REMOVE", SERVICE)
            server.ask("SENTINEL MONITOR", SERVICE, server.host, port, 2)
        assert wait_for(lambda: all(s.ask("SENTINEL MASTERS")[SERVICE]["num-slaves"] == 1 for s in sentinels))
        for server in sentinels:
            # What clients need, the other Sentinels, who log in as nobody else here, and this test.
            others = [rule for rule in sentinel_rules("sentinel", UNKNOWN) if rule.startswith("+")]
            server.ask("ACL SETUSER", "default", *sentinel_rules("default", UNKNOWN), *others, "+acl|log")
        fronts = [tls_front(server.port, certificate.address_file) for server in sentinels]
        return {
            "sentinels": [{"name": "s", "address": sentinels[0].host, "port": front, "tls": True} for front in fronts],
            "service": SERVICE,
            "sentinel_password": SENTINELS_PASSWORD,
        }

    return start


def _told_by(server: RedisServer) -> set[int]:
    """The ports that a node of a cluster tells its clients."""
    return {told[1] for _, _, *nodes in server.ask("CLUSTER SLOTS") for told in nodes}


@CLOSED
def test_every_operation_is_allowed_and_no_other_needed(closed: Closed, farm: Farm, mode: str, client: str) -> None:
    arguments = closed(mode, client)
    aliases: dict[str, dict[str, Any]] = {
        name: {"read_from": name, "key_prefix": f"dj/{name}", **patient(client)} for name in ("leader", "replicas")
    }
    caches = {name: rendered(alias, mode, client, **arguments) for name, alias in aliases.items()}
    run_every_operation(caches)
    loaded(caches["leader"]).clear()
    denied = [(server.port, entry) for server in farm.servers for entry in server.ask("ACL LOG")]
    assert denied == []


@CLOSED
def test_another_authority_and_another_user_are_refused(
    closed: Closed, certificate: Certificate, mode: str, client: str
) -> None:
    arguments = closed(mode, client)

    def cache(**changes: Any) -> Any:
        forget_pools()
        return loaded(rendered(patient(client), mode, client, **{**arguments, **changes}))

    cache().set("key", "value")
    # What redis-py says of Sentinels does not name the reason.
    words = "names a leader|No master found" if mode == "sentinel" else "certificate verify failed"
    with pytest.raises(redis.ConnectionError, match=words):
        cache(ca_file=str(certificate.other_ca_file)).get("key")
    with pytest.raises(redis.ConnectionError):
        cache(username="nobody").get("key")


@CLOSED
def test_a_certificate_for_another_name_is_refused(
    closed: Closed, certificate: Certificate, mode: str, client: str
) -> None:
    """Where servers are found at run time, those; the first ones have the right name."""
    arguments = closed(mode, client, certificate.file)
    if mode == "cluster":
        arguments["nodes"] = [{**each, "address": certificate.name} for each in arguments["nodes"]]
    cache = loaded(rendered(patient(client), mode, client, **arguments))
    with pytest.raises(redis.ConnectionError, match="certificate is not valid for '127"):
        cache.get("key")


def test_what_sentinel_is_told_of_tls_and_users() -> None:
    sentinels = [{"name": "a", "address": "192.0.2.1", "port": 26379, "tls": True}]
    arguments = {"sentinels": sentinels, "sentinel_password": "x", "ca_file": "/ca.pem"}
    ours = rendered({}, "sentinel", RESILIENT, [node(tls=True)], **arguments)
    assert ours["LOCATION"] == ["rediss://mymaster"]
    assert ours["OPTIONS"]["sentinel_kwargs"] == {"ssl": True, "ssl_ca_certs": "/ca.pem", "password": "x"}
    assert "username" not in ours["OPTIONS"], "it has no password"
    theirs = rendered({}, "sentinel", DJANGO_REDIS, [node(tls=True)], **arguments)
    # rediss:// would make connections that ask no Sentinel.
    assert theirs["LOCATION"] == ["redis://mymaster/0?is_master=1"]
    checks = {
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_min_version": 771,
        "ssl_ca_certs": "/ca.pem",
    }
    for options, wanted in (("CONNECTION_POOL_KWARGS", checks), ("SENTINEL_KWARGS", {**checks, "password": "x"})):
        given = theirs["OPTIONS"][options]
        assert {key: given[key] for key in given if key.startswith("ssl") or key == "password"} == wanted


@CLIENTS
def test_a_socket_beside_tls_has_no_options_of_it(client: str) -> None:
    """And where only one server has a socket, all are reached with TLS: they have the same options."""
    nodes = [node(tls=True, socket="/run/redis.sock"), node(tls=True, address="192.0.2.2", role="replica")]
    alone = rendered({}, "standalone", client, nodes[:1], ca_file="/ca.pem")
    assert [url.partition(":")[0] for url in alone["LOCATION"]] == ["unix"]
    assert "ssl_" not in repr(alone)
    both = rendered({"read_from": "replicas"}, "replication", client, nodes, ca_file="/ca.pem")
    assert [url.partition(":")[0] for url in both["LOCATION"]] == ["rediss", "rediss"]
    assert [pool.connection_class for pool in pools_of(loaded(both))] == [SSLConnection] * 2
