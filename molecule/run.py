"""Run Molecule scenarios side by side and sum them up in one table.

    python molecule/run.py [--quick] [SCENARIO ...]      (without a name: every folder here that has a molecule.yml)

Environment: JOBS=3 (scenarios at a time; default: one more than there are processors, as each waits now and then),
KEEP=1 (leave the containers; the scenario's next run removes them).
The whole output of a scenario goes to .cache/molecule/SCENARIO.log.
With --quick nothing is injected: no faults, and no side effects.
Scenarios with faults, which are timed, are deployed beside the others; their faults come afterwards, alone.
Exit code 0: all passed, 1: one failed, 2: wrong use, or a machine that cannot run containers.

Three things fail a scenario that Molecule itself lets pass: a playbook that does not exist; a check of converged hosts
that finds something to change; a generated secret in the output, which `--diff` is on for.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
LOGS = PROJECT / ".cache" / "molecule"
# The steps of a scenario with faults that other scenarios must not disturb.
ALONE = ("side-effect", "verify", "destroy")
# What is left of a scenario where nothing is injected.
QUICK = ("converge", "idempotence", "verify", "destroy")
TAIL_LINES = 80
# Characters of what is said in the table.
MAX_REASON = 400
# Characters; what is shorter tells nothing, such as the last line of a key.
MIN_SECRET = 20
# Started first, so that the last ones to end are short. One that is not named here counts as the longest.
LONGEST_FIRST = (
    "local",
    "sentinel",
    "cluster",
    "tls",
    "replication",
    "colocated",
    "django_redis",
    "own_project",
    "standalone",
    "locmem",
)

ANSI = re.compile(r"\x1b\[[0-9;]*m")
STEP = re.compile(r"^\w+\s+\[\S+ > (?P<step>\w+)\] (?:Executing|Executed: (?P<result>\w+))")
TASK = re.compile(r"^TASK \[(.*)\] \*+$")
ERROR = re.compile(r"^\[ERROR\]: (.*)$")
FATAL = re.compile(r"^fatal: \[(.*?)\]: ")
CHANGED = re.compile(r"^(?P<host>\S+)\s+: ok=\d+\s+changed=[1-9]", re.MULTILINE)


class Interruption(BaseException):
    """Ctrl-C, or a polite request to end."""


@dataclass
class Step:
    """One action of Molecule.

    When it `began` is in seconds of the monotonic clock; its `lines` of output have their line ends; the `result` is
    Molecule's word (successful, failed, missing), and the `fault` is what is wrong with it in our words, or nothing.
    """

    name: str
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    result: str = ""
    fault: str = ""


@dataclass
class Scenario:
    """One folder of molecule/ and what became of it; `faults` are sentences, none of them means that it passed."""

    name: str
    faults: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0
    process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        """Where the whole output goes."""
        return LOGS / f"{self.name}.log"

    @property
    def scratch(self) -> Path:
        """Where Molecule keeps its state of the scenario."""
        return LOGS / self.name

    @property
    def suites(self) -> set[str]:
        """The Debian releases that its molecule.yml names: {"trixie"}."""
        return set(re.findall(r"TEST_SUITE: (\w+)", self.configuration))

    @property
    def is_timed(self) -> bool:
        """Whether it has faults whose consequences are timed."""
        return "faults.yml" in self.configuration

    @property
    def configuration(self) -> str:
        """Its molecule.yml."""
        return (HERE / self.name / "molecule.yml").read_text("utf-8")


class Runner:
    """Runs scenarios in threads; every thread only waits for the Molecule that it started."""

    def __init__(self, keep: bool, quick: bool = False) -> None:
        """Leave the containers in the end if `keep`; inject nothing if `quick`."""
        self.keep, self.quick = keep, quick
        self.stopping = False
        self.print_lock = threading.Lock()
        command = Path(sys.executable).with_name("molecule")
        self.molecule = str(command) if command.exists() else "molecule"
        # Molecule finds ansible-playbook on PATH, and it must be the one of the same environment.
        self.environment = dict(os.environ, NO_COLOR="1", ANSIBLE_NOCOLOR="1", PYTHONUNBUFFERED="1")
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def say(self, text: str) -> None:
        """Print whole lines, however many threads do."""
        with self.print_lock:
            print(text, flush=True)

    def run(self, scenario: Scenario) -> None:
        """Run one scenario, or what comes before its faults, and note what went wrong and its seconds."""
        if self.stopping:
            return
        self.say(f"{scenario.name}: started, log {scenario.log.relative_to(PROJECT)}")
        clean(scenario)
        scenario.log.unlink(missing_ok=True)
        destroy = f"--destroy={'never' if self.keep else 'always'}"
        if self.quick:
            self.run_actions(scenario, [(action,) for action in QUICK if not (self.keep and action == "destroy")])
        else:
            self.run_actions(scenario, [("converge",)] if scenario.is_timed else [("test", destroy)])
        if self.quick or not scenario.is_timed or scenario.faults:
            self.end(scenario)

    def run_faults(self, scenario: Scenario) -> None:
        """Run the rest of one that has faults, while no other one runs."""
        if self.stopping or self.quick or scenario.faults:
            return
        self.run_actions(scenario, [(action,) for action in ALONE if not (self.keep and action == "destroy")])
        self.end(scenario)

    def end(self, scenario: Scenario) -> None:
        """Remove a scenario's containers and say what became of it."""
        if not self.keep:
            clean(scenario)
        if not scenario.faults:
            self.say(f"{scenario.name}: passed in {scenario.seconds:.0f} s")
        elif not self.stopping:
            tail = "".join(f"  | {line}" for line in failing_part(scenario))
            self.say(f"{tail}{scenario.name}: FAILED: {'; '.join(scenario.faults)}")

    def run_actions(self, scenario: Scenario, actions: list[tuple[str, ...]]) -> None:
        """Let Molecule do one action after the other, until one fails."""
        began = time.monotonic()
        for action in actions:
            code = self.run_molecule(scenario, action)
            scenario.faults = faults_of(scenario, code)
            if scenario.faults:
                break
        scenario.seconds += time.monotonic() - began

    def run_molecule(self, scenario: Scenario, action: tuple[str, ...]) -> int:
        """Run one action of Molecule, note its steps, report each one that ends, return the exit code."""
        # A session of its own: Ctrl-C reaches this runner alone, which then ends what it started.
        process = scenario.process = subprocess.Popen(
            [self.molecule, "-c", str(HERE / "config.yml"), *action, "--no-command-borders", "-s", scenario.name],
            cwd=PROJECT,
            env={**self.environment, "MOLECULE_EPHEMERAL_DIRECTORY": str(scenario.scratch)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        step = Step("start")
        scenario.steps.append(step)
        with process, scenario.log.open("a", encoding="utf-8") as log:
            for raw in process.stdout or ():
                line = ANSI.sub("", raw)
                log.write(line)
                log.flush()
                match = STEP.match(line)
                if match is not None and match["result"] is None:
                    step = Step(match["step"])
                    scenario.steps.append(step)
                step.lines.append(line)
                if match is not None and match["result"] is not None and match["step"] == step.name:
                    step.result = match["result"].lower()
                    ended = "" if step.result == "successful" else f" {step.result}"
                    self.say(f"{scenario.name}: {step.name} {time.monotonic() - step.began:.0f} s{ended}")
        return process.returncode

    def stop(self, scenarios: list[Scenario]) -> None:
        """End every Molecule that still runs and remove what it made."""
        self.stopping = True
        for scenario in scenarios:
            if scenario.process is not None and scenario.process.poll() is None:
                os.killpg(scenario.process.pid, signal.SIGTERM)
                try:
                    scenario.process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    os.killpg(scenario.process.pid, signal.SIGKILL)


def faults_of(scenario: Scenario, code: int) -> list[str]:
    """What is wrong with a run that ended with this exit code, one sentence each."""
    faults = []
    converged = False
    for step in scenario.steps:
        converged = converged or step.name == "converge"
        # After a failure Molecule always tries the cleanup playbook, which no scenario here has.
        if step.result == "missing" and step.name != "cleanup":
            step.fault = f"{step.name} names a playbook that does not exist"
        elif step.result == "failed":
            step.fault = f"{step.name} failed{reason(step)}"
        elif step.name == "check" and converged and (hosts := CHANGED.findall("".join(step.lines))):
            step.fault = f"check of the converged hosts would change {', '.join(hosts)}"
        if step.fault:
            faults.append(step.fault)
    if code != 0 and not faults:
        faults.append(f"Molecule ended with exit code {code}")
    return faults + leaked_secrets(scenario)


def reason(step: Step) -> str:
    """Where the step ended and what Ansible said there: ": TASK (HOST): MESSAGE", or nothing where no task failed."""
    task = message = found = ""
    for line in step.lines:
        if match := TASK.match(line):
            task, message = match[1], ""
        elif match := ERROR.match(line):
            message = match[1]
        elif match := FATAL.match(line):
            found = textwrap.shorten(f": {task} ({match[1]}): {message}", MAX_REASON)
    return found


def leaked_secrets(scenario: Scenario) -> list[str]:
    """The names of the scenario's generated secrets that stand in its log, as one sentence."""
    log = scenario.log.read_text(encoding="utf-8")
    folders = (PROJECT / "inventories" / scenario.name / "secrets", HERE / scenario.name / "inventory" / "secrets")
    secrets = [path for folder in folders for ending in ("txt", "key") for path in sorted(folder.rglob(f"*.{ending}"))]
    leaked = [path.name for path in secrets if any(line in log for line in secret_lines(path))]
    return [f"the log shows {', '.join(leaked)}"] if leaked else []


def secret_lines(path: Path) -> list[str]:
    """The lines of a file with a secret, without those that say what it is or are too short to tell anything."""
    return [
        line
        for line in path.read_text("utf-8").splitlines()
        if len(line) >= MIN_SECRET and not line.startswith("-----")
    ]


def failing_part(scenario: Scenario) -> list[str]:
    """The last lines of the first step that went wrong, else of the whole output."""
    for step in scenario.steps:
        if step.fault:
            return step.lines[-TAIL_LINES:]
    return [line for step in scenario.steps for line in step.lines][-TAIL_LINES:]


def clean(scenario: Scenario) -> None:
    """Remove the scenario's containers and network, whoever left them, and Molecule's belief that they exist."""
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=cachestack-test={scenario.name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.stdout.split():
        subprocess.run(["docker", "rm", "-fv", *listed.stdout.split()], capture_output=True, check=False)
    subprocess.run(["docker", "network", "rm", f"cachestack-{scenario.name}"], capture_output=True, check=False)
    shutil.rmtree(scenario.scratch, ignore_errors=True)


def chosen(names: list[str]) -> list[Scenario]:
    """The scenarios of these names, or all, longest first; a name that is none ends the run with a hint."""
    known = sorted(path.parent.name for path in HERE.glob("*/molecule.yml"))
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "there are " + ", ".join(known)
            fail(f"no scenario {name!r}: {hint}")
    rank = {name: place for place, name in enumerate(LONGEST_FIRST)}
    return [Scenario(name) for name in sorted(set(names or known), key=lambda name: rank.get(name, -1))]


def fail(message: str) -> NoReturn:
    """End with exit code 2, which says wrong use or a machine that cannot run containers."""
    print(f"molecule/run.py: {message}", file=sys.stderr)
    raise SystemExit(2)


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Turn SIGINT and SIGTERM into an exception in the main thread."""
    raise Interruption(signal.Signals(number).name)


def wait_for_the_containers() -> TextIO:
    """Wait until no other run of this machine uses them, whose containers have the same names; return the lock."""
    lock = (Path(tempfile.gettempdir()) / "cachestack-containers.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another run uses the containers; waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def main(names: list[str]) -> int:
    """Run the named scenarios (all when none is named), print the table, return the exit code."""
    quick = "--quick" in names
    scenarios = chosen([name for name in names if name != "--quick"])
    jobs = os.environ.get("JOBS") or str((os.cpu_count() or 1) + 1)
    if not jobs.isdigit() or jobs == "0":
        fail(f"JOBS={jobs!r} is not a number of scenarios to run at a time")
    suites = sorted(set().union(*(scenario.suites for scenario in scenarios)))
    runner = Runner(os.environ.get("KEEP", "") == "1", quick)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    LOGS.mkdir(parents=True, exist_ok=True)
    alone = wait_for_the_containers()
    # What runs in the containers comes first, so that faults are timed and not this machine's load.
    os.nice(10)
    began = time.monotonic()
    if subprocess.run([str(HERE / "shared" / "test_host.sh"), *suites], check=False).returncode != 0:
        fail("this machine is not ready to run containers, see above")
    print(f"test host ready in {time.monotonic() - began:.0f} s: {', '.join(suites)}", flush=True)

    pool = ThreadPoolExecutor(max_workers=int(jobs))
    futures = [pool.submit(runner.run, scenario) for scenario in scenarios]
    try:
        for future in futures:
            future.result()
        for scenario in scenarios:
            if scenario.is_timed:
                # In a thread as well: an interruption of this one would wait for the end of the faults.
                pool.submit(runner.run_faults, scenario).result()
    except Interruption as reason:
        print(f"{reason}: removing the containers", file=sys.stderr, flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        runner.stop(scenarios)
        pool.shutdown(cancel_futures=True)
        for scenario in scenarios:
            clean(scenario)
        return 130

    width = max(len("scenario"), *(len(scenario.name) for scenario in scenarios))
    print(f"\n{'scenario':{width}}  result  seconds")
    for scenario in scenarios:
        print(f"{scenario.name:{width}}  {'FAILED' if scenario.faults else 'passed'}  {scenario.seconds:7.0f}")
        for fault in scenario.faults:
            print(f"{'':{width}}  {fault}")
    failed = sum(bool(scenario.faults) for scenario in scenarios)
    alone.close()
    print(f"\n{len(scenarios) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
