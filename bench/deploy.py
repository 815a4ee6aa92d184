"""Measure what a deployment costs: the seconds that pass, and those of a processor.

    python -m bench.deploy [--rounds 3] [--servers 3] [--inventory INVENTORY]
                           [--against PLAYBOOK --against-inventory INVENTORY]

It deploys a copy of inventories/local, on free ports and into a state directory of its own, which it deletes; what
`make up` has deployed is not touched. With --inventory it deploys nothing: it measures a deployment that is there, and
refuses one to which a run would change something. With --against it also measures another playbook with nothing to do.

The yardstick is `ansible -m setup` on the same hosts, six times. Numbers depend on the machine and on what else it
does; the ratios less, since both sides of one are measured in the same round.
Exit code 0, whatever the numbers are; 1: it could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
LOCAL = PROJECT / "inventories" / "local"
# What is measured, in the order of the table.
NOTHING, NO_OP, PLAN, STATUS, YARDSTICK = (
    "from nothing",
    "with nothing to do",
    "plan",
    "status",
    "ansible -m setup, 6 x",
)
AGAINST = "the other playbook"
SETUPS = 6
HOST = "127.0.0.1"
# Lines of a program that failed, of which the last ones say why.
TAIL = 30


class MeasureError(Exception):
    """It could not be measured, or what was measured is not what was meant; the text says why."""


@dataclass(frozen=True)
class Spent:
    """What a program took: seconds of a processor, those of its children included, and seconds that passed."""

    cpu: float
    wall: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.cpu + other.cpu, self.wall + other.wall)


Rounds = Mapping[str, Sequence[Spent]]


def spend(command: Sequence[str], environment: Mapping[str, str], folder: Path = PROJECT) -> tuple[Spent, str]:
    """Run a program, and return what it took and what it printed. Raises MeasureError where it fails.

    What the program leaves running, such as the servers, is not counted.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read()
    if process.returncode:
        tail = "\n".join(printed.splitlines()[-TAIL:])
        raise MeasureError(f"{' '.join(command)} ended with {process.returncode}:\n{tail}")
    return Spent(used.ru_utime + used.ru_stime, wall), printed


def changed(printed: str) -> int:
    """How much a playbook changed, by its recap. Raises MeasureError where it has none."""
    found = re.findall(r"^\S+ +: ok=\d+ +changed=(\d+) ", printed, re.M)
    if not found:
        raise MeasureError("the playbook has no recap, so nobody knows what it changed")
    return sum(map(int, found))


def remote_hosts(inventory: Mapping[str, Any]) -> list[str]:
    """The hosts of what `ansible-inventory --list` printed that Ansible does not reach as this machine itself."""
    variables = inventory.get("_meta", {}).get("hostvars", {})
    named = {host for group in inventory.values() for host in group.get("hosts", ())}
    return sorted(host for host in named if variables.get(host, {}).get("ansible_connection") != "local")


@dataclass(frozen=True)
class Row:
    """A line of the table: medians in seconds, and the median of the ratios to the yardstick of the same round."""

    what: str
    cpu: float
    wall: float
    cpu_ratio: float
    wall_ratio: float


def rows(measured: Rounds, yardstick: str = YARDSTICK) -> list[Row]:
    """The table of what was measured. Each entry of ``measured`` has as many rounds as the yardstick."""
    found = []
    for what, rounds in measured.items():
        pairs = list(zip(rounds, measured[yardstick]))
        found.append(
            Row(
                what,
                median(one.cpu for one in rounds),
                median(one.wall for one in rounds),
                median(one.cpu / unit.cpu for one, unit in pairs),
                median(one.wall / unit.wall for one, unit in pairs),
            )
        )
    return found


def table(found: Sequence[Row]) -> str:
    """The rows for people, as Markdown."""
    lines = ["| what | CPU-s | s | CPU, of the yardstick | time, of the yardstick |", "|---|---|---|---|---|"]
    lines += [f"| {r.what} | {r.cpu:.1f} | {r.wall:.1f} | {r.cpu_ratio:.2f} | {r.wall_ratio:.2f} |" for r in found]
    return "\n".join(lines)


