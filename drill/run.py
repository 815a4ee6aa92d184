"""Break a deployment on purpose, under load, and compare what happens with what is promised.

    python -m drill.run --deployment FILE [--faults F01 ...|all] [--report DIR] [--site "ansible-playbook ... site.yml"]

Exit code 0: every promise was kept, 1: one was broken, 2: wrong use, or a deployment in which it cannot be done.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from drill import report
from drill.faults import FAULTS, HEADLINES, Fault
from drill.hosts import Deployment, DeploymentError, HostError, read_deployment
from drill.inject import PAUSE, Injector
from drill.judge import Measured, caught_up, verdicts
from drill.load import Load, LoadError, Prober
from drill.report import Result

# Seconds of load before the fault, in which a thousand keys are written, and after all is well again.
WARM_UP, CALM = 3.0, 1.0
# Seconds that a write is tried beyond the time that a failover takes.
PATIENCE = 8.0
# Seconds until all is as it should be, before anything is done.
STARTING = 30.0
# Seconds that replicas are waited for.
CATCHING_UP = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Break a deployment under load, and compare that with its promises.")
    parser.add_argument("--deployment", type=Path, required=True, help="the JSON that describes it")
    parser.add_argument("--faults", nargs="+", metavar="NAME", help="which, or all; default: the headline of the mode")
    parser.add_argument("--report", type=Path, help="folder for drill.md and drill.json")
    parser.add_argument("--tries", type=int, default=1, help="how often a fault is done until its promises are kept")
    parser.add_argument("--site", type=shlex.split, default=[], help="the command that deploys it")
    chosen = parser.parse_args(arguments)
    # So that everything is healed as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        deployment = read_deployment(chosen.deployment)
        faults = choose(deployment, chosen.faults, chosen.site)
        results = drill(deployment, faults, chosen.site, chosen.report, chosen.tries)
    except (DeploymentError, HostError) as error:
        print(f"drill/run.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if report.all_kept(results) else 1


def choose(deployment: Deployment, names: list[str] | None, site: list[str]) -> list[Fault]:
    """Return the faults in the order of the table; say which of `all` are skipped. Raise DeploymentError for others."""
    of_mode = [fault for fault in FAULTS if deployment.mode in fault.modes]
    lacks = {fault.id: deployment.lacks(fault.needs, site) for fault in of_mode}
    if names == ["all"]:
        for fault in of_mode:
            if lacks[fault.id]:
                print(f"{fault.id} {fault.title}: skipped, {lacks[fault.id]}")
        return [fault for fault in of_mode if not lacks[fault.id]]
    wanted = names or [HEADLINES.get(deployment.mode, "")]
    for name in wanted:
        if lacks.get(name, "no such fault"):
            known = ", ".join(fault.id for fault in of_mode) or "none"
            raise DeploymentError(f"{name or deployment.mode}: {lacks.get(name, f'this mode has {known}')}")
    return [fault for fault in of_mode if fault.id in wanted]


def drill(
    deployment: Deployment, faults: list[Fault], site: list[str], folder: Path | None, tries: int = 1
) -> list[Result]:
    """Do one fault after the other, print and write what came of each. Raise HostError if it is not whole before.

    A machine that does other things as well can be late by itself: with several `tries` the last one counts.
    """
    results: list[Result] = []
    with ExitStack() as stack:
        logs = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachestack-drill-")))
        logs.mkdir(parents=True, exist_ok=True)
        for fault in faults:
            print(f"{fault.id} {fault.title} ...", flush=True)
            result = attempt(deployment, fault, site, logs, is_first=not results)
            for _ in range(1, tries):
                if not report.all_kept([result]):
                    print(f"{report.lines(result.verdicts)}\n{fault.id} {fault.title}, once more ...", flush=True)
                    result = attempt(deployment, fault, site, logs)
            results.append(result)
            print(report.lines(result.verdicts))
            print(f"    {report.notes(result.figures)}\n", flush=True)
            if folder:
                write(results, deployment, folder)
    print(report.summary(results))
    return results


def attempt(deployment: Deployment, fault: Fault, site: list[str], logs: Path, *, is_first: bool = False) -> Result:
    """Do one fault, heal it, and compare. What goes wrong with the drill itself is a broken promise, too.

    Raise HostError if the deployment is not whole before the first fault.
    """
    log = logs / f"site-{fault.id}.log"
    log.unlink(missing_ok=True)
    injector = Injector(deployment, site, log)
    try:
        injector.settle(seconds=STARTING)
        if injector.wrong:
            raise HostError(f"not as it should be before the fault: {'; '.join(injector.wrong)}")
    except HostError as error:
        if is_first:
            raise
        return report.failed(fault.id, fault.title, str(error))
    try:
        measured = measure(injector, deployment, fault, logs / f"load-{fault.id}.log")
    except (HostError, LoadError) as error:
        return report.failed(fault.id, fault.title, f"{error} {'; '.join(injector.wrong)}")
    return Result(verdicts(fault, measured), report.figures(measured))


def measure(injector: Injector, deployment: Deployment, fault: Fault, log: Path) -> Measured:
    """Do one fault under load, and heal it."""
    limits = deployment.limits
    with injector, ExitStack() as stack:
        for step in fault.prepare:
            injector.do(step)
        load = prober = None
        if fault.load:
            deadline = max(limits.down_after, limits.node_timeout) + PATIENCE
            load = stack.enter_context(Load(deployment.app, deadline, log))
            prober = stack.enter_context(Prober(deployment.app))
            # Before the load ends, which deletes its keys.
            stack.enter_context(injector)
            time.sleep(WARM_UP)
        before = injector.look()
        begun = time.time()
        injected = 0.0
        for step in fault.steps:
            injector.do(step)
            injected = injected or time.time()
        during = deployment.look()
        injector.note(during)
        runs = {name: list(run_ids) for name, run_ids in injector.runs.items()}
        undoing = time.time()
        injector.heal()
        healed = time.time()
        injector.settle()
        done = None
        if load:
            time.sleep(CALM)
            done = load.check()
        # Which writes, too.
        answers = prober.finish() if prober else []
        offsets = until_caught_up(deployment)
    return Measured(
        limits,
        begun=begun,
        injected=injected,
        undoing=undoing,
        healed=healed,
        ended=done.ended if done else time.time(),
        settled=injector.settled,
        demoted=injector.demoted,
        bringing=injector.bringing,
        returned=injector.returned,
        offsets=offsets,
        changed=injector.changed,
        writes=done.writes if done else (),
        reads=done.reads if done else (),
        answers=answers,
        lost=done.lost if done else (),
        before=before,
        during=during,
        runs=runs,
        wrong=injector.wrong,
    )


def until_caught_up(deployment: Deployment) -> float:
    """Return how long it takes, in seconds, until replicas have what leaders have now; infinite if too long.

    Counted is when they were asked, since their answers take as long as the machine is busy.
    """
    earlier = deployment.look(app=False)
    began = asked = time.time()
    while asked < began + CATCHING_UP:
        if caught_up(earlier, deployment.look(app=False)):
            return asked - began
        time.sleep(PAUSE)
        asked = time.time()
    return math.inf


def write(results: list[Result], deployment: Deployment, folder: Path) -> None:
    """Write the reports of all that was done so far."""
    about = {"mode": deployment.mode, "limits": vars(deployment.limits), "date": time.strftime("%Y-%m-%d %H:%M:%S")}
    limits = ", ".join(f"{name} {value:g} s" for name, value in vars(deployment.limits).items() if value)
    (folder / "drill.md").write_text(report.markdown(results, f"Mode {deployment.mode}: {limits}."), "utf-8")
    (folder / "drill.json").write_text(json.dumps(report.as_json(results, about), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
