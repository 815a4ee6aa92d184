"""What hosts are asked before anything is changed."""

from __future__ import annotations

from typing import Any

from deployment.hosts import host_questions
from deployment.render.service import Manager
from sample_hosts import (
    ISSUED,
    SECRET,
    TLS,
    Hostvars,
    deployment,
    issued,
    sentinel_alone,
)

SYSTEMD, SUPERVISOR = Manager("systemd"), Manager("supervisor", "/home/me/services", "/opt/supervisord")
ABOUT = ("programs", "package", "data_dir", "certificate", "issued_ca_file", "ca_file")


def asked(hostvars: Hostvars, name: str) -> dict[str, Any]:
    """The questions, and whether they are such as the module takes."""
    questions = host_questions(hostvars, name)
    assert set(questions) == {"targets", "listeners", *ABOUT}
    return questions


def places(questions: dict[str, Any]) -> list[str]:
    return [f"{one['variable'] or 'own'} {one['address']}:{one['port']}" for one in questions["targets"]]


def test_the_questions_to_a_replica_and_to_a_leader() -> None:
    hostvars = deployment()
    replica, leader = asked(hostvars, "redis-2"), asked(hostvars, "redis-1")
    # Who leads is not known yet.
    assert places(leader) == ["own 10.0.0.1:6379", "redis_address 10.0.0.2:6379"]
    assert places(replica) == ["own 10.0.0.2:6379", "redis_address 10.0.0.1:6379"]
    assert replica["targets"][0] | {"ask": True, "password": SECRET} == replica["targets"][0]
    assert "password" not in replica["targets"][1]
    (own,) = replica["listeners"]
    service = {"service": "redis-6379", "manager": "systemd", "supervisor": None}
    assert own == {"address": "10.0.0.2", "port": 6379, "variable": "redis_port", "unless": "redis", **service}
    assert [replica[word] for word in ABOUT] == [
        ["/usr/bin/redis-server"],
        "redis-server",
        "/var/lib/redis/6379",
        None,
        None,
        None,
    ]


def test_the_questions_under_sentinel() -> None:
    hostvars = deployment("sentinel")
    sentinels = [{"name": f"redis-{one}", "address": f"10.0.0.{one}", "port": 26379} for one in (1, 2)]
    wanted = {
        "hosts": ["redis-1", "redis-2"],
        "sentinels": sentinels,
        "bind": ["10.0.0.1"],
        "port": 26379,
        "manager": SYSTEMD.reference("redis-sentinel-26379"),
    }
    hostvars["redis-1"] |= {"redis_sentinel_wanted": wanted, "redis_sentinel_password": "own " + SECRET}
    hostvars["app-1"]["django_app_wanted"]["sentinels"] = sentinels
    questions = asked(hostvars, "redis-1")
    assert places(questions) == [
        "own 10.0.0.1:6379",
        "own 10.0.0.1:26379",
        "redis_address 10.0.0.2:6379",
        "redis_sentinel_address 10.0.0.2:26379",
    ]
    assert [one.get("password") for one in questions["targets"][:2]] == [SECRET, "own " + SECRET]
    assert [one["variable"] for one in questions["listeners"]] == ["redis_port", "redis_sentinel_port"]
    app = asked(hostvars, "app-1")
    assert [one["password"] for one in app["targets"]] == [SECRET, SECRET, "own " + SECRET, "own " + SECRET]
    # Where one answers, nobody need ask who has its port.
    assert [one["unless"] for one in questions["listeners"]] == ["redis", "sentinel"]


def test_the_questions_to_a_node_of_a_cluster() -> None:
    hostvars = deployment("cluster")
    questions = asked(hostvars, "redis-1")
    assert places(questions) == ["own 10.0.0.1:6379", "redis_address 10.0.0.2:6379", "redis_address 10.0.0.2:16379"]
    assert [one["port"] for one in questions["listeners"]] == [6379, 16379]
    # A server of another mode has the port, and not the one of the bus.
    assert [one["unless"] for one in questions["listeners"]] == ["redis", "cluster"]


def test_the_questions_to_a_django_host() -> None:
    hostvars = deployment()
    questions = asked(hostvars, "app-1")
    assert places(questions) == ["redis_address 10.0.0.1:6379", "redis_address 10.0.0.2:6379"]
    assert {(one["ask"], one["password"]) for one in questions["targets"]} == {(True, SECRET)}
    assert [one["variable"] for one in questions["listeners"]] == ["django_app_port"]
    assert (questions["programs"], questions["package"], questions["data_dir"]) == (["python3"], "", None)


