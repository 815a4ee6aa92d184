"""The desired state of a host with a Redis server."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deployment import decisions
from deployment.desired.parts import Part, Secret, absent, directory
from deployment.desired.tls import Files
from deployment.render.redis_conf import redis_conf, redis_has_secrets, redis_persists
from deployment.render.service import Service
from deployment.render.templates import render
from deployment.site import Host
from deployment.users import redis_access, redis_passwords

# The lowest version that is supported.
FLOOR = "5.0"


@dataclass(frozen=True)
class Engine:
    """A server: its package in the distribution, its program, the unit that the package brings, and its user."""

    package: str
    program: str
    unit: str
    user: str


ENGINES = {
    "redis": Engine("redis-server", "redis-server", "redis-server.service", "redis"),
    "valkey": Engine("valkey-server", "valkey-server", "valkey-server.service", "valkey"),
}


@dataclass(frozen=True)
class RedisHost(Host):
    """A host of the Redis group: everything that is to be there for its server."""

    @property
    def engine(self) -> Engine:
        """What is installed."""
        return ENGINES[self.text("redis_engine")]

    @property
    def engine_names(self) -> list[str]:
        """The programs that do, the inventory's first."""
        return list(dict.fromkeys([self.engine.program, *(one.program for one in ENGINES.values())]))

    @property
    def port(self) -> int:
        """The port, which names the instance: its files, its data and its service."""
        return self.number("redis_port")

    @property
    def service(self) -> str:
        """The name of its service."""
        return f"redis-{self.port}"

    @property
    def conf_dir(self) -> str:
        """Where its configuration is."""
        return self.text("redis_conf_dir")

    @property
    def conf(self) -> str:
        """What the role owns: a file that the server only includes."""
        return f"{self.conf_dir}/{self.service}.conf"

    @property
    def auth_conf(self) -> str:
        """The users and their passwords."""
        return f"{self.conf_dir}/{self.service}.auth.conf"

    @property
    def home(self) -> str:
        """Its data. A cluster's node refuses to start with the databases of another mode, so it has its own."""
        return f"{self.text('redis_data_dir')}/{self.port}{'/cluster' if self.cache.mode == 'cluster' else ''}"

    @property
    def volatile_conf(self) -> str:
        """What the server itself writes: whom it follows. It starts with this file."""
        return f"{self.home}/redis.conf"

    @property
    def user(self) -> str:
        """Who runs the server; empty for whoever runs the playbook."""
        given = self.values.get("redis_user")
        return self.engine.user if given is None else str(given)

    @property
    def group(self) -> str:
        """The group that runs it."""
        given = self.values.get("redis_group")
        return self.user if given is None else str(given)

    @property
    def owner(self) -> str:
        """Who owns what the server only reads."""
        return "root" if self.user else ""

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.is_true("redis_tls")

    @property
    def acl(self) -> bool:
        """Whether it has users."""
        return self.is_true("redis_acl")

    @property
    def tcp(self) -> bool:
        """Whether it listens on its port."""
        given = self.values.get("redis_tcp")
        return decisions.listens(None if given is None else self.is_true("redis_tcp"), self.socket, self.cache.mode)

    @property
    def socket(self) -> str:
        """The path of its Unix socket, or "" for none."""
        return self.text("redis_socket")

    @property
    def address(self) -> str:
        """How the other hosts reach it."""
        return self.text("redis_address")

    @cached_property
    def bind(self) -> list[str]:
        """Where it listens; "" stands for the host's own address, which nobody knows before it was looked at."""
        return decisions.bind(self.text("redis_bind"), self.address, self.facts) or [""]

    @property
    def here(self) -> str:
        """How its own host reaches it."""
        return self.bind[0].lstrip("-") if self.tcp else self.socket

    @property
    def reply(self) -> dict[str, Any]:
        """What its server said."""
        return self.said("redis")

    @property
    def tls_files(self) -> Files:
        """The files of TLS on the host: the user's own, or those that the CA on the control node issued."""
        given = [self.text(f"redis_tls_{what}_file") for what in ("cert", "key", "ca")]
        own = [f"{self.conf_dir}/{self.service}.{ending}" for ending in ("crt", "key", "ca.crt")]
        cert, key, ca = (one or other for one, other in zip(given, own))
        return Files(cert, key, ca, issued=not given[0])

    def connection(self, as_it_speaks: bool = False) -> dict[str, Any]:
        """How the host reaches its own server: as it is to speak, or for a comparison as it speaks now."""
        speaks = self.tls and self.tcp
        if as_it_speaks:
            speaks = bool(self.reply.get("tls", speaks))
        return {
            "address": self.here,
            "port": self.port,
            "auth_file": self.auth_conf,
            "tls_ca_file": self.tls_files.ca if speaks else None,
            "tls_name": self.address if speaks else None,
        }

    @property
    def certificate_names(self) -> list[str]:
        """Everything by which anybody may call this host's servers."""
        bound = [one.lstrip("-") for one in [*self.bind, *self.text("redis_sentinel_bind").split()]]
        named = [one for one in bound if one not in ("", "*", "0.0.0.0", "::")]
        sentinel = self.text("redis_sentinel_address") or self.address
        return list(dict.fromkeys([self.address, sentinel, self.name, *named]))

    # The configuration

    @cached_property
    def maxmemory(self) -> str:
        """The memory limit, as redis.conf has it."""
        total = int(self.facts.get("memtotal_mb") or 0)
        servers = len(self.cache.neighbours(self.name))
        return decisions.memory_limit(self.text("redis_maxmemory") or None, total, servers)

    @cached_property
    def directives(self) -> dict[str, Any]:
        """Every directive of its redis.conf: the role's, and over them those of ``redis_config``."""
        mode, is_cluster = self.cache.mode, self.cache.mode == "cluster"
        announces = mode == "sentinel"
        plain = self.tcp and not self.tls
        own = {
            "port": self.port if plain else 0,
            "bind": " ".join(self.bind),
            "protected-mode": True,
            "unixsocket": self.socket or None,
            "unixsocketperm": (770 if self.user else 700) if self.socket else None,
            "dir": self.home,
            "daemonize": False,
            "supervised": "systemd" if self.manager.kind == "systemd" else False,
            "appendonly": self.is_true("redis_appendonly"),
            "save": self.text("redis_save"),
            "maxmemory": self.maxmemory,
            "maxmemory-policy": self.text("redis_maxmemory_policy"),
            "min-replicas-to-write": decisions.min_replicas_to_write(
                self.number_or_none("redis_min_replicas_to_write"), mode, len(self.cache.deployment.nodes)
            ),
            "min-replicas-max-lag": self.number("redis_min_replicas_max_lag"),
            # What Sentinel tells clients is the inventory's address, not what a translated one looks like.
            "replica-announce-ip": self.address if announces else None,
            "replica-announce-port": self.port if announces else None,
            "cluster-enabled": True if is_cluster else None,
            "cluster-node-timeout": self.number("redis_cluster_node_timeout_ms") if is_cluster else None,
            # A cache goes on with what it has while a part of the slots is away.
            "cluster-require-full-coverage": False if is_cluster else None,
            # Nodes know each other by addresses; one that the inventory has by name finds out its own.
            "cluster-announce-ip": self.address if is_cluster and is_address(self.address) else None,
        }
        return {**own, **(self._tls_directives if self.tls else {}), **(self.values.get("redis_config") or {})}

    @property
    def _tls_directives(self) -> dict[str, Any]:
        return {
            **tls_directives(self.tls_files),
            "tls-port": self.port if self.tcp else None,
            "tls-cluster": True if self.cache.mode == "cluster" else None,
        }

    @property
    def persists(self) -> bool:
        """Whether it has its data again after a restart."""
        return redis_persists(self.directives)

    @property
    def configuration(self) -> str:
        """The text of the file that the role owns."""
        return render(
            "redis",
            "redis.conf.j2",
            volatile_conf=self.volatile_conf,
            directives=redis_conf(self.directives),
            auth_conf=self.auth_conf,
        )

    # Who logs in

    @property
    def passwords(self) -> dict[str, str]:
        """The password of each user."""
        admin = self.text("redis_admin_password") if self.acl else ""
        return redis_passwords(self.text("redis_password"), admin, self.cache.mode)

    @property
    def access(self) -> dict[str, Any]:
        """What Django's user may do: for which clients, with which keys, and what the inventory adds."""
        found = redis_access(self.cache.deployment)
        return {
            "clients": found["clients"],
            "keys": found["keys"],
            "app_rules": list(self.values.get("redis_app_rules") or ()),
            "cluster": self.cache.mode == "cluster",
        }

    # What runs it

    @property
    def program(self) -> str:
        """The path of the server's program; "" where it is still to be found."""
        if self.text("redis_server_bin"):
            return self.text("redis_server_bin")
        if self.text("redis_install") == "package":
            return f"/usr/bin/{self.engine.program}"
        return str(self.said("program").get("path") or "")

    @property
    def environment(self) -> dict[str, str]:
        """What the program needs of its environment."""
        return dict(self.said("program").get("environment") or {})

    @property
    def program_question(self) -> dict[str, Any]:
        """How a server is found that an unprivileged user can run."""
        return {
            "names": self.engine_names,
            "package": self.engine.package,
            "floor": FLOOR,
            "dest": f"{self.text('redis_data_dir')}/package",
        }

    @property
    def socket_group(self) -> str:
        """The group of those who may use its socket, "" where there is none."""
        return self.text("redis_socket_group") if self.socket and self.user else ""

    @property
    def installs_package(self) -> bool:
        """Whether the distribution's package is what runs."""
        return self.text("redis_install") == "package" and not self.text("redis_server_bin")

    def systemd_type(self) -> str:
        """A server of one's own may be built without systemd."""
        return "simple" if self.text("redis_server_bin") else "notify"

    @property
    def revive_after(self) -> float:
        """Seconds until it is started again after it ended by itself."""
        down_after = self.cache.sentinels[0]["down_after_ms"] if self.cache.sentinels else 0
        timeout = self.number("redis_cluster_node_timeout_ms")
        return decisions.revive_after(self.cache.mode, self.persists, len(self.cache.nodes), down_after, timeout)

    @property
    def unit(self) -> Service:
        """Its service."""
        before = [_keep_topology(self.volatile_conf), _set_aside(self.conf, self.home)]
        if self.is_true("redis_kernel_settings"):
            before.append(KERNEL_SETTINGS)
        after = []
        if self.socket_group:
            after.append(_share_socket(self.socket, self.socket_group))
        return Service(
            name=self.service,
            description=f"Redis on port {self.port}",
            command=f"{self.program} {self.volatile_conf}",
            before=before,
            after=after,
            environment=self.environment,
            user=self.user,
            group=self.group,
            type=self.systemd_type(),
            working_dir=self.home,
            writable=[self.home],
            open_files=self.number("service_open_files"),
            revive_after=self.revive_after,
        )

    @property
    def node(self) -> dict[str, Any] | None:
        """The server in the topology, None where the mode does not use it."""
        return next((node for node in self.cache.nodes if node["name"] == self.name), None)

    @property
    def leader_to_follow(self) -> dict[str, Any] | None:
        """Whom it is to follow; None for the leader, and where others decide."""
        node, leader = self.node, self.cache.leader
        if self.cache.mode == "cluster" or not node or node["role"] == "leader":
            return None
        return {"address": leader["address"], "port": leader["port"]}

    # What is checked before anything is changed

    @property
    def to_check(self) -> dict[str, Any]:
        """What the checks must know of the server that is to run here, see deployment.hosts; no secret."""
        own = self.values.get("redis_config") or {}
        return {
            "mode": self.cache.mode,
            "nodes": self.cache.nodes,
            "bind": self.bind if self.tcp else [],
            "socket": self.socket,
            "user": "app" if self.acl else "",
            "port": self.port,
            "service": self.service,
            **self._program_to_check,
            "maxmemory_variable": "redis_config.maxmemory" if "maxmemory" in own else "redis_maxmemory",
            "maxmemory": self.directives["maxmemory"],
            "data_dir": self.home if self.persists else "",
            "tls": self.tls_to_check(self.address) if self.tls and self.tcp else {},
        }

    @property
    def _program_to_check(self) -> dict[str, Any]:
        return {
            "manager": self.manager.reference(self.service),
            "engine": self.text("redis_engine"),
            "server_bin": self.text("redis_server_bin"),
            "floor": FLOOR,
            "program": self.program if self.text("redis_server_bin") or self.installs_package else "",
            "package": self.engine.package if self.installs_package else "",
        }

    def tls_to_check(self, name: str) -> dict[str, Any]:
        """The files of TLS, and what the certificate must be for."""
        files = self.tls_files
        return {
            **files.paths,
            "name": name,
            "names": self.certificate_names if files.issued else [],
            "is_locked": "tls-key-file-pass" in (self.values.get("redis_config") or {}),
            "reader": self.user,
            "authority": self.ca_digest,
            "authority_dir": self.ca_dir,
            "may_replace": self.is_true("redis_tls_new_authority"),
        }

    @property
    def ca_dir(self) -> str:
        """The directory of the CA on the control node."""
        return self.text("redis_tls_authority_dir")

    @cached_property
    def ca_digest(self) -> str:
        """Which CA hosts are about to trust: the hash of its certificate, "" where it is still to be made."""
        path = Path(self.ca_dir).expanduser() / "ca.crt"
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    # The parts

    def certificate_part(self, renew: bool = False, as_it_speaks: bool = False) -> Part:
        """The certificate that the running server serves; its files are parts of their own."""
        return {
            "part": "certificate",
            **self.tls_files.paths,
            "reload": True,
            "renew": renew,
            "connection": self.connection(as_it_speaks),
        }

    @property
    def read_only(self) -> dict[str, str]:
        """The owner, the group and the mode of a file that the server only reads."""
        return {"owner": self.owner, "group": self.group, "mode": "0640"}

    @property
    def trial(self) -> dict[str, Any]:
        """How its program is run to judge a configuration."""
        return {"program": self.program, "environment": self.environment, "run_as": self.user}

    def users_part(self, finish: bool, as_it_speaks: bool = False) -> Part:
        """Who may log in. Until Django is deployed, its former password stays valid (``finish`` false)."""
        return {
            "part": "users",
            "passwords": {name: Secret(password) for name, password in self.passwords.items()},
            **self.access,
            "finish": finish,
            **self.trial,
            **self.read_only,
            "candidate": self._candidate,
            "connection": self.connection(as_it_speaks),
        }

    @property
    def _candidate(self) -> str:
        text = self.configuration
        return Secret(text) if redis_has_secrets(self.directives) else text

    def server_parts(self, finish: bool, as_it_speaks: bool = False) -> list[Part]:
        """Everything but the certificate, in the order in which it is applied; ``finish`` as users_part has it."""
        connection = self.connection(as_it_speaks)
        configuration: Part = {
            "part": "configuration",
            "content": self._candidate,
            "path": self.conf,
            **self.trial,
            **self.read_only,
            "connection": connection,
        }
        return [
            *self.directories,
            self.users_part(finish, as_it_speaks),
            configuration,
            {
                "part": "volatile",
                "path": self.volatile_conf,
                "leader": self.leader_to_follow,
                "include": self.conf,
                "owner": self.user,
                "group": self.group,
                "mode": "0600",
            },
            self.service_part,
            # One that is about to be restarted is waited for afterwards.
            {**self._topology_part(connection), "unless_restart": True},
            # A leader that waits for replicas that are only about to come refuses every write until then.
            {
                **configuration,
                "name": "configuration that waits for replicas",
                "only_postponed": True,
                "wait": 30,
                "unless_restart": True,
            },
        ]

    def _topology_part(self, connection: dict[str, Any]) -> Part:
        keeps_role = decisions.keeps_role(self.cache.mode, self.reply)
        return {
            "part": "topology",
            "connection": connection,
            "leader": None if keeps_role else self.leader_to_follow,
            "keep_role": keeps_role,
            "volatile_file": self.volatile_conf,
            "wait": 300,
        }

    @property
    def directories(self) -> list[Part]:
        """Where its configuration and its data are."""
        return [*self.conf_dir_parts, directory(self.home, self.user, self.group, "0700")]

    @property
    def conf_dir_parts(self) -> list[Part]:
        """The directory of the configuration, which the package of Redis brings itself."""
        brings_it = self.installs_package and self.text("redis_engine") == "redis"
        return [] if brings_it or self.conf_dir == self.home else [directory(self.conf_dir, "", self.group, "0750")]

    @property
    def service_part(self) -> Part:
        """Its service, which is restarted later, one server at a time."""
        return {
            "part": "service",
            **self.manager.reference(self.service),
            "description": self.unit.description,
            "unit": self.unit.unit(self.manager),
            "files": [],
            "address": self.here,
            "port": self.port if self.tcp else 0,
            "port_variable": f"redis_port of {self.name}",
            "restart": False,
        }

    def cluster_part(self, absent: list[str], verify: bool = False, as_it_speaks: bool = False) -> Part:
        """The nodes as one cluster; ``absent`` are not there yet, ``verify`` only looks."""
        nodes = self.cache.nodes
        if len({node["machine"] for node in nodes}) == 1:
            # They are lost together wherever their replicas are.
            nodes = [{**node, "machine": node["name"]} for node in nodes]
        return {
            "part": "cluster",
            "nodes": nodes,
            "replicas": self.number("redis_cluster_replicas"),
            "absent": absent,
            "verify": verify,
            "connection": self.connection(as_it_speaks),
        }

    def restart_parts(self) -> list[Part]:
        """A restart now, after which the server has its role and serves again."""
        return [
            {"part": "service_restarted", **self.manager.reference(self.service)},
            self._topology_part(self.connection()),
        ]

    def retired_parts(self) -> list[Part]:
        """The server stopped for good. Its data stays, for a mode that uses it again; its passwords do not."""
        reference = self.manager.reference(self.service)
        return [
            {"part": "service_stopped", **reference},
            absent("passwords", self.auth_conf),
            {"part": "lines_absent", "path": self.volatile_conf, "keep": "^(include|replicaof) "},
            # Last: it is by this that a run which was cut short is found and done again.
            {"part": "service_absent", **reference},
        ]


