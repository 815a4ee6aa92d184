"""The desired state of a host with a Sentinel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deployment import decisions
from deployment.desired.parts import Part, Secret, absent, directory, file
from deployment.desired.redis import RedisHost, is_address, tls_directives
from deployment.render.redis_conf import redis_conf, redis_has_secrets
from deployment.render.service import Service
from deployment.render.templates import render
from deployment.topology import redis_places
from deployment.users import derived_password

# The beginnings of what the role says of the service, in which Sentinel's own lines would win.
OWN_SETTINGS = "announce-|resolve-hostnames|auth-|sentinel-|down-after-|failover-timeout|parallel-syncs"


@dataclass(frozen=True)
class SentinelHost(RedisHost):
    """A host of the Sentinel group. It shares the program, the user and the TLS files of a Redis host."""

    @property
    def sentinel_port(self) -> int:
        """The port, which names the instance."""
        return self.number("redis_sentinel_port")

    @property
    def sentinel_service(self) -> str:
        """The name of its service in the service manager."""
        return f"redis-sentinel-{self.sentinel_port}"

    @property
    def watched(self) -> str:
        """The name under which clients ask for the leader."""
        return self.text("redis_sentinel_service")

    @property
    def sentinel_conf(self) -> str:
        """What the role owns: a file that the Sentinel only includes."""
        return f"{self.conf_dir}/{self.sentinel_service}.conf"

    @property
    def sentinel_auth_conf(self) -> str:
        """The passwords, and what it must know at its next start."""
        return f"{self.conf_dir}/{self.sentinel_service}.auth.conf"

    @property
    def sentinel_home(self) -> str:
        """Its own directory."""
        return f"{self.text('redis_data_dir')}/sentinel-{self.sentinel_port}"

    @property
    def sentinel_volatile_conf(self) -> str:
        """What the Sentinel itself writes: who leads, and whom it knows."""
        return f"{self.sentinel_home}/sentinel.conf"

    @property
    def sentinel_address(self) -> str:
        """How the other Sentinels and Django reach it."""
        return self.text("redis_sentinel_address") or self.address

    @cached_property
    def sentinel_bind(self) -> list[str]:
        """Where it listens: where the server does unless the inventory says otherwise."""
        return self.text("redis_sentinel_bind").split() or self.bind

    @property
    def sentinel_here(self) -> str:
        """How its own host reaches it."""
        return self.sentinel_bind[0].lstrip("-")

    @property
    def sentinel_reply(self) -> dict[str, Any]:
        """What it said."""
        return self.said("sentinel")

    def sentinel_connection(self, as_it_speaks: bool = False) -> dict[str, Any]:
        """How the host reaches it: as it is to speak, or for a comparison as it speaks now."""
        speaks = bool(self.sentinel_reply.get("tls", self.tls)) if as_it_speaks else self.tls
        return {
            "address": self.sentinel_here,
            "port": self.sentinel_port,
            "auth_file": self.sentinel_auth_conf,
            "tls_ca_file": self.tls_files.ca if speaks else None,
            "tls_name": self.sentinel_address if speaks else None,
        }

    @cached_property
    def by_name(self) -> bool:
        """Whether Sentinel has to deal with names: with one name in the inventory, else it knows all by address."""
        return any(not is_address(address) for address in self.addresses)

    @property
    def addresses(self) -> list[str]:
        """Those of all servers and Sentinels."""
        hosts, known = self.cache.deployment.nodes, self.cache.site.known
        places = [*redis_places(hosts, known), *(one["place"] for one in self.cache.sentinels)]
        return [place.rpartition(":")[0] for place in places]

    @property
    def directives(self) -> dict[str, Any]:
        """Every directive of its sentinel.conf."""
        own = {
            "port": 0 if self.tls else self.sentinel_port,
            "tls-port": self.sentinel_port if self.tls else None,
            "bind": " ".join(self.sentinel_bind),
            # Its package would start one that anybody can command.
            "protected-mode": True,
            "dir": self.sentinel_home,
            "daemonize": False,
            "supervised": "systemd" if self.manager.kind == "systemd" else False,
            "sentinel announce-ip": self.sentinel_address,
            "sentinel announce-port": self.sentinel_port,
            "sentinel resolve-hostnames": True if self.by_name else None,
            "sentinel announce-hostnames": True if self.by_name else None,
        }
        tls = tls_directives(self.tls_files) if self.tls else {}
        return {**own, **tls, **(self.values.get("redis_sentinel_config") or {})}

    @property
    def configuration(self) -> str:
        """The text of the file that the role owns."""
        text = render(
            "redis_sentinel",
            "sentinel.conf.j2",
            volatile_conf=self.sentinel_volatile_conf,
            directives=redis_conf(self.directives),
            auth_conf=self.sentinel_auth_conf,
        )
        return Secret(text) if redis_has_secrets(self.directives) else text

    @property
    def passwords(self) -> dict[str, str]:
        """How the Sentinels log in to each other, and the roles to them; empty where there are no users."""
        if not self.acl:
            return {}
        admin = self.text("redis_admin_password")
        return {"admin": admin, "sentinel": derived_password(admin, "sentinel among sentinels")}

    @property
    def login(self) -> tuple[str, str]:
        """The user and the password with which it logs in to the servers."""
        if self.acl:
            return "sentinel", derived_password(self.text("redis_admin_password"), "sentinel")
        return "", str(self.cache.site.values[self.cache.leader["name"]]["redis_password"])

    @property
    def commander(self) -> dict[str, str]:
        """As whom a Sentinel lets itself be commanded; before Redis 6.2 it has no users."""
        if self.acl and self.sentinel_reply.get("user", "admin") == "admin":
            return {"sentinel_user": "admin", "sentinel_password": self.text("redis_admin_password")}
        return {"sentinel_user": "", "sentinel_password": self.text("redis_sentinel_password")}

    @property
    def quorum(self) -> int:
        """How many Sentinels must agree that the leader is down."""
        return decisions.quorum(self.number_or_none("redis_sentinel_quorum"), len(self.cache.sentinels))

    @property
    def is_outdated(self) -> bool:
        """Whether what a stopped Sentinel remembers of the leader is of another time."""
        reply, leader = self.sentinel_reply, self.cache.leader
        if reply.get("running") or "leader_port" not in reply:
            return False
        return (reply["leader_address"], int(reply["leader_port"])) != (leader["address"], leader["port"])

    @property
    def unit(self) -> Service:
        """Its service."""
        return Service(
            name=self.sentinel_service,
            description=f"Redis Sentinel on port {self.sentinel_port}",
            command=f"{self.program} {self.sentinel_volatile_conf} --sentinel",
            before=[_keep_topology(self.sentinel_home, self.sentinel_conf)],
            environment=self.environment,
            user=self.user,
            group=self.group,
            type=self.systemd_type(),
            working_dir=self.sentinel_home,
            writable=[self.sentinel_home],
            open_files=self.number("service_open_files"),
        )

    def expectations(self) -> dict[str, list[str]]:
        """Whom it must know: the servers and the Sentinels, itself included."""
        known = self.cache.site.known
        return {
            "nodes": redis_places(self.cache.deployment.nodes, known),
            "sentinels": [one["place"] for one in self.cache.sentinels],
        }

    @property
    def to_check(self) -> dict[str, Any]:
        """What the checks must know of the Sentinel that is to run here, see deployment.hosts."""
        return {
            **self._program_to_check,
            "hosts": self.cache.deployment.nodes,
            "sentinels": self.cache.sentinels,
            "by_name": self.by_name,
            "bind": self.sentinel_bind,
            "port": self.sentinel_port,
            "manager": self.manager.reference(self.sentinel_service),
            "tls": self.tls_to_check(self.sentinel_address) if self.tls else {},
        }

    # The parts

    def sentinel_parts(self, as_it_speaks: bool = False) -> list[Part]:
        """Everything, in the order in which it is applied."""
        connection = self.sentinel_connection(as_it_speaks)
        leader, (user, password) = self.cache.leader, self.login
        # Where a server runs as well, that has got the directory of the configuration.
        parts = [] if self.name in self.cache.deployment.nodes else self.conf_dir_parts
        parts = [*parts, directory(self.sentinel_home, self.user, self.group, "0700")]
        if self.tls:
            parts.append(self.sentinel_certificate_part(as_it_speaks))
        return [
            *parts,
            {
                "part": "sentinel",
                "service": self.watched,
                "leader": {"address": leader["address"], "port": leader["port"]},
                "volatile_file": self.sentinel_volatile_conf,
                "quorum": self.quorum,
                "settings": {
                    "down-after-milliseconds": self.number("redis_sentinel_down_after_ms"),
                    "failover-timeout": self.number("redis_sentinel_failover_timeout_ms"),
                    "parallel-syncs": self.number("redis_sentinel_parallel_syncs"),
                },
                "leader_user": user,
                "leader_password": Secret(password),
                "password": Secret(self.text("redis_sentinel_password")),
                "passwords": {name: Secret(one) for name, one in self.passwords.items()},
                "connection": connection,
                **self.trial,
                **self.read_only,
            },
            {**file(self.sentinel_conf, self.configuration, **self.read_only), "name": "configuration"},
            {
                # Only where none was written, or where what a stopped one remembers is of another time.
                **file(
                    self.sentinel_volatile_conf,
                    f"sentinel monitor {self.watched} {leader['address']} {leader['port']} {self.quorum}\n"
                    f"include {self.sentinel_conf}\n",
                    self.user,
                    self.group,
                    "0600",
                    force=self.is_outdated,
                ),
                "name": "volatile",
            },
            {
                "part": "service",
                **self.manager.reference(self.sentinel_service),
                "description": self.unit.description,
                "unit": self.unit.unit(self.manager),
                "files": [self.sentinel_conf],
                "address": self.sentinel_here,
                "port": self.sentinel_port,
                "port_variable": f"redis_sentinel_port of {self.name}",
                "restart": False,
            },
        ]

    def sentinel_certificate_part(self, as_it_speaks: bool = False) -> Part:
        """Whether it serves the certificate of its file; it cannot be told to read it again."""
        return {
            "part": "certificate",
            "name": "sentinel certificate",
            **self.tls_files.paths,
            "reload": False,
            "connection": self.sentinel_connection(as_it_speaks),
        }

    def agreement_part(self, as_it_speaks: bool = False) -> Part:
        """That it knows the others and the servers, and forgets those that are gone."""
        return {
            "part": "sentinel_agrees",
            "service": self.watched,
            "wait": self.number("redis_sentinel_wait"),
            "forget": True,
            "connection": self.sentinel_connection(as_it_speaks),
            **self.expectations(),
        }

    def others_part(self) -> Part:
        """That it knows the other Sentinels again, without which none may be restarted after it."""
        return {**self.agreement_part(), "nodes": [], "forget": False}

    def retired_sentinel_parts(self) -> list[Part]:
        """The Sentinel stopped for good, with what it remembers, which will be out of date when one is there again."""
        reference = self.manager.reference(self.sentinel_service)
        return [
            {"part": "service_stopped", **reference},
            absent("memory", self.sentinel_home, self.sentinel_conf, self.sentinel_auth_conf),
            # Last: it is by this that a run which was cut short is found and done again.
            {"part": "service_absent", **reference},
        ]


def _keep_topology(home: str, conf: str) -> str:
    """Before each start: what Sentinel wrote about the topology, and below it what the role owns."""
    return (
        f'/bin/sh -c \'cd {home} && grep "^sentinel " sentinel.conf'
        f' | grep -vE "^sentinel ({OWN_SETTINGS})"'
        f' > sentinel.conf.new && echo "include {conf}" >> sentinel.conf.new && mv sentinel.conf.new sentinel.conf\''
    )
