"""The desired state of the Prometheus exporter beside a Redis server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deployment import decisions
from deployment.addresses import bracketed, endpoint
from deployment.desired.parts import Part, Secret, absent, directory, file
from deployment.desired.redis import RedisHost
from deployment.desired.tls import Issued
from deployment.render.service import Service

PACKAGE = "prometheus-redis-exporter"
PROGRAM = f"/usr/bin/{PACKAGE}"
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class ExporterHost(RedisHost):
    """A host of the Redis group whose server has an exporter, or had one."""

    @property
    def enabled(self) -> bool:
        """Whether it has one."""
        return self.is_true("redis_exporter_enabled")

    @property
    def exporter_service(self) -> str:
        """The name of its service."""
        return f"redis-exporter-{self.port}"

    @property
    def exporter_user(self) -> str:
        """Whose process it is: not that of Redis, who may read more."""
        return self.text("redis_exporter_user")

    @property
    def exporter_bind(self) -> str:
        """Where it listens."""
        return self.text("redis_exporter_bind")

    @property
    def exporter_port(self) -> int:
        """The port; servers of one machine have different ones."""
        deployment = self.cache.deployment
        machine = deployment.machine(self.name)
        servers = [name for name in deployment.redis if deployment.machine(name) == machine]
        return decisions.exporter_port(self.number_or_none("redis_exporter_port"), servers.index(self.name))

    @property
    def exporter_dir(self) -> str:
        """Where its password is."""
        return self.text("redis_exporter_conf_dir")

    @property
    def passwords_file(self) -> str:
        """The passwords by server: who asks for /scrape names a server, and only one in here gets a password."""
        return f"{self.exporter_dir}/{self.exporter_service}.passwords.json"

    @property
    def exporter_ca_file(self) -> str:
        """A copy of the CA certificate, since it may not look into the directory of Redis."""
        return f"{self.exporter_dir}/{self.exporter_service}.ca.crt"

    @property
    def url(self) -> str:
        """Where its own host reaches it."""
        return f"http://{endpoint(ANYWHERE.get(self.exporter_bind, self.exporter_bind), self.exporter_port)}"

    @property
    def login(self) -> tuple[str, str]:
        """The user and the password with which it logs in."""
        if self.acl:
            return "monitor", self.passwords["monitor"]
        return "", self.text("redis_password")

    def _servers(self) -> list[str]:
        """The server as the exporter looks it up: version 1.69 with the user in it, 1.45 and 1.16 without."""
        scheme = "rediss" if self.tls else "redis"
        place = f"{bracketed(self.address if self.tls else self.here)}:{self.port}"
        user = self.login[0]
        return [f"{scheme}://{place}", *([f"{scheme}://{user}@{place}"] if user else [])]

    @property
    def exporter_unit(self) -> Service:
        """Its service."""
        user = self.login[0]
        arguments = [
            f"--web.listen-address={endpoint(self.exporter_bind, self.exporter_port)}",
            f"--redis.addr={self._servers()[0]}",
            f"--redis.user={user}" if user else "",
            f"--redis.password-file={self.passwords_file}",
            f"--tls-ca-cert-file={self.exporter_ca_file}" if self.tls else "",
            # It reads no configuration, which has passwords in it, and says no name: it needs no right to either.
            "--config-command=-",
            "--set-client-name=false",
        ]
        return Service(
            name=self.exporter_service,
            description=f"Prometheus exporter for Redis on port {self.port}",
            command=f"{PROGRAM} {' '.join(filter(None, arguments))}",
            user=self.exporter_user,
            group=self.exporter_user,
            open_files=self.number("service_open_files"),
        )

    @property
    def to_check(self) -> dict[str, Any]:
        """Where it is to listen, see deployment.hosts."""
        manager = self.manager.reference(self.exporter_service)
        return {"bind": [self.exporter_bind], "port": self.exporter_port, "manager": manager}

    def exporter_parts(self, issued: Issued | None) -> list[Part]:
        """Everything, in the order in which it is applied.

        ``issued`` is None where the user brings own files, or where the certificate is still to be issued.
        """
        attributes = {"owner": "root", "group": self.exporter_user, "mode": "0640"}
        passwords = json.dumps(dict.fromkeys(self._servers(), self.login[1]))
        parts = [
            directory(self.exporter_dir, "root", self.exporter_user, "0750"),
            file(self.passwords_file, Secret(passwords), **attributes),
        ]
        files = [self.passwords_file]
        if self.tls:
            files.append(self.exporter_ca_file)
            source = {"content": Secret(issued.ca)} if issued else {"copy_of": self.tls_files.ca, "content": ""}
            parts.append({**file(self.exporter_ca_file, "", **attributes), "diff": False, **source})
        unit = self.exporter_unit
        return [
            *parts,
            {
                "part": "service",
                **self.manager.reference(self.exporter_service),
                "description": unit.description,
                "unit": unit.unit(self.manager),
                "files": files,
                "address": self.exporter_bind,
                "port": self.exporter_port,
                "port_variable": f"redis_exporter_port of {self.name}",
                "restart": True,
            },
        ]

    def retired_exporter_parts(self) -> list[Part]:
        """The exporter stopped for good, and what it read."""
        reference = self.manager.reference(self.exporter_service)
        return [
            {"part": "service_stopped", **reference},
            absent("exporter's files", self.passwords_file, self.exporter_ca_file),
            # Last: it is by this that a run which was cut short is found and done again.
            {"part": "service_absent", **reference},
        ]
