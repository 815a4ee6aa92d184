"""The deployment under test: what its playbook wrote about it, commands on its hosts, and what its servers say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from drill.faults import CLUSTER, Limits
from drill.judge import Seen

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    "ansible.module_utils.redis_client": ROOT / "ansible" / "module_utils" / "redis_client.py",
    "agent": Path(__file__).with_name("agent.py"),
}
# Makes modules of the sources on the first line of stdin, and leaves the rest of stdin to the last of them.
BOOT = """
import json, sys, types
for name, source in json.loads(sys.stdin.readline()).items():
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
module.main()
"""
PATHS = ("/", "/readyz")
# Seconds: for a command, and for a server's reply.
COMMAND_TIMEOUT, REPLY_TIMEOUT = 90.0, 1.0

T = TypeVar("T")
R = TypeVar("R")


class HostError(RuntimeError):
    """A command failed on a host; the text says which, and what it said."""


class DeploymentError(ValueError):
    """The file does not describe a deployment, or not one in which this can be done."""


@dataclass(frozen=True)
class Server:
    """A Redis server or a Sentinel: `service` is what its manager calls it, `here` how its own host reaches it."""

    service: str
    here: str
    port: int
    auth_file: str | None = None

    def asked(self, *commands: Sequence[Any]) -> dict[str, Any]:
        """Return what the agent is told."""
        return {"address": self.here, "port": self.port, "auth_file": self.auth_file, "commands": commands}


@dataclass(frozen=True)
class App:
    """The Django host's service, its command line, who may run that (nobody else if empty), and its URL."""

    service: str
    manage: tuple[str, ...]
    user: str
    url: str


