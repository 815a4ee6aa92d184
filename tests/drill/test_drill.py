"""The drill: which faults it chooses, and what it does to servers."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import PROJECT
from drill import judge, report, run
from drill.faults import FAULTS, Step
from drill.hosts import Deployment, DeploymentError, Host, HostError, Server
from drill.inject import Injector
from drill.run import choose
from drilled import APP, LIMITS, PASSWORD, server_of
from servers import Farm, RedisServer, free_port, wait_for


def deployment(*accesses: tuple[str, ...], mode: str = "sentinel") -> Deployment:
    return Deployment(mode, LIMITS, tuple(Host(str(index), one, "systemd") for index, one in enumerate(accesses)))


DOCKER = [("docker", "exec", "-i", name) for name in "abc"]


def test_all_faults_are_those_that_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    ids = [fault.id for fault in choose(deployment(*DOCKER), ["all"], ["ansible-playbook"])]
    assert ids == [fault.id for fault in FAULTS if "sentinel" in fault.modes]
    assert capsys.readouterr().out == ""
    ids = [fault.id for fault in choose(deployment((), ()), ["all"], [])]
    assert ids == ["F01", "F02", "F04", "F10", "F11", "F13"]
    skipped = capsys.readouterr().out
    assert (
        "F06 leader and app apart from the rest: skipped, it needs a machine, or a container, for each host" in skipped
    )
    assert "F16 whole site rebooted: skipped, it needs Docker containers" in skipped
    assert "F17 site.yml after a failover and CONFIG REWRITE (F18): skipped, it needs --site" in skipped


def test_the_headline_and_named_faults() -> None:
    assert [fault.id for fault in choose(deployment(()), None, [])] == ["F01"]
    assert [fault.id for fault in choose(deployment((), mode="cluster"), None, [])] == ["C01"]
    assert [fault.id for fault in choose(deployment(()), ["F04", "F01"], [])] == ["F01", "F04"]


@pytest.mark.parametrize(
    ("names", "mode", "said"),
    [
        (["F99"], "sentinel", "F99: this mode has F01, F02"),
        (["C01"], "sentinel", "C01: this mode has"),
        (["F07"], "sentinel", "F07: it needs a machine"),
        (None, "locmem", "locmem: this mode has none"),
    ],
)
def test_what_cannot_be_done_is_refused(names: list[str] | None, mode: str, said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        choose(deployment((), (), mode=mode), names, [])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"hosts": {}, "down_after": 1, "node_timeout": 1, "max_lag": 1}'])
def test_a_file_that_is_no_deployment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    command: list[Any] = [sys.executable, "-m", "drill.run", "--deployment", path]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"drill/run.py: {path}: ")


def test_the_agent_asks_and_shows_no_secret(farm: Farm) -> None:
    server, away = farm.server(PASSWORD), Server("redis", "127.0.0.1", free_port(), None)
    local = Host("here", (), "systemd")
    questions = [server_of(server).asked(["PING"], ["NONSENSE"], ["GET", "x"]), away.asked(["PING"], ["PING"])]
    there, gone = Deployment("standalone", LIMITS, (local,)).ask([(local, one) for one in questions])
    assert there[0] == "PONG"
    assert "unknown command" in there[1]["error"]
    assert there[2] is None
    assert [list(reply) for reply in gone] == [["error"]] * 2
    server.freeze()
    began = time.monotonic()
    [hanging] = Deployment("standalone", LIMITS, (local,)).ask([(local, server_of(server).asked(["PING"]))])
    server.thaw()
    assert "error" in hanging[0]
    assert time.monotonic() - began < 5


def injector(server: RedisServer, *site: str, folder: Path) -> Injector:
    """A deployment of one server, whose supervisor knows its process id and nothing else."""
    supervisorctl = ("sh", "-c", f"echo {server.process.pid}")
    host = Host("a", (), "supervisor", supervisorctl, redis=server_of(server))
    return Injector(Deployment("standalone", LIMITS, (host,)), site, folder / "site.log")


def test_everything_is_healed_whatever_happens(farm: Farm, tmp_path: Path) -> None:
    server = farm.server(PASSWORD)

    def hang() -> None:
        with injector(server, folder=tmp_path) as broken:
            broken.look()
            broken.do(Step("hang", ("leader",)))
            stat = Path(f"/proc/{server.process.pid}/stat")
            assert wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hang()
    assert server.ask("PING")


def test_a_run_of_the_site_is_counted(farm: Farm, tmp_path: Path) -> None:
    server = farm.server(PASSWORD)
    recap = "print('redis-1 : ok=9 changed=2 unreachable=0'); print('app-1 : ok=5    changed=1   ')"
    shown = "print(sys.argv, *(open(word[1:]).read() for word in sys.argv if word[0] == '@'))"
    script = f"import sys; {shown}; {recap}; sys.exit('fail' in sys.argv)"
    site = injector(server, sys.executable, "-c", script, folder=tmp_path)
    before = site.look()
    site.do(Step("site"))
    assert site.changed == 3
    assert (tmp_path / "site.log").read_text().splitlines()[0].endswith("site.json'] {}")
    with site:
        site.do(Step("site", ("databases",)))
        assert (tmp_path / "site.log").read_text().count('{"redis_config": {"databases": 17}}') == 1
    # And once more as the inventory has it.
    assert (
        (tmp_path / "site.log")
        .read_text()
        .splitlines()[-3]
        .endswith("'--tags', 'redis,redis_sentinel,redis_cluster'] {}")
    )
    failing = injector(server, sys.executable, "-c", script, "fail", folder=tmp_path)
    failing.do(Step("site"))
    assert failing.changed == math.inf
    site.note([*before, APP, replace(before[0], info={"run_id": "another"})])
    assert {name: len(runs) for name, runs in site.runs.items()} == {"a": 2}


@pytest.mark.parametrize(("tries", "kept"), [(1, False), (2, True), (3, True)])
def test_a_fault_may_be_done_once_more(tries: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = FAULTS[0]
    good = report.Result([judge.Verdict("F01", "leader killed", "writable <= 5.0 s", "2.5 s", True)], {})
    outcomes = [report.failed(fault.id, fault.title, "late"), good, good]
    monkeypatch.setattr(run, "attempt", lambda *_arguments, **_words: outcomes.pop(0))
    monkeypatch.setattr(report, "notes", lambda _figures: "")
    assert report.all_kept(run.drill(deployment(()), [fault], [], None, tries)) is kept
    assert len(outcomes) == (2 if tries == 1 else 1)


@pytest.mark.parametrize(("kept", "code"), [(True, 0), (False, 1)])
def test_a_broken_promise_fails_the_command(monkeypatch: pytest.MonkeyPatch, kept: bool, code: int) -> None:
    verdict = judge.Verdict("F01", "leader killed", "errors to callers <= 0", "0", kept)
    monkeypatch.setattr(run, "read_deployment", lambda _: None)
    monkeypatch.setattr(run, "choose", lambda *_: [])
    monkeypatch.setattr(run, "drill", lambda *_: [report.Result([verdict], {})])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert run.main(["--deployment", "deployment.json"]) == code


def test_nothing_is_broken_in_a_deployment_that_is_not_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Ill:
        wrong = ("redis-2 does not answer",)

        def __init__(self, *_: object) -> None:
            pass

        def settle(self, seconds: float) -> None:
            pass

    monkeypatch.setattr(run, "Injector", Ill)
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("it was broken"))
    ill = deployment((), ())
    with pytest.raises(HostError, match="not as it should be before the fault: redis-2 does not answer"):
        run.attempt(ill, FAULTS[0], [], tmp_path, is_first=True)
    # After another fault that is a broken promise.
    assert not report.all_kept([run.attempt(ill, FAULTS[0], [], tmp_path)])
