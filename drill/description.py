"""How the servers of a deployment are reached, for a program that is not Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployment.errors import DeploymentError
from deployment.site import Site
from deployment.specs import defaults

# What a host may be, and the role that says how.
ROLES = {"redis": "redis", "sentinel": "redis_sentinel", "app": "django_app"}


class UnreachableError(DeploymentError):
    """A host is reached in a way that the program cannot use."""


def deployment_description(site: Site, described: Mapping[str, Any]) -> dict[str, Any]:
    """The deployment as drill/run.py reads it: mode, client, times in seconds, and for each host what runs there.

    ``described`` is by host what deployment.descriptions says. Raises UnreachableError for a host that is neither this
    machine nor a container: what is broken must be nobody else's.
    """
    cache = site.caches[0]
    hosts = {name: about for name, about in described.items() if about}
    first = site.values[next(iter(hosts))]
    apps = cache.deployment.apps
    return {
        "mode": cache.mode,
        "client": cache.deployment.client(apps[0]) if apps else "",
        "service": cache.service,
        "down_after": cache.sentinels[0]["down_after_ms"] / 1000 if cache.sentinels else 0.0,
        "node_timeout": _number(first, "redis_cluster_node_timeout_ms") / 1000,
        "max_lag": _number(first, "redis_min_replicas_max_lag"),
        "redis_config": dict(first.get("redis_config") or {}),
        "hosts": {name: _host(name, about) for name, about in hosts.items()},
    }


def _number(variables: Mapping[str, Any], name: str) -> float:
    """A number of a host, else its role's default."""
    return float(variables.get(name) or defaults()[name])


def _host(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    services = variables["service_described"]
    return {
        "access": _access(name, services),
        "manager": services["manager"],
        "supervisorctl": list(services["supervisorctl"]),
        **{word: variables.get(f"{role}_described") for word, role in ROLES.items()},
    }


def _access(name: str, services: Mapping[str, Any]) -> list[str]:
    """The words before a command that is run on the host as root, none for this machine."""
    connection = str(services["connection"]).rpartition(".")[2]
    if connection == "local":
        return []
    if connection == "docker":
        return ["docker", "exec", "-i", str(services["container"])]
    raise UnreachableError(f"{name}: a drill breaks servers, so it is for this machine and for containers alone")