def test_the_questions_about_tls() -> None:
    hostvars = deployment()
    hostvars["redis-1"] |= {"redis_config": {"tls-key-file-pass": "open sesame"}}
    hostvars["redis-1"]["redis_wanted"]["tls"] = {**TLS, "is_locked": True}
    hostvars["app-1"]["django_app_wanted"] |= {"ca_file": "/srv/ca.pem"}
    for one in hostvars["app-1"]["django_app_wanted"]["nodes"]:
        one["tls"] = True
    own = asked(hostvars, "redis-1")
    files = {name: value for name, value in TLS.items() if name != "is_locked"}
    assert own["certificate"] == {**files, "key_password": "open sesame"}
    hostvars["redis-1"]["redis_wanted"]["tls"] = TLS
    assert asked(hostvars, "redis-1")["certificate"] == {**files, "key_password": ""}
    assert own["targets"][0] | {"tls_name": "10.0.0.1", "tls_ca_file": "/etc/tls/ca.pem"} == own["targets"][0]
    app = asked(hostvars, "app-1")
    assert app["targets"][1] | {"tls_name": "10.0.0.2", "tls_ca_file": "/srv/ca.pem"} == app["targets"][1]
    assert app["ca_file"] == "/srv/ca.pem"


def test_what_the_run_itself_brings_is_not_asked_about() -> None:
    hostvars = deployment()
    issued(hostvars)
    hostvars["app-1"]["django_app_wanted"] |= {"ca_file": "/etc/django_app/redis-ca.crt", "ca_issued": True}
    for one in hostvars["app-1"]["django_app_wanted"]["nodes"]:
        one["tls"] = True
    redis = asked(hostvars, "redis-1")
    assert (redis["certificate"], redis["issued_ca_file"]) == (None, TLS["ca_file"])
    app = asked(hostvars, "app-1")
    assert (app["ca_file"], [one["ask"] for one in app["targets"]]) == (None, [False, False])


def test_a_host_with_a_sentinel_alone_is_asked_which_ca_it_trusts() -> None:
    hostvars = deployment("sentinel")
    sentinel_alone("redis-2")(hostvars)
    assert asked(hostvars, "redis-2")["issued_ca_file"] is None
    hostvars["redis-2"]["redis_sentinel_wanted"]["tls"] = ISSUED
    assert asked(hostvars, "redis-2")["issued_ca_file"] == TLS["ca_file"]


def test_the_questions_about_users() -> None:
    """Django and the server itself are asked about as the same user; the Sentinels' own is another one's."""
    hostvars = deployment("sentinel")
    sentinels = [{"name": "redis-1", "address": "10.0.0.1", "port": 26379}]
    hostvars["redis-1"]["redis_sentinel_password"] = "own " + SECRET
    hostvars["redis-1"]["redis_wanted"]["user"] = "app"
    hostvars["app-1"]["django_app_wanted"] |= {"user": "app", "sentinels": sentinels}
    assert [one.get("user") for one in asked(hostvars, "redis-1")["targets"]] == ["app", None]
    assert [one["user"] for one in asked(hostvars, "app-1")["targets"]] == ["app", "app", ""]
    assert asked(hostvars, "redis-2")["targets"][0]["user"] == ""


def test_the_questions_about_an_exporter() -> None:
    hostvars = deployment()
    exporter = {"bind": ["127.0.0.1"], "port": 9121, "manager": SUPERVISOR.reference("redis-exporter-6379")}
    hostvars["redis-1"]["redis_exporter_wanted"] = exporter
    questions = asked(hostvars, "redis-1")
    (_, listener) = questions["listeners"]
    assert listener == {
        "address": "127.0.0.1",
        "port": 9121,
        "variable": "redis_exporter_port",
        "service": "redis-exporter-6379",
        "manager": "supervisor",
        "supervisor": {"directory": "/home/me/services"},
    }


def test_a_server_without_a_port_is_not_asked_by_it() -> None:
    hostvars = deployment("standalone")
    hostvars["redis-1"]["redis_wanted"] |= {"bind": [], "nodes": []}
    questions = asked(hostvars, "redis-1")
    assert (questions["targets"], questions["listeners"]) == ([], [])


def test_the_questions_about_a_socket_and_about_every_address() -> None:
    hostvars = deployment()
    hostvars["redis-1"]["redis_wanted"]["bind"] = ["*", "-::1"]
    hostvars["redis-1"]["redis_wanted"]["nodes"][0]["socket"] = "/run/redis-6379/redis.sock"
    assert places(asked(hostvars, "app-1")) == ["redis_address 10.0.0.2:6379"]
    own = asked(hostvars, "redis-1")
    assert places(own) == ["own 127.0.0.1:6379", "redis_address 10.0.0.2:6379"]
    assert [one["address"] for one in own["listeners"]] == ["*"]


def test_the_questions_to_a_host_that_nothing_is_wanted_of() -> None:
    questions = asked({"redis-4": {}}, "redis-4")
    assert [word for word, value in questions.items() if value] == []


def test_a_place_is_asked_once() -> None:
    hostvars = deployment("sentinel")
    wanted = {
        "hosts": ["redis-1"],
        "sentinels": [],
        "bind": ["10.0.0.1"],
        "port": 26379,
        "manager": SYSTEMD.reference("redis-sentinel-26379"),
    }
    hostvars["redis-1"] |= {
        "redis_sentinel_wanted": wanted,
        "django_app_wanted": hostvars["app-1"]["django_app_wanted"],
    }
    assert len(set(places(asked(hostvars, "redis-1")))) == 3