@dataclass(frozen=True)
class Host:
    """One inventory host. `access` is what runs a command there as root; empty: this machine, and this user."""

    name: str
    access: tuple[str, ...]
    manager: str
    supervisorctl: tuple[str, ...] = ()
    redis: Server | None = None
    sentinel: Server | None = None
    app: App | None = None

    @property
    def container(self) -> str | None:
        """The Docker container's name, if it is one."""
        return self.access[-1] if self.access[:2] == ("docker", "exec") else None

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command there with pipes, and return it."""
        return subprocess.Popen(
            [*self.access, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", **options
        )

    def run(self, *words: str, check: bool = True, text: str | None = None) -> str:
        """Run a command there and return what it prints. Raise HostError if it fails and `check` is set."""
        try:
            done = subprocess.run(
                [*self.access, *words], input=text, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"{self.name}: {error}") from error
        if check and done.returncode != 0:
            raise HostError(f"{self.name}: {' '.join(words)[:80]}: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout.strip()

    def agent(self, job: dict[str, Any]) -> Any:
        """Let the agent do a job there, and return its answer. Raise HostError if it cannot."""
        return json.loads(self.run(*self._agent(), text=_agent_input(job)))

    def start_agent(self, job: dict[str, Any]) -> subprocess.Popen[str]:
        """Start a job that lasts until stdin ends."""
        process = self.start(*self._agent(), stderr=subprocess.PIPE)
        assert process.stdin
        process.stdin.write(_agent_input(job))
        process.stdin.flush()
        return process

    def _agent(self) -> list[str]:
        return ["python3" if self.access else sys.executable, "-c", BOOT]


def _agent_input(job: dict[str, Any]) -> str:
    sources = {name: path.read_text("utf-8") for name, path in SOURCES.items()}
    return f"{json.dumps(sources)}\n{json.dumps(job)}\n"


@dataclass(frozen=True)
class Deployment:
    """All of it. `service` is what Sentinels call the leader; `redis_config` is what the inventory says."""

    mode: str
    limits: Limits
    hosts: tuple[Host, ...]
    service: str = ""
    redis_config: dict[str, Any] = field(default_factory=dict)

    @property
    def servers(self) -> list[Host]:
        """The hosts with a Redis server."""
        return [host for host in self.hosts if host.redis]

    @property
    def sentinels(self) -> list[Host]:
        """The hosts with a Sentinel."""
        return [host for host in self.hosts if host.sentinel]

    @property
    def app(self) -> Host:
        """The host with the app, on which the load runs."""
        return next(host for host in self.hosts if host.app)

    def lacks(self, need: str, site: Sequence[str]) -> str:
        """Return why a fault that needs this cannot be done here; nothing if it can."""
        accesses = [host.access for host in self.hosts]
        if need == "site" and not site:
            return "it needs --site"
        if need == "docker" and not all(host.container for host in self.hosts):
            return "it needs Docker containers"
        if need == "machines" and (() in accesses or len(set(accesses)) < len(accesses)):
            return "it needs a machine, or a container, for each host"
        return ""

    def ask(self, questions: Sequence[tuple[Host, dict[str, Any]]]) -> list[list[Any]]:
        """Send commands (`Server.asked`) to servers, all at once. Return the replies of each server."""

        def ask(access: tuple[str, ...]) -> list[list[Any]]:
            mine = [(host, asked) for host, asked in questions if host.access == access]
            servers = [asked for _, asked in mine]
            try:
                found: list[list[Any]] = mine[0][0].agent({"do": "ask", "timeout": REPLY_TIMEOUT, "servers": servers})
            except HostError as error:
                return [[{"error": str(error)}] * len(asked["commands"]) for asked in servers]
            return found

        # Hosts on one machine are asked by one process.
        accesses = list(dict.fromkeys(host.access for host, _ in questions))
        replies = {access: iter(answer) for access, answer in zip(accesses, together(ask, accesses))}
        return [next(replies[host.access]) for host, _ in questions]

    def look(self, *, app: bool = True) -> list[Seen]:
        """Return what every server says of itself, and the app if that is wanted."""
        server = ["INFO", "server"]
        cluster = [["CLUSTER", "INFO"]] if self.mode == CLUSTER else []
        redis = [server, ["TIME"], ["INFO", "replication"], *cluster]
        sentinel = [server, ["SENTINEL", "MASTER", self.service], ["SENTINEL", "CKQUORUM", self.service]]
        kinds = [
            *((host, "redis", host.redis.asked(*redis)) for host in self.hosts if host.redis),
            *((host, "sentinel", host.sentinel.asked(*sentinel)) for host in self.hosts if host.sentinel),
        ]
        replies = self.ask([(host, asked) for host, _, asked in kinds])
        seen = [
            read_seen(host.name if kind == "redis" else f"{host.name} {kind}", kind, reply)
            for (host, kind, _), reply in zip(kinds, replies)
        ]
        return [*seen, *(map(look_at_app, [host for host in self.hosts if host.app]) if app else ())]


def look_at_app(host: Host) -> Seen:
    """Return the status of each path."""
    try:
        answers = host.agent({"do": "get", "url": host.app.url if host.app else "", "paths": PATHS})
    except HostError:
        return Seen(f"{host.name} app", "app")
    return Seen(f"{host.name} app", "app", {path: str(status) for path, _, status, _ in answers})


def read_seen(name: str, kind: str, replies: Sequence[Any]) -> Seen:
    """Return what the replies to the commands of `Deployment.look` say."""
    server, *rest = replies
    if not isinstance(server, str):
        return Seen(name, kind)
    info = _fields(server)
    if kind == "sentinel":
        master, quorum = rest
        if isinstance(master, list):
            info.update(zip(master[::2], master[1::2]))
        return Seen(name, kind, info, quorum=isinstance(quorum, str))
    clock, *sections = rest
    # A server can go between two answers.
    if not isinstance(clock, list) or not all(isinstance(section, str) for section in sections):
        return Seen(name, kind)
    for section in sections:
        info.update(_fields(section))
    return Seen(name, kind, info, int(clock[0]) - int(info["uptime_in_seconds"]))


def _fields(reply: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in reply.splitlines() if ":" in line)


def together(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Do the work on all items at the same time, and return what comes of each."""
    listed = list(items)
    with ThreadPoolExecutor(max(1, len(listed))) as threads:
        return list(threads.map(work, listed))


def read_deployment(path: Path) -> Deployment:
    """Return what the file says. Raise DeploymentError if that is no deployment with servers and an app."""
    try:
        found = json.loads(path.read_text("utf-8"))
        hosts = tuple(_host(name, about) for name, about in found["hosts"].items())
        limits = Limits(*(float(found[name]) for name in ("down_after", "node_timeout", "max_lag")))
        service, config = found.get("service") or "", found.get("redis_config") or {}
        deployment = Deployment(found["mode"], limits, hosts, service, config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeploymentError(f"{path}: {type(error).__name__}: {error}") from error
    if not deployment.servers or not any(host.app for host in hosts):
        raise DeploymentError(f"{path}: there must be a Redis server and an app")
    return deployment


def _host(name: str, about: dict[str, Any]) -> Host:
    def server(kind: str) -> Server | None:
        one = about.get(kind)
        return Server(one["service"], one["here"], int(one["port"]), one.get("auth_file") or None) if one else None

    app = about.get("app")
    return Host(
        name,
        tuple(about["access"]),
        about["manager"],
        tuple(about.get("supervisorctl") or ()),
        server("redis"),
        server("sentinel"),
        App(app["service"], tuple(app["manage"]), app.get("user") or "", app["url"].rstrip("/")) if app else None,
    )
