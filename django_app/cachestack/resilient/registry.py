"""The clients of this process, one for each entry of CACHES.

Django makes its cache objects anew for every thread, and under ASGI for every request; what they share is here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from .client import Client, ClusterClient
from .cluster import Clustered
from .options import parse
from .sentinel import Sentinelled
from .servers import error_name
from .topology import Replicated

_TOPOLOGIES = {"server": Replicated, "sentinel": Sentinelled, "cluster": Clustered}

_clients: dict[str, Client] = {}
_lock = threading.Lock()


def shared_client(kind: str, location: Any, params: Mapping[str, Any]) -> Client:
    """Return the client for this entry of CACHES. Raise ImproperlyConfigured as cachestack.resilient.options.parse."""
    # Everything that tells two entries apart, as text, since not every option can be hashed.
    identity = f"{kind} {location!r} {sorted(params.items(), key=lambda item: str(item[0]))!r}"
    client = _clients.get(identity)
    if client is None:
        with _lock:
            client = _clients.get(identity)
            if client is None:
                options = parse(kind, location, params)
                topology = _TOPOLOGIES[kind](options)
                client = (ClusterClient if kind == "cluster" else Client)(options, topology)
                _clients[identity] = client
    return client


def statistics() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what came of the operations of this process: {alias: {server: counts}}.

    The counts are operations, hits (also of values that cannot be read), misses, errors ({class: number}), degraded
    (operations given up), seconds (of all operations together) and slowest (seconds). `away` is None, or the class of
    the error since which the server has not answered.
    """
    return {
        client.options.alias: {
            server.name: {
                **vars(server.counts),
                "errors": dict(server.counts.errors),
                "away": None if server.answers.error is None else error_name(server.answers.error),
            }
            for server in client.topology.servers()
        }
        for client in list(_clients.values())
    }


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for client in _clients.values():
        client.after_fork()


# A server such as gunicorn with preload forks processes that have caches already.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