@contextlib.contextmanager
def kept_ports() -> Iterator[Iterator[int]]:
    """Free ports of loopback. Their sockets stay bound without listening, so that nobody else is given one."""
    with contextlib.ExitStack() as stack:

        def ports() -> Iterator[int]:
            while True:
                keeper = stack.enter_context(socket.socket())
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                keeper.bind((HOST, 0))
                yield int(keeper.getsockname()[1])

        yield ports()


def copied_hosts(hosts: dict[str, Any], servers: int, ports: Iterator[int]) -> dict[str, Any]:
    """The hosts of inventories/local with other ports, and with so many servers, redis-1 and on."""
    redis = {f"redis-{number}": {"redis_port": 0} for number in range(1, servers + 1)}
    redis = {**hosts["redis"]["hosts"], **redis}
    groups = {**{group: entry["hosts"] for group, entry in hosts.items()}, "redis": redis}
    return {
        group: {
            "hosts": {
                host: {name: next(ports) if name.endswith("_port") else value for name, value in variables.items()}
                for host, variables in members.items()
            }
        }
        for group, members in groups.items()
    }


@dataclass(frozen=True)
class Subject:
    """A deployment that is measured: its inventory, its environment, and the hosts that its mode uses."""

    inventory: Path
    environment: Mapping[str, str]
    hosts: str = "all"

    def site(self) -> tuple[Spent, int]:
        """Run site.yml; what it took and how much it changed."""
        spent, printed = spend(self._playbook("site.yml"), self.environment)
        return spent, changed(printed)

    def no_op(self) -> Spent:
        """The same where nothing is to do. Raises MeasureError where it changed something."""
        spent, number = self.site()
        if number:
            raise MeasureError(f"a run that was to change nothing changed {number} things")
        return spent

    def plan(self) -> Spent:
        """`make plan`. Raises MeasureError where a run would change something."""
        command = [sys.executable, "ansible/ask.py", "plan", "-i", str(self.inventory)]
        spent, printed = spend(command, self.environment)
        if not printed.startswith("nothing to do"):
            raise MeasureError(f"only a deployment to which nothing is to do can be measured:\n{printed}")
        return spent

    def status(self) -> Spent:
        """`make status`."""
        return spend(self._playbook("ansible/status.yml"), self.environment)[0]

    def setups(self) -> Spent:
        """The yardstick: the facts of the hosts, six times."""
        command = [_program("ansible"), "-i", str(self.inventory), "-m", "setup", self.hosts]
        spent = Spent(0, 0)
        for _ in range(SETUPS):
            spent += spend(command, self.environment)[0]
        return spent

    def down(self) -> None:
        """Stop the local services."""
        spend(self._playbook("ansible/down.yml"), self.environment)

    def remote(self) -> list[str]:
        """The hosts whose processors are not counted."""
        command = [_program("ansible-inventory"), "-i", str(self.inventory), "--list"]
        done = subprocess.run(command, env=self.environment, cwd=PROJECT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MeasureError(done.stderr)
        return remote_hosts(json.loads(done.stdout))

    def _playbook(self, path: str) -> list[str]:
        return [_program("ansible-playbook"), "-i", str(self.inventory), path]


@dataclass(frozen=True)
class Other:
    """Another playbook, which runs in its own directory with its own configuration."""

    playbook: Path
    inventory: Path

    def run(self) -> tuple[Spent, int]:
        """Run it; what it took and how much it changed."""
        environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"}
        command = [_program("ansible-playbook"), "-i", str(self.inventory), str(self.playbook)]
        spent, printed = spend(command, environment, self.playbook.parent)
        return spent, changed(printed)


def _program(name: str) -> str:
    """One of Ansible's programs, of the environment that runs this one."""
    return str(Path(sys.executable).with_name(name))


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), **more}


