"""How what runs on a host is reached: for verify, for the audit of security and for the drill."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from deployment.desired import firewall
from deployment.desired.exporter import PACKAGE
from deployment.desired.parts import Part, arguments
from deployment.site import Host
from deployment.states import States


def described(states: States, name: str) -> dict[str, Any]:
    """What runs on a host: ``<role>_described`` for each role, and ``service_described`` for its service manager."""
    found: dict[str, Any] = {}
    host: Host | None = None
    if name in states.used:
        host = server = states.used[name]
        found["redis_described"] = {
            "service": server.service,
            "here": server.here,
            "port": server.port,
            "auth_file": server.auth_conf,
            "bind": server.bind if server.tcp else [],
            "is_cluster": server.cache.mode == "cluster",
            "socket": server.socket,
            "folders": [server.conf_dir, server.home],
            "holds": [server.auth_conf, server.volatile_conf],
            "package": server.engine.package if server.installs_package else "",
            "tls": server.tls_to_check(server.address) if server.tls and server.tcp else {},
            "access": server.access if server.acl else {},
        }
        exporter = states.exporters[name]
        if exporter.enabled:
            found["redis_exporter_described"] = {
                "service": exporter.exporter_service,
                "url": exporter.url,
                "bind": [exporter.exporter_bind],
                "port": exporter.exporter_port,
                "folders": [exporter.exporter_dir],
                "holds": [exporter.passwords_file],
                "package": PACKAGE,
            }
    if name in states.watching:
        host = sentinel = states.watching[name]
        found["redis_sentinel_described"] = {
            "service": sentinel.sentinel_service,
            "here": sentinel.sentinel_here,
            "port": sentinel.sentinel_port,
            "auth_file": sentinel.sentinel_auth_conf,
            "bind": sentinel.sentinel_bind,
            "folders": [sentinel.conf_dir, sentinel.sentinel_home],
            "holds": [sentinel.sentinel_auth_conf, sentinel.sentinel_volatile_conf],
            "package": "",
            "tls": sentinel.tls_to_check(sentinel.sentinel_address) if sentinel.tls else {},
        }
    if name in states.apps:
        host = app = states.apps[name]
        found["django_app_described"] = {
            "service": "django_app",
            "manage": [app.manage],
            "user": app.user,
            "url": app.url,
            "allowed_hosts": list(app.values["django_app_allowed_hosts"]),
            "bind": [app.text("django_app_bind")],
            "port": app.number("django_app_port"),
            "folders": [app.text("django_app_conf_dir")],
            "holds": [f"{app.deployed}/secrets.json"],
            "https": app.is_true("django_app_https"),
            "settings": f"{app.deployed}/settings.py",
        }
    if host:
        found["service_described"] = _manager(host)
    return found


def _manager(host: Host) -> dict[str, Any]:
    manager = host.manager
    is_systemd = manager.kind == "systemd"
    supervisorctl = str(PurePosixPath(manager.daemon).with_name("supervisorctl"))
    return {
        "connection": host.text("ansible_connection") or "ssh",
        "container": host.text("ansible_docker_host"),
        "manager": manager.kind,
        "logs": "" if is_systemd else f"{manager.directory}/logs",
        "supervisorctl": [] if is_systemd else [supervisorctl, "-c", f"{manager.directory}/supervisord.conf"],
    }


def secrets(states: States, name: str) -> dict[str, Any]:
    """The secrets of a host by role and name: ``<role>_secrets``."""
    found: dict[str, Any] = {}
    if name in states.used:
        found["redis_secrets"] = states.used[name].passwords
    if name in states.watching:
        sentinel = states.watching[name]
        others = sentinel.passwords if sentinel.sentinel_reply.get("user") == "admin" else {}
        found["redis_sentinel_secrets"] = {"default": sentinel.text("redis_sentinel_password"), **others}
    if name in states.apps:
        found["django_app_secrets"] = states.apps[name].secrets
    return found


def verification(states: States, name: str) -> dict[str, Any]:
    """What the tasks that verify a host need, by role; a role that has nothing there is missing."""
    found: dict[str, Any] = {}
    if name in states.used:
        server = states.used[name]
        node = server.node or {}
        cache = server.cache
        kills = server.is_true("service_verify_kill") and cache.mode in ("standalone", "replication")
        found["redis"] = {
            "connection": server.connection(),
            "role": node.get("role"),
            "is_cluster": cache.mode == "cluster",
            "kill": _state("kill", [_killed(server, server.service), *server.restart_parts()[1:]]) if kills else {},
        }
        if cache.mode == "cluster" and name == cache.nodes[0]["name"]:
            found["redis"]["cluster"] = _state("cluster", [server.cluster_part([], verify=True)])
        if states.exporters[name].enabled:
            found["exporter"] = {"url": states.exporters[name].url}
    if name in states.watching:
        sentinel = states.watching[name]
        part = {**sentinel.agreement_part(), "forget": False}
        found["sentinel"] = {
            "connection": sentinel.sentinel_connection(),
            "agreement": _state("agreement", [part]),
        }
    if name in states.apps:
        app = states.apps[name]
        kill = [_killed(app, "django_app")] if app.is_true("service_verify_kill") else []
        found["django"] = {
            "manage": app.manage,
            "user": app.user,
            "ready": _state("ready", [*kill, app.ready_part]),
            "writes": bool(app.cache.nodes) and not app.own_caches,
        }
    if states.loads_firewall(name):
        found["firewall"] = _state("firewall", [firewall.LOAD])
    return found


def _killed(host: Host, service: str) -> Part:
    return {"part": "service_killed", **host.manager.reference(service)}


def _state(section: str, parts: list[Part]) -> dict[str, Any]:
    return arguments([{"name": section, "parts": parts}])
