"""A leader with replicas and the Sentinels that watch it, as a deployment has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.redis_client import quote

from parts import PASSWORD, connection
from servers import SERVICE, Farm, RedisServer, server_binary

OWN = 'the Sentinels\' "own"'


class Watched:
    """A leader with replicas, and Sentinels that watch it, as a deployment has them."""

    def __init__(self, farm: Farm, folder: Path, replicas: int = 1, down_after: int = 500) -> None:
        self.servers = farm.replicated(replicas, PASSWORD)
        farm.sentinels(self.servers[0], down_after, OWN)
        self.sentinels = [server for server in farm.servers if server.mode == ("--sentinel",)]
        self.auth_file = folder / "auth.conf"
        self.auth_file.write_text(f"requirepass {quote(PASSWORD)}\n")
        self.sentinel_auth_file = folder / "sentinel.auth.conf"
        self.sentinel_auth_file.write_text(f"requirepass {quote(OWN)}\n")

    def question(self, **more: Any) -> dict[str, Any]:
        """What is asked of the first Sentinel."""
        return {**connection(self.sentinels[0], self.sentinel_auth_file), "service": SERVICE, "wait": 15, **more}

    def expected(self, **more: Any) -> dict[str, Any]:
        """Whom the first Sentinel must know, the parameters of sentinel_agrees."""
        here = connection(self.sentinels[0], self.sentinel_auth_file)
        known = {"nodes": places(self.servers), "sentinels": places(self.sentinels)}
        return {"connection": here, "service": SERVICE, "wait": 15, **known, **more}

    def told(self, **more: Any) -> dict[str, Any]:
        """What the first Sentinel is told, the parameters of sentinel."""
        leader = {"address": self.servers[0].host, "port": self.servers[0].port}
        return {
            "connection": connection(self.sentinels[0], self.sentinel_auth_file),
            "service": SERVICE,
            "leader": leader,
            "quorum": 2,
            "settings": {"down-after-milliseconds": 500, "failover-timeout": 2500},
            "program": str(server_binary()),
            "volatile_file": str(self.sentinels[0].config),
            "password": OWN,
            "leader_password": PASSWORD,
            **more,
        }

    def master(self) -> dict[str, Any]:
        """What the first Sentinel says of the leader."""
        return dict(self.sentinels[0].ask("SENTINEL MASTERS")[SERVICE])


def places(servers: list[RedisServer]) -> list[str]:
    return [f"{server.host}:{server.port}" for server in servers]
