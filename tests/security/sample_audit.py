"""Hosts that the audit finds nothing wrong with, for its tests."""

from __future__ import annotations

import copy
from typing import Any

from security.findings import security_faults

ADMIN = {"admin": "the admin's password", "app": "the app's password"}
RULES = {"clients": ["builtin"], "keys": ["dj:*"], "app_rules": [], "cluster": False}
CONTROL: dict[str, Any] = {
    "machine": "control 1",
    "secrets": {"short": [], "files": [], "processes": [], "journal": []},
}
CONTROL["secrets"]["units"] = []
HOLDERS = ["/home/me/inventory/secrets/*"]


def file(path: str, mode: str = "0640", **more: Any) -> dict[str, Any]:
    return {"path": path, "mode": mode, "owner": "root", "group": "redis", "is_folder": False, **more}


def probed(machine: str) -> dict[str, Any]:
    """What a host says where all is well."""
    return {
        "machine": machine,
        "is_root": True,
        "container": False,
        "systemd": 257,
        "secrets": {**copy.deepcopy(CONTROL["secrets"])},
        "services": [],
        "listeners": [],
        "closed": [],
        "sockets": [],
        "sources": [],
        "kernel": {"overcommit_memory": "1", "transparent_hugepages": "madvise"},
        "packages": [],
        "tls": [],
        "servers": [],
        "pages": [],
    }


def service(name: str, user: str) -> dict[str, Any]:
    state = {"name": name, "pid": 1, "user": user, "shell": "/usr/sbin/nologin", "is_locked": True, "groups": [user]}
    privileges = {"capabilities": [], "no_new_privileges": True, "seccomp": 2, "umask": "0077", "exposure": 1.1}
    return {**state, **privileges}


def listener(
    address: str, port: int, unit: str, process: str = "redis-server", protocol: str = "tcp"
) -> dict[str, Any]:
    return {"protocol": protocol, "address": address, "port": port, "process": process, "pid": 1, "unit": unit}


def audited() -> dict[str, Any]:
    """A Redis host with a Sentinel, and a Django host."""
    tls = {"name": "redis-1", "ca_file": "/etc/redis/ca.crt", "key_file": "/etc/redis/redis.key"}
    redis: dict[str, Any] = {
        "redis_described": {
            "service": "redis-6379",
            "here": "10.0.0.1",
            "port": 6379,
            "bind": ["10.0.0.1", "-::1"],
            "is_cluster": False,
            "socket": "",
            "folders": ["/etc/redis", "/var/lib/redis/6379"],
            "holds": ["/etc/redis/redis-6379.auth.conf"],
            "package": "redis-server",
            "tls": tls,
            "access": RULES,
        },
        "redis_secrets": dict(ADMIN),
        "redis_sentinel_described": {
            "service": "redis-sentinel-26379",
            "here": "10.0.0.1",
            "port": 26379,
            "bind": ["10.0.0.1"],
            "folders": ["/var/lib/redis/sentinel-26379"],
            "holds": [],
            "tls": {},
        },
        "redis_sentinel_secrets": {"default": "the Sentinels' password"},
        "service_described": {"manager": "systemd"},
    }
    app: dict[str, Any] = {
        "django_app_described": {
            "service": "django_app",
            "port": 8000,
            "bind": ["127.0.0.1"],
            "folders": ["/etc/django_app"],
            "holds": ["/etc/django_app/deployed/secrets.json"],
            "settings": "/etc/django_app/deployed/settings.py",
            "url": "http://127.0.0.1:8000",
            "allowed_hosts": ["shop.example", "127.0.0.1"],
        },
        "django_app_secrets": {"secret_key": "the secret key", "redis_password": ADMIN["app"]},
        "service_described": {"manager": "systemd"},
        "django_app_checked": {"rc": 0},
    }
    redis["security_probed"] = {
        **probed("one"),
        "services": [service("redis-6379", "redis")],
        "listeners": [listener("10.0.0.1", 6379, "redis-6379"), listener("0.0.0.0", 22, "ssh", "sshd")],
        "closed": [file("/etc/redis/redis-6379.conf"), file("/etc/redis", "0755", is_folder=True)],
        "packages": [{"name": "redis-server", "installed": "5:7", "candidate": "5:7", "age_days": 0}],
        "tls": [
            {
                "address": "10.0.0.1",
                "port": 6379,
                "name": "redis-1",
                "versions": ["TLSv1_2", "TLSv1_3"],
                "weak_cipher": "",
                "plain": "",
                "error": "",
                "any_name": False,
                "days_left": 300,
                "authority_days_left": 3000,
            }
        ],
        "servers": [
            {
                "address": "10.0.0.1",
                "port": 6379,
                "is_sentinel": False,
                "stranger": {"PING": "NOAUTH"},
                "guesses": 0,
                "error": "",
                "users": [user("default", is_on=False), user("admin"), user("app")],
                "logins": {"admin": "OK", "app": "OK"},
                "may": {"app": []},
                "denied": [],
                "config": {"protected-mode": "yes", "port": "0", "tls-replication": "yes"},
            }
        ],
    }
    redis["security_probed"]["secrets"]["files"] = [file(HOLD, secrets=["redis admin"], is_log=False)]
    app["security_probed"] = {
        **probed("two"),
        "pages": [{"url": "http://127.0.0.1:8000/", "status": 200, "secrets": [], "words": []}],
    }
    return {"redis-1": redis, "app-1": app, "unused": {}}


HOLD = "/etc/redis/redis-6379.auth.conf"


def user(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "is_on": True, "passwords": 1, "needs_none": False, "more": [], **changes}


def judged(hostvars: dict[str, Any], control: dict[str, Any] = CONTROL) -> dict[str, list[str]]:
    return security_faults(hostvars, control, HOLDERS)