@contextlib.contextmanager
def local_copy(servers: int) -> Iterator[Subject]:
    """A copy of inventories/local with its state below a new directory; both, and what runs, end with the context."""
    with tempfile.TemporaryDirectory(prefix="cachestack-bench-") as folder, kept_ports() as ports:
        inventory = Path(folder) / "inventory"
        shutil.copytree(LOCAL, inventory)
        hosts = copied_hosts(yaml.safe_load((LOCAL / "hosts.yml").read_text("utf-8")), servers, ports)
        (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts), "utf-8")
        used = [f"redis-{number}" for number in range(1, servers + 1)]
        pattern = ":".join([*used, *hosts["django_app"]["hosts"]])
        subject = Subject(inventory, _environment(XDG_STATE_HOME=f"{folder}/state"), pattern)
        try:
            yield subject
        finally:
            subject.down()


def measure_round(subject: Subject, is_new: bool, other: Other | None) -> dict[str, Spent]:
    """One round: what each thing took, by its name."""
    found = {}
    if is_new:
        found[NOTHING], _ = subject.site()
    found[PLAN] = subject.plan()
    found[NO_OP] = subject.no_op()
    found[STATUS] = subject.status()
    if other:
        found[AGAINST], _ = other.run()
    found[YARDSTICK] = subject.setups()
    return found


def measure(chosen: argparse.Namespace) -> None:
    """Measure, and print what came of it."""
    other = Other(chosen.against.resolve(), chosen.against_inventory.resolve()) if chosen.against else None
    if other:
        other.run()
        if left := other.run()[1]:
            print(f"note: {chosen.against} changes {left} things in every run")
    found: list[dict[str, Spent]] = []
    there = Subject(chosen.inventory.resolve(), _environment()) if chosen.inventory else None
    for number in range(chosen.rounds):
        print(f"round {number + 1} of {chosen.rounds}", flush=True)
        if there:
            found.append(measure_round(there, False, other))
        else:
            with local_copy(chosen.servers) as subject:
                found.append(measure_round(subject, True, other))
    order = [what for what in (NOTHING, NO_OP, PLAN, STATUS, AGAINST, YARDSTICK) if what in found[0]]
    measured = {what: [one[what] for one in found] for what in order}
    print(f"\n{table(rows(measured))}\n")
    print(f"medians of {chosen.rounds}; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end")
    if there and (remote := there.remote()):
        print(f"note: CPU-s are those of this machine; what {', '.join(remote)} spent is not counted")
    if other:
        ratio = rows({NO_OP: measured[NO_OP], AGAINST: measured[AGAINST]}, AGAINST)[0]
        print(f"{NO_OP}: {ratio.cpu_ratio:.2f} of the CPU-s and {ratio.wall_ratio:.2f} of the time of {chosen.against}")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command. Ends the program where they are wrong."""
    parser = argparse.ArgumentParser(description="Measure what a deployment costs.")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--servers", type=int, default=3, help="Redis servers of the local deployment")
    parser.add_argument("--inventory", type=Path, help="measure this deployment, to which nothing must be to do")
    parser.add_argument("--against", type=Path, metavar="PLAYBOOK", help="another playbook to measure in the same run")
    parser.add_argument("--against-inventory", type=Path, metavar="INVENTORY", help="its inventory")
    chosen = parser.parse_args(arguments)
    if chosen.rounds < 1 or chosen.servers < 2:
        parser.error("--rounds must be at least 1, and --servers at least 2")
    if bool(chosen.against) != bool(chosen.against_inventory):
        parser.error("--against and --against-inventory belong together")
    for path in (chosen.inventory, chosen.against, chosen.against_inventory):
        if path and not path.exists():
            parser.error(f"{path} does not exist")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    chosen = parsed(arguments)
    # So that the services end as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        measure(chosen)
    except (MeasureError, OSError) as error:
        print(f"bench/deploy.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
