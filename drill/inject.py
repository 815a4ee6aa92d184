"""Breaking things, and mending them whatever happens. The names of the steps in faults.py are methods here."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from drill.faults import Step
from drill.hosts import ROOT, Deployment, Host, HostError, together
from drill.judge import Seen, leaders_of, problems

# Seconds between two looks.
PAUSE = 0.3
# Seconds that everything may take to be as it was, after which nobody waits for it.
SETTLING = 90.0
# Other values than those of the inventory: directives that want a restart in every version.
OTHER = {"databases": 17, "tcp-backlog": 512}
# A directive of redis.conf is nothing to the rest of site.yml.
SERVERS = ("--tags", "redis,redis_sentinel,redis_cluster")
RECAP = re.compile(r"^\S+\s+: ok=\d+\s+changed=(\d+)", re.MULTILINE)


class Injector:
    """Does the steps of one fault, and knows how to undo them; as a context manager it undoes them at the end.

    What it measures is public: see judge.Measured. `log` is where the output of site.yml goes.
    """

    def __init__(self, deployment: Deployment, site: Sequence[str], log: Path) -> None:
        self._deployment, self._site, self._log = deployment, site, log
        self._heals = ExitStack()
        self.changed: float = 0
        self.settled = self.demoted = self.returned = self.bringing = math.inf
        self.wrong: list[str] = []
        # Every run id of each server, in their order.
        self.runs: dict[str, list[str]] = {}
        # One, or none before `look`.
        self._leader: list[Host] = []
        self._replicas: list[Host] = []

    def __enter__(self) -> Injector:
        return self

    def __exit__(self, kind: object, *_error: object) -> None:
        self.heal()
        # Otherwise nobody waits for it.
        if kind:
            self.settle()

    def look(self) -> list[Seen]:
        """Learn who leads now, which is what 'leader' and 'replica' mean from here on. Return what is seen."""
        seen = self._deployment.look()
        leaders = leaders_of(seen)
        # A primary without a replica could not be replaced.
        replicated = {one.name for one in seen if one.leads and one.replicas}
        servers = self._deployment.servers
        names = [host.name for host in servers if host.name in (replicated or leaders)]
        if not names:
            raise HostError("no server leads")
        self._leader = [host for host in servers if host.name == names[0]]
        self._replicas = [host for host in servers if host.name not in leaders]
        self.runs = {one.name: [one.info["run_id"]] for one in seen if "run_id" in one.info}
        return seen

    def do(self, step: Step) -> None:
        """Do one step."""
        STEPS[step.do](self, step)

    def heal(self, _step: Step | None = None) -> None:
        """Undo all that was done, the last first. A second call does nothing. Ctrl-C has to wait for it."""
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._heals.pop_all().close()
        finally:
            signal.signal(signal.SIGINT, old)

    def settle(self, _step: Step | None = None, seconds: float = SETTLING) -> None:
        """Wait until all is as it should be, and note when, and when the old leader followed another."""
        self.settled = self.demoted = math.inf
        until = time.time() + seconds
        while self.settled == math.inf and time.time() < until:
            seen = self._deployment.look()
            roles = {one.name: one.info.get("role") for one in seen}
            if any(roles[host.name] == "slave" for host in self._leader):
                self.demoted = min(self.demoted, time.time())
            self.wrong = problems(seen, self._deployment.mode)
            if not self.wrong:
                self.settled = time.time()
            time.sleep(PAUSE)

    def _kill(self, step: Step) -> None:
        """Kill it at once, and let nothing start it again."""
        for host, service in self._services(step):
            if host.manager == "systemd":
                self._heals.callback(host.run, "systemctl", "start", service)
                host.run("sh", "-c", f"systemctl kill -s KILL {service}; systemctl stop {service}")
            else:
                pid, manager = self._pid(host, service), self._supervisor(host, "pid")
                self._heals.callback(host.run, "kill", "-CONT", manager)
                # It would start it again, and cannot be told not to.
                host.run("kill", "-STOP", manager)
                host.run("kill", "-KILL", pid)

    def _crash(self, step: Step) -> None:
        """Kill it, and let its manager start it again."""
        for host, service in self._services(step):
            host.run("kill", "-KILL", self._pid(host, service))

    def _hang(self, step: Step) -> None:
        for host, service in self._services(step):
            pid = self._pid(host, service)
            self._heals.callback(host.run, "kill", "-CONT", pid)
            host.run("kill", "-STOP", pid)

    def _stop(self, step: Step) -> None:
        for host, service in self._services(step):
            self._heals.callback(self._manage, host, "start", service)
            self._manage(host, "stop", service)

    def _bring_back(self, step: Step) -> None:
        """Start one of those that were stopped, and wait until its leader knows it."""
        host, service = self._services(step)[0]
        self.bringing = time.time()
        self._manage(host, "start", service)
        until = time.time() + step.seconds(self._deployment.limits)
        while self.returned == math.inf and time.time() < until:
            seen = self._deployment.look(app=False)
            if any(replica["state"] == "online" for one in seen for replica in one.replicas):
                self.returned = time.time()
            time.sleep(PAUSE / 3)

    def _cut(self, step: Step) -> None:
        """Let no packet pass between these hosts and the others.

        The app's own routes stay, so that it waits for answers as it would in a real network, not told at once.
        """
        inside = {host.name for target in step.targets for host, _ in self._targets(target)}
        hosts = self._deployment.hosts
        addresses = dict(zip((host.name for host in hosts), together(_addresses, hosts)))

        def route(verb: str, host: Host) -> None:
            others = [other for other in hosts if (other.name in inside) != (host.name in inside)]
            routes = [f"ip route {verb} blackhole {address}" for other in others for address in addresses[other.name]]
            # One that is there, or gone, is no reason to leave out the rest.
            host.run("sh", "-c", "; ".join([*routes, ":"]))

        cutting = [host for host in hosts if host.redis or host.sentinel]
        self._heals.callback(together, partial(route, "del"), cutting)
        together(partial(route, "add"), cutting)

    def _reboot(self, _step: Step) -> None:
        containers = [host.container or "" for host in self._deployment.hosts]
        done = subprocess.run(
            ["docker", "restart", "-t", "0", *containers], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise HostError(f"docker restart: {done.stderr.strip()}")

    def _rewrite(self, _step: Step) -> None:
        """Make the servers write their configuration."""
        redis = [(host, host.redis.asked(["CONFIG", "REWRITE"])) for host in self._deployment.hosts if host.redis]
        sentinels = [
            (host, host.sentinel.asked(["SENTINEL", "FLUSHCONFIG"])) for host in self._deployment.hosts if host.sentinel
        ]
        for (host, _), replies in zip([*redis, *sentinels], self._deployment.ask([*redis, *sentinels])):
            if replies != ["OK"]:
                raise HostError(f"{host.name}: {replies}")

    def _run_site(self, step: Step) -> None:
        """Run site.yml, with another value of what is named, and count what it changes and restarts."""
        if not step.targets:
            self.changed = self._play({})
            return
        # At the end as the inventory has it, whether this works or not.
        self._heals.callback(self._play, {}, *SERVERS)
        name = step.targets[0]
        if name == "maxmemory":
            leader = self._leader[0]
            assert leader.redis
            [[[_, now]]] = self._deployment.ask([(leader, leader.redis.asked(["CONFIG", "GET", "maxmemory"]))])
            extra: dict[str, Any] = {"redis_maxmemory": str(int(now) + 2**20)}
        else:
            extra = {"redis_config": {**self._deployment.redis_config, name: OTHER[name]}}
        self.changed = self._play(extra, *SERVERS)
        if self.changed == math.inf:
            raise HostError(f"site.yml failed: see {self._log}")

    def _play(self, extra: dict[str, Any], *tags: str) -> float:
        """Run it with these variables. Return how many tasks changed something; infinite if it failed."""
        # Not on the command line, which everybody on this machine can read.
        variables = self._log.with_suffix(".json")
        variables.write_text(json.dumps(extra), "utf-8")
        words = [*self._site, "-e", f"@{variables.resolve()}", *tags]
        began = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("a", encoding="utf-8") as log:
            environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
            process = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                while process.poll() is None:
                    self.note(self._deployment.look(app=False))
                    time.sleep(PAUSE)
            finally:
                process.terminate()
                process.wait()
        changed = RECAP.findall(self._log.read_bytes()[began:].decode("utf-8", "replace"))
        return sum(map(int, changed)) if process.returncode == 0 and changed else math.inf

    def note(self, seen: Sequence[Seen]) -> None:
        """Keep the run ids that are new."""
        for one in seen:
            run_id = one.info.get("run_id")
            if run_id and run_id not in self.runs.setdefault(one.name, []):
                self.runs[one.name].append(run_id)

    def _wait(self, step: Step) -> None:
        time.sleep(step.seconds(self._deployment.limits))

    def _targets(self, target: str) -> list[tuple[Host, str]]:
        """Return the hosts that the word means, each with the service that is meant on it."""
        if target == "sentinels":
            return [(host, host.sentinel.service) for host in self._deployment.sentinels[-2:] if host.sentinel]
        if target == "app":
            return [(host, host.app.service) for host in self._deployment.hosts if host.app]
        hosts = {"leader": self._leader, "replica": self._replicas[:1], "replicas": self._replicas}[target]
        return [(host, host.redis.service) for host in hosts if host.redis]

    def _services(self, step: Step) -> list[tuple[Host, str]]:
        return [one for target in step.targets for one in self._targets(target)]

    def _pid(self, host: Host, service: str) -> str:
        if host.manager == "systemd":
            pid = host.run("systemctl", "show", "--property=MainPID", "--value", service)
        else:
            pid = self._supervisor(host, "pid", service)
        # 0 would be this process's own group.
        if not pid.isdigit() or int(pid) <= 1:
            raise HostError(f"{host.name}: {service} does not run")
        return pid

    def _manage(self, host: Host, verb: str, service: str) -> None:
        if host.manager == "systemd":
            host.run("systemctl", verb, service)
        elif self._supervisor(host, "pid", service, check=False) in ("", "0") or verb == "stop":
            # To start what runs is an error to supervisor.
            self._supervisor(host, verb, service)

    def _supervisor(self, host: Host, *words: str, check: bool = True) -> str:
        return host.run(*host.supervisorctl, *words, check=check)


def _addresses(host: Host) -> list[str]:
    """Return the addresses by which others know the host."""
    lines = host.run("ip", "-4", "-o", "addr", "show", "scope", "global").splitlines()
    return [found.group(1) for line in lines if (found := re.search(r" inet ([\d.]+)", line))]


STEPS = {
    "kill": Injector._kill,
    "crash": Injector._crash,
    "hang": Injector._hang,
    "stop": Injector._stop,
    "bring_back": Injector._bring_back,
    "cut": Injector._cut,
    "reboot": Injector._reboot,
    "rewrite": Injector._rewrite,
    "site": Injector._run_site,
    "wait": Injector._wait,
    "settle": Injector.settle,
    "heal": Injector.heal,
}
