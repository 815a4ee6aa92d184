"""What a Redis host is to have: directives, users, paths, its service."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from builders import APPLIED, MODES, SECRETS, Values, facts, follows, leads, part, parts, running, site, with_ca
from deployment.desired.exporter import ExporterHost
from deployment.desired.redis import RedisHost
from deployment.render.service import Manager
from deployment.states import States
from deployment.users import derived_password

SUPERVISOR: Values = {
    "service_manager": "supervisor",
    "service_dir": "/home/me/services",
    "redis_user": "",
    "redis_kernel_settings": False,
}


def redis(mode: str = "standalone", name: str = "redis-1", **common: Any) -> RedisHost:
    return States(site(mode, **common)).servers[name]


def directives(mode: str = "standalone", name: str = "redis-1", **common: Any) -> dict[str, Any]:
    """The directives that are there."""
    found = redis(mode, name, **common).directives
    return {directive: value for directive, value in found.items() if value is not None}


# Directives


def test_the_directives_of_a_server() -> None:
    assert directives() == {
        "port": 6379,
        "bind": "10.0.0.1",
        "protected-mode": True,
        "dir": "/var/lib/redis/6379",
        "daemonize": False,
        "supervised": "systemd",
        "appendonly": True,
        "save": "",
        "maxmemory": "2048mb",
        "maxmemory-policy": "allkeys-lru",
        "min-replicas-to-write": 0,
        "min-replicas-max-lag": 5,
    }


@pytest.mark.parametrize(
    ("mode", "more"),
    [
        ("replication", {}),
        # What Sentinel tells clients is the inventory's address.
        (
            "sentinel",
            {"min-replicas-to-write": 1, "replica-announce-ip": "10.0.0.1", "replica-announce-port": 6379},
        ),
        (
            "cluster",
            {
                "dir": "/var/lib/redis/6379/cluster",
                "cluster-enabled": True,
                "cluster-node-timeout": 5000,
                "cluster-require-full-coverage": False,
                "cluster-announce-ip": "10.0.0.1",
            },
        ),
    ],
)
def test_what_a_mode_adds(mode: str, more: dict[str, Any]) -> None:
    assert directives(mode) == {**directives(), **more}


def test_a_node_of_a_cluster_that_is_known_by_name_finds_out_its_address() -> None:
    assert "cluster-announce-ip" not in directives("cluster", redis_address="redis-1.example.com")
    assert directives("cluster", redis_address="2001:db8::1")["cluster-announce-ip"] == "2001:db8::1"


def test_a_socket() -> None:
    found = directives(redis_socket="/run/redis-6379/redis.sock")
    # Django has the socket, and nobody else needs the server.
    assert (found["unixsocket"], found["unixsocketperm"], found["port"]) == ("/run/redis-6379/redis.sock", 770, 0)
    assert directives(redis_socket="/run/redis.sock", **SUPERVISOR)["unixsocketperm"] == 700
    assert directives("replication", redis_socket="/run/redis.sock")["port"] == 6379
    assert directives(redis_socket="/run/redis.sock", redis_tcp=True)["port"] == 6379


@pytest.mark.parametrize(
    ("mode", "more"),
    [("standalone", {"tls-port": 6379}), ("cluster", {"tls-port": 6379, "tls-cluster": True})],
)
def test_tls(mode: str, more: dict[str, Any], tmp_path: Path) -> None:
    found = directives(mode, **with_ca(tmp_path))
    assert {name: found[name] for name in found if "tls" in name} == {
        "tls-cert-file": "/etc/redis/redis-6379.crt",
        "tls-key-file": "/etc/redis/redis-6379.key",
        "tls-ca-cert-file": "/etc/redis/redis-6379.ca.crt",
        "tls-replication": True,
        "tls-auth-clients": False,
        "tls-protocols": '"TLSv1.2 TLSv1.3"',
        **more,
    }
    assert found["port"] == 0
    # One without a port speaks it to nobody.
    assert "tls-port" not in directives(redis_socket="/run/redis.sock", redis_tls=True)


def test_the_users_own_files_of_tls() -> None:
    own: Values = {f"redis_tls_{what}_file": f"/etc/tls/{what}.pem" for what in ("cert", "key", "ca")}
    found = directives(redis_tls=True, **own)
    assert [found[f"tls-{what}-file"] for what in ("cert", "key", "ca-cert")] == [
        "/etc/tls/cert.pem",
        "/etc/tls/key.pem",
        "/etc/tls/ca.pem",
    ]


def test_the_users_directives_win() -> None:
    found = directives(redis_config={"maxmemory": "1gb", "databases": 32, "save": None})
    assert (found["maxmemory"], found["databases"], "save" in found) == ("1gb", 32, False)


def test_the_users_values() -> None:
    values: Values = {"redis_appendonly": False, "redis_save": "3600 1", "redis_maxmemory_policy": "volatile-ttl"}
    values |= {"redis_min_replicas_to_write": 2, "redis_min_replicas_max_lag": "7", "redis_port": "6380"}
    assert directives("replication", **values) == {
        **directives("replication"),
        "port": 6380,
        "dir": "/var/lib/redis/6380",
        "appendonly": False,
        "save": "3600 1",
        "maxmemory-policy": "volatile-ttl",
        "min-replicas-to-write": 2,
        "min-replicas-max-lag": 7,
    }


# Memory


def test_the_memory_of_a_machine_is_for_all_of_its_servers() -> None:
    assert directives("replication")["maxmemory"] == "2048mb"
    own = {name: {"ansible_host": "10.0.0.1"} for name in ("redis-1", "redis-2")}
    limits = [directives("replication", f"redis-{number}", own=own)["maxmemory"] for number in (1, 2, 3)]
    assert limits == ["1024mb", "1024mb", "2048mb"]


def test_six_ports_of_ssh_behind_one_address_are_six_machines() -> None:
    own = {f"redis-{n}": {"ansible_host": "127.0.0.1", "ansible_port": 2200 + n} for n in range(1, 7)}
    assert {directives("cluster", name, own=own)["maxmemory"] for name in own} == {"2048mb"}
    # And without these ports one.
    own = {f"redis-{n}": {"ansible_host": "127.0.0.1", "redis_port": 6378 + n} for n in range(1, 7)}
    assert {directives("cluster", name, own=own)["maxmemory"] for name in own} == {"320mb"}


def test_a_server_that_the_mode_does_not_use_takes_no_memory() -> None:
    own = {
        "redis-1": {"ansible_host": "10.0.0.1"},
        "redis-2": {"ansible_host": "10.0.0.1", "redis_modes": ["cluster"]},
    }
    assert directives("replication", own=own)["maxmemory"] == "2048mb"


# Where it listens


@pytest.mark.parametrize(
    ("common", "bind", "here"),
    [
        ({}, "10.0.0.1", "10.0.0.1"),
        ({"redis_bind": "-::1 10.0.0.1"}, "-::1 10.0.0.1", "::1"),
        ({"redis_address": "redis-1.example.com"}, "10.0.0.1", "10.0.0.1"),
        ({"redis_socket": "/run/redis.sock"}, "10.0.0.1", "/run/redis.sock"),
    ],
)
def test_where_it_listens(common: Values, bind: str, here: str) -> None:
    server = redis(**common)
    assert (server.directives["bind"], server.connection()["address"]) == (bind, here)


# Programs and paths


@pytest.mark.parametrize(
    ("common", "program", "user"),
    [
        ({}, "/usr/bin/redis-server", "redis"),
        ({"redis_engine": "valkey"}, "/usr/bin/valkey-server", "valkey"),
        ({"redis_engine": "valkey", "redis_user": "cache"}, "/usr/bin/valkey-server", "cache"),
        ({"redis_server_bin": "/opt/redis-server"}, "/opt/redis-server", "redis"),
        ({"redis_install": "auto", "redis_user": ""}, "", ""),
        (
            {"redis_install": "auto", "said": {"redis-1": {"program": {"path": "/home/me/valkey-server"}}}},
            "/home/me/valkey-server",
            "redis",
        ),
    ],
)
def test_the_program_and_its_user(common: Values, program: str, user: str) -> None:
    server = redis(**common)
    assert (server.program, server.user, server.group) == (program, user, user)


def test_the_package_of_redis_brings_the_directory_of_the_configuration() -> None:
    assert redis().conf_dir_parts == []
    (made,) = redis(redis_engine="valkey").conf_dir_parts
    assert (made["path"], made["group"], made["mode"]) == ("/etc/redis", "valkey", "0750")
    # Where there is no root, all is in one directory.
    assert redis(redis_conf_dir="/home/me/6379", redis_data_dir="/home/me", **SUPERVISOR).conf_dir_parts == []


# Users


def test_the_users_of_a_server() -> None:
    users = part(States(site("replication")), "redis-1", "redis", "users")
    admin = SECRETS["redis_admin_password"]
    assert users["passwords"] == {
        "admin": admin,
        "app": SECRETS["redis_password"],
        "monitor": derived_password(admin, "monitor"),
        "replica": derived_password(admin, "replica"),
    }
    assert (users["clients"], users["keys"], users["cluster"]) == (["builtin"], ["dj/*"], False)
    assert (users["owner"], users["group"], users["mode"]) == ("root", "redis", "0640")
    one = part(States(site("replication", redis_acl=False)), "redis-1", "redis", "users")
    assert one["passwords"] == {"default": SECRETS["redis_password"]}


def test_what_the_inventory_adds_for_djangos_user() -> None:
    one = site(
        "cluster",
        redis_app_rules=["~queue:*"],
        own={"app-1": {"django_app_cache_aliases": {"default": {"key_prefix": "shop"}}}},
    )
    users = part(States(one), "redis-1", "redis", "users")
    assert (users["app_rules"], users["keys"], users["cluster"]) == (["~queue:*"], ["shop/*"], True)


# The service


def test_the_service_of_a_server() -> None:
    unit = redis("replication").unit
    assert unit.command == "/usr/bin/redis-server /var/lib/redis/6379/redis.conf"
    assert (unit.user, unit.type, unit.working_dir, unit.writable) == (
        "redis",
        "notify",
        "/var/lib/redis/6379",
        ["/var/lib/redis/6379"],
    )
    assert (unit.revive_after, unit.open_files, unit.after) == (0.1, 65535, [])
    # A server of one's own may be built without systemd.
    assert redis(redis_server_bin="/opt/redis-server").unit.type == "simple"
    socket = redis(redis_socket="/run/redis.sock").unit
    assert "chgrp redis-socket /run/redis.sock" in socket.after[0]


@pytest.mark.parametrize(
    ("mode", "seconds"), [("standalone", 0.1), ("replication", 0.0), ("sentinel", 10.0), ("cluster", 10.0)]
)
def test_a_server_without_its_data_waits_for_its_successor(mode: str, seconds: float) -> None:
    common: Values = {"redis_appendonly": False}
    assert redis(mode, **common).unit.revive_after == seconds
    # By whatever word it has its data again.
    assert redis(mode, **common, redis_config={"save": "3600 1"}).unit.revive_after == 0.1
    assert redis(mode, redis_config={"appendonly": "no"}).unit.revive_after == seconds


def test_the_kernel_is_set_where_there_is_root() -> None:
    assert [len(redis(redis_kernel_settings=sets).unit.before) for sets in (True, False)] == [3, 2]
    before = redis().unit.before[-1]
    assert before.startswith("-+/bin/sh -c ")


@pytest.mark.parametrize("text", ["include x\nreplicaof 10.0.0.1 6379\nmaxmemory 1\n# y\nuser default on\n"])
def test_what_the_server_wrote_is_kept_before_each_start(tmp_path: Path, text: str) -> None:
    """All but whom it follows, which would win over what the role owns."""
    server = redis(redis_data_dir=str(tmp_path), redis_conf_dir=str(tmp_path / "conf"))
    (tmp_path / "6379").mkdir()
    volatile = tmp_path / "6379" / "redis.conf"
    volatile.write_text(text)
    subprocess.run(["/bin/sh", "-c", server.unit.before[0]], check=True)
    assert volatile.read_text() == "include x\nreplicaof 10.0.0.1 6379\n"


@pytest.mark.parametrize(
    ("conf", "left"),
    [
        ('appendonly yes\nsave ""\n', True),
        ('appendonly no\nsave "3600 1"\n', True),
        ("appendonly no\nsave 3600 1\n", True),
        ('appendonly no\nsave ""\n', False),
        (None, True),
    ],
)
def test_files_of_a_time_with_persistence_are_set_aside(tmp_path: Path, conf: str | None, left: bool) -> None:
    server = redis(redis_data_dir=str(tmp_path), redis_conf_dir=str(tmp_path))
    home = tmp_path / "6379"
    (home / "appendonlydir").mkdir(parents=True)
    for name in ("dump.rdb", "appendonly.aof", "redis.conf"):
        (home / name).touch()
    if conf is not None:
        (tmp_path / "redis-6379.conf").write_text(conf)
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", server.unit.before[1]], check=True)
    assert (home / "dump.rdb").exists() is left
    assert (home / "unused" / "dump.rdb").exists() is not left
    assert (home / "unused" / "appendonlydir").exists() is not left
    assert (home / "redis.conf").exists()


def test_under_supervisor() -> None:
    server = redis(**SUPERVISOR)
    assert server.manager == Manager("supervisor", "/home/me/services", "/opt/venv/bin/supervisord")
    assert (server.directives["supervised"], server.owner) == (False, "")
    assert server.service_part["unit_path"] == "/home/me/services/programs/redis-6379.conf"


# The parts


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "locmem"])
def test_the_parts_of_a_server_in_their_order(mode: str) -> None:
    found = [one["part"] for one in parts(States(site(mode)), "redis-1", "redis", APPLIED)]
    assert found == ["directory", "users", "configuration", "volatile", "service", "topology", "configuration"]


def test_a_server_is_restarted_later() -> None:
    assert part(States(site("replication")), "redis-1", "redis", "service")["restart"] is False


def test_the_configuration_includes_the_users_last() -> None:
    lines = redis().configuration.splitlines()
    assert "appendonly yes" in lines
    assert lines[-1] == "include /etc/redis/redis-6379.auth.conf"


def test_a_retired_server_leaves_its_data_and_no_password() -> None:
    stopped, passwords, volatile, absent = redis().retired_parts()
    # By its description a run that was cut short is found.
    assert (stopped["part"], absent["part"]) == ("service_stopped", "service_absent")
    assert passwords["paths"] == ["/etc/redis/redis-6379.auth.conf"]
    assert (volatile["part"], volatile["path"]) == ("lines_absent", "/var/lib/redis/6379/redis.conf")


# The exporter


def exporter(name: str = "redis-1", mode: str = "standalone", **common: Any) -> ExporterHost:
    return States(site(mode, redis_exporter_enabled=True, **common)).exporters[name]


def test_an_exporter() -> None:
    unit = exporter().exporter_unit
    assert unit.command == (
        "/usr/bin/prometheus-redis-exporter --web.listen-address=127.0.0.1:9121 --redis.addr=redis://10.0.0.1:6379"
        " --redis.user=monitor --redis.password-file=/etc/redis_exporter/redis-exporter-6379.passwords.json"
        " --config-command=- --set-client-name=false"
    )
    assert unit.user == "redis_exporter"
    assert "--redis.user" not in exporter(redis_acl=False).exporter_unit.command


def test_an_exporter_has_the_password_of_its_server_alone() -> None:
    (passwords,) = [one for one in exporter().exporter_parts(None) if one["part"] == "file"]
    password = derived_password(SECRETS["redis_admin_password"], "monitor")
    assert passwords["content"] == (
        f'{{"redis://10.0.0.1:6379": "{password}", "redis://monitor@10.0.0.1:6379": "{password}"}}'
    )


def test_exporters_of_one_machine_have_ports_of_their_own() -> None:
    own = {name: {"ansible_host": "10.0.0.1"} for name in ("redis-1", "redis-2")}
    found = [exporter(f"redis-{number}", "replication", own=own).exporter_port for number in (1, 2, 3)]
    assert found == [9121, 9122, 9121]
    assert exporter(redis_exporter_port="9200").exporter_port == 9200


def test_an_exporter_copies_the_users_own_ca() -> None:
    own = exporter(redis_tls=True, redis_tls_cert_file="/c", redis_tls_ca_file="/ca.crt")
    copied = own.exporter_parts(None)[2]
    assert (copied["copy_of"], copied["path"]) == ("/ca.crt", "/etc/redis_exporter/redis-exporter-6379.ca.crt")
    assert "--redis.addr=rediss://10.0.0.1:6379" in own.exporter_unit.command


# What is known of it elsewhere


def test_what_the_checks_know_holds_no_secret() -> None:
    common: Values = {"redis_config": {"tls-key-file-pass": "a locked key"}, "redis_tls": True}
    checked = redis("sentinel", said=running("sentinel"), **common).to_check
    assert [secret for secret in (*SECRETS.values(), "a locked key") if secret in str(checked)] == []
    assert checked["tls"]["is_locked"] is True
    assert checked["maxmemory_variable"] == "redis_maxmemory"
    assert redis(redis_config={"maxmemory": "1gb"}).to_check["maxmemory_variable"] == "redis_config.maxmemory"


def test_a_server_is_not_known_before_it_was_looked_at() -> None:
    server = redis(looked=False)
    assert (server.bind, server.reply, server.facts) == ([""], {}, {})
    assert redis(said={"redis-1": {"facts": facts("redis-1", memtotal_mb=1024)}}).maxmemory == "512mb"


def test_whom_it_follows() -> None:
    said = {"redis-1": {"redis": follows("redis-2")}, "redis-2": {"redis": leads(1)}}
    one = States(site("replication", servers=2, said=said))
    assert one.servers["redis-1"].leader_to_follow == {"address": "10.0.0.2", "port": 6379}
    assert one.servers["redis-2"].leader_to_follow is None
    assert redis("cluster", "redis-2").leader_to_follow is None
