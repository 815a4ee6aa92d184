"""A whole deployment on this machine, made from inventories/local: servers, Sentinels and Django on free ports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.host.supervisord import Supervisord
from ansible.module_utils.redis_client import RedisClient, login

from conftest import PROJECT
from servers import HOST, free_port, server_binary

SERVERS = ("redis-1", "redis-2", "redis-3")
APP = "app-1"


@dataclass(frozen=True)
class Done:
    """What a command printed, and whether it was refused or failed."""

    output: str
    failed: bool

    @property
    def changed(self) -> dict[str, int]:
        """How much a run changed, by host."""
        found = re.findall(r"^(\S+) +: ok=\d+ +changed=(\d+)", self.output, re.M)
        return {host: int(number) for host, number in found}

    @property
    def trips(self) -> dict[str, int]:
        """How often a run went to each host, where it was verbose: a module is one trip, since its code is piped."""
        return dict(Counter(re.findall(r"^<(\S+)> EXEC ", self.output, re.M)))


class LocalSite:
    """A deployment in mode sentinel, with its inventory and all of its state below one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: (free_port(), free_port()) for name in SERVERS}
        self.app_port = free_port()
        inventory = folder / "inventory"
        inventory.mkdir()
        hosts = {
            "redis": {"hosts": {name: {"redis_port": port} for name, (port, _) in self.ports.items()}},
            "redis_sentinel": {
                "hosts": {name: {"redis_sentinel_port": port} for name, (_, port) in self.ports.items()}
            },
            "django_app": {"hosts": {APP: {"django_app_port": self.app_port}}},
        }
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts), "utf-8")
        shipped = PROJECT / "inventories" / "local" / "group_vars" / "all.yml"
        own = {"cache_mode": "sentinel", "redis_server_bin": str(server_binary())}
        # What the shipped file says too is said here once more, and the last one wins.
        variables = {**yaml.safe_load(shipped.read_text("utf-8")), **own}
        (inventory / "group_vars").mkdir()
        (inventory / "group_vars" / "all.yml").write_text(yaml.safe_dump(variables), "utf-8")

    @property
    def state(self) -> Path:
        """Everything that is deployed."""
        return self.folder / "state" / "cachestack"

    @property
    def supervisor(self) -> Supervisord:
        """What runs the services."""
        return Supervisord(str(self.state / "services"))

    def host(self, name: str) -> LocalHost:
        """One of its hosts."""
        return LocalHost(self, name)

    def roles(self) -> dict[str, LocalHost]:
        """Its hosts by what they are now: the leader, a replica, another one, and app."""
        hosts = sorted(map(self.host, SERVERS), key=lambda host: str(host.redis("ROLE")[0]))
        return {**dict(zip(("leader", "replica", "other"), hosts)), "app": self.host(APP)}

    # Runs

    def deploy(self, **environment: str) -> Done:
        """Run site.yml."""
        return self.play("site.yml", **environment)

    def play(self, playbook: str, *arguments: str, **environment: str) -> Done:
        """Run a playbook."""
        done = subprocess.run(
            [*self._command(playbook), *arguments],
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Done(done.stdout, done.returncode != 0)

    def deploy_until(self, pattern: str) -> None:
        """Run site.yml until a file below the state is there, and kill it in that moment with all its children."""
        with open(self.folder / "killed.log", "ab") as log:
            run = subprocess.Popen(self._command("site.yml"), env=self._environment, stdout=log, stderr=log)
            while not any(self.state.glob(pattern)):
                assert run.poll() is None, (self.folder / "killed.log").read_text("utf-8")
                time.sleep(0.002)
            kill(run.pid)
            run.wait()

    def plan(self) -> dict[str, Any]:
        """What a run would do, as `make plan` says it to programs."""
        command = [sys.executable, str(PROJECT / "ansible" / "ask.py"), "plan", "--json", *self._inventory]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def end(self) -> None:
        """End all that runs."""
        self.supervisor.shutdown()

    @property
    def _inventory(self) -> list[str]:
        return ["-i", str(self.folder / "inventory")]

    def _command(self, playbook: str) -> list[str]:
        program = Path(sys.executable).with_name("ansible-playbook")
        return [str(program), *self._inventory, str(PROJECT / playbook)]

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }


@dataclass(frozen=True)
class LocalHost:
    """A host of the deployment: its files, its services, and its servers, which take every command."""

    site: LocalSite
    name: str

    @property
    def port(self) -> int:
        """Its server's port, 0 where it has none."""
        return self.site.ports.get(self.name, (0, 0))[0]

    @property
    def sentinel_port(self) -> int:
        """Its Sentinel's port, 0 where it has none."""
        return self.site.ports.get(self.name, (0, 0))[1]

    @property
    def paths(self) -> dict[str, Path]:
        """Its files and directories by what they are."""
        state, port, sentinel = self.site.state, self.port, self.sentinel_port
        home, django, programs = state / "redis" / str(port), state / "django_app", state / "services" / "programs"
        return {
            "data": home,
            "redis.conf": home / f"redis-{port}.conf",
            "auth.conf": home / f"redis-{port}.auth.conf",
            "volatile redis.conf": home / "redis.conf",
            "program": programs / f"redis-{port}.conf",
            "sentinel.conf": home / f"redis-sentinel-{sentinel}.conf",
            "sentinel auth.conf": home / f"redis-sentinel-{sentinel}.auth.conf",
            "sentinel data": state / "redis" / f"sentinel-{sentinel}",
            "volatile sentinel.conf": state / "redis" / f"sentinel-{sentinel}" / "sentinel.conf",
            "sentinel program": programs / f"redis-sentinel-{sentinel}.conf",
            "settings": django / "conf" / "deployed",
            "settings.py": django / "conf" / "deployed" / "settings.py",
            "secrets.json": django / "conf" / "deployed" / "secrets.json",
            "current": django / "current",
        }

    def redis(self, *words: str | int) -> Any:
        """What its Redis server answers."""
        return self._ask(self.port, *words)

    def sentinel(self, *words: str | int) -> Any:
        """What its Sentinel answers."""
        return self._ask(self.sentinel_port, *words)

    def _ask(self, port: int, *words: str | int) -> Any:
        password = (self.site.state / "secrets" / "redis_admin_password").read_text("utf-8").split()[0]
        with RedisClient(HOST, port) as client:
            login(client, "admin", password)
            return client.command(*words)

    def service(self, kind: str) -> str:
        """The name of one of its services: redis, sentinel or django."""
        names = {
            "redis": f"redis-{self.port}",
            "sentinel": f"redis-sentinel-{self.sentinel_port}",
            "django": "django_app",
        }
        return names[kind]


def kill(pid: int) -> None:
    """Kill a process and all that descend from it, none of which can start another one meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        for child in children(pid):
            kill(child)
        os.kill(pid, signal.SIGKILL)


def children(pid: int) -> Iterator[int]:
    """The processes that a process has started and that have not ended. See proc_pid_stat(5), field 4."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text("utf-8", "replace").rpartition(")")[2].split()[1]) == pid:
                yield int(path.parent.name)
