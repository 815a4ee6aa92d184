"""What hosts are asked about their security."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.plugins.modules import security_probe

from sample_audit import ADMIN, audited, judged, listener
from security.findings import secrets_of, security_questions


@pytest.fixture
def hostvars() -> dict[str, Any]:
    """Hosts with nothing wrong."""
    return audited()


def test_questions_are_what_the_module_takes(hostvars: dict[str, Any]) -> None:
    redis = security_questions(hostvars, "redis-1")
    assert redis["tls"] == [{"address": "10.0.0.1", "port": 6379, "name": "redis-1", "ca_file": "/etc/redis/ca.crt"}]
    server, sentinel = redis["servers"]
    assert server["passwords"] == ADMIN
    assert (server["tls_name"], server["clients"], server["is_sentinel"]) == ("redis-1", ["builtin"], False)
    assert (sentinel["passwords"], sentinel["is_sentinel"]) == ({"default": "the Sentinels' password"}, True)
    assert "/etc/redis/redis.key" in redis["closed"]
    assert "folders" not in redis
    app = security_questions(hostvars, "app-1")
    assert (app["tls"], app["servers"]) == ([], [])
    assert "http://127.0.0.1:8000/healthz" in app["pages"]
    for questions in (redis, app):
        assert all(set(server) <= set(security_probe.SERVER) for server in questions["servers"])
        assert all(set(tls) <= set(security_probe.TLS) for tls in questions["tls"])
        assert all(set(one) == set(security_probe.SERVICE) for one in questions["services"])


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (["shop.example", "127.0.0.1"], ""),
        (["*"], ""),
        (["shop.example", "www.shop.example"], "shop.example"),
        ([".shop.example"], "shop.example"),
    ],
)
def test_pages_are_asked_for_at_a_name_that_django_takes(hostvars: dict[str, Any], names: list[str], host: str) -> None:
    hostvars["app-1"]["django_app_described"]["allowed_hosts"] = names
    assert security_questions(hostvars, "app-1")["host"] == host


@pytest.mark.parametrize(("bind", "faults"), [("localhost", 0), ("app.internal", 1)])
def test_a_name_to_listen_on(hostvars: dict[str, Any], bind: str, faults: int) -> None:
    """Which address another name means nobody knows."""
    hostvars["app-1"]["django_app_described"]["bind"] = [bind]
    hostvars["app-1"]["security_probed"]["listeners"] = [listener("127.0.0.1", 8000, "django_app", "gunicorn")]
    assert len(judged(hostvars)["faults"]) == faults


def test_secrets_are_looked_for_on_every_host_each_once(hostvars: dict[str, Any]) -> None:
    names = ["redis admin", "redis app", "redis_sentinel default", "django_app secret_key"]
    assert list(secrets_of(hostvars)) == names
    assert security_questions(hostvars, "app-1")["secrets"] == secrets_of(hostvars)


def test_without_systemd_only_what_is_the_bundles_is_looked_at(hostvars: dict[str, Any]) -> None:
    hostvars["app-1"]["service_described"] = {"manager": "supervisor", "logs": "/srv/services/logs"}
    questions = security_questions(hostvars, "app-1")
    assert (questions["services"], questions["folders"]) == ([], ["/etc/django_app", "/srv/services/logs"])


def test_an_exporter(hostvars: dict[str, Any]) -> None:
    hostvars["redis-1"]["redis_exporter_described"] = {
        "service": "redis-exporter-6379",
        "url": "http://127.0.0.1:9121",
        "port": 9121,
        "bind": ["127.0.0.1"],
        "package": "prometheus-redis-exporter",
    }
    questions = security_questions(hostvars, "redis-1")
    assert "http://127.0.0.1:9121/metrics" in questions["pages"]
    assert [one["name"] for one in questions["services"]][-1] == "redis-exporter-6379"
    assert questions["packages"] == ["redis-server", "prometheus-redis-exporter"]
    said = hostvars["redis-1"]["security_probed"]
    said["listeners"].append(listener("127.0.0.1", 9121, "redis-exporter-6379", "prometheus-redi"))
    said["pages"] = [{"url": "http://127.0.0.1:9121/metrics", "status": 200, "secrets": [], "words": ["redis://"]}]
    assert judged(hostvars)["faults"] == []