def tls_directives(files: Files) -> dict[str, Any]:
    """TLS as Redis and Sentinel have it. Clients have no certificates; the password tells who they are."""
    return {
        "tls-cert-file": files.cert,
        "tls-key-file": files.key,
        "tls-ca-cert-file": files.ca,
        "tls-replication": True,
        "tls-auth-clients": False,
        "tls-protocols": '"TLSv1.2 TLSv1.3"',
    }


def is_address(text: str) -> bool:
    """Whether it is an address and no name."""
    return re.search(r"^[0-9.]+$|:", text) is not None


def _keep_topology(volatile_conf: str) -> str:
    """CONFIG REWRITE appends all directives below the include, where they would win at the next start."""
    return f"/bin/sed -i -E '/^(include|replicaof) /!d' {volatile_conf}"


def _set_aside(conf: str, home: str) -> str:
    """Without persistence, files of a time that had it would bring back what was in the cache then."""
    return (
        f'/bin/sh -c \'[ ! -r {conf} ] || grep -qE "^(appendonly yes|save .?[0-9])" {conf} || ( mkdir -p {home}/unused'
        f' && find {home} -maxdepth 1 -regextype posix-extended -regex ".*/(dump.rdb|appendonly.aof|appendonlydir)"'
        f" -exec mv --backup=t -t {home}/unused {{}} + )'"
    )


def _share_socket(socket: str, group: str) -> str:
    """With root's rights (+); a program that tells systemd nothing counts as started before it has made its socket."""
    return f"+/usr/bin/timeout 60 /bin/sh -c 'until [ -S {socket} ]; do sleep 0.1; done; chgrp {group} {socket}'"


# With root's rights (+) before each start: memory for a background save, a longer queue of connections, small pages.
# What the kernel refuses, as in a container, is left to the machine (-).
KERNEL_SETTINGS = (
    "-+/bin/sh -c 'cd /proc/sys; grep -qx 0 vm/overcommit_memory && echo 1 > vm/overcommit_memory; "
    '[ "$$(cat net/core/somaxconn)" -ge 511 ] || echo 511 > net/core/somaxconn; '
    "cd /sys/kernel/mm/transparent_hugepage && grep -qF [always] enabled && echo madvise > enabled'"
)
