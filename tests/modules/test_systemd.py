"""Services under systemd, which a program of the test stands for: it keeps state in files and records its calls."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host import services
from ansible.module_utils.host.process import newer_files, started_at
from ansible.module_utils.host.run import PartError, Run
from ansible.module_utils.host.services import Systemd, service, service_absent, service_restarted, service_stopped

from servers import wait_for

# Its state is in files of its directory: `pid` of the process, `enabled`, `reload` where the unit was not read.
SYSTEMCTL = """#!/bin/sh
cd {directory}
echo "$*" >> calls
start() {{
    [ -e broken ] && {{ echo "Job for $1.service failed." >&2; exit 1; }}
    [ -e reload ] && {{ echo "Warning: the unit changed on disk." >&2; exit 1; }}
    [ -e brief ] && return
    sleep 600 > /dev/null 2>&1 & echo $! > pid
    echo $! >> pids
}}
stop() {{ [ -s pid ] && kill $(cat pid); rm -f pid; }}
case "$1" in
show)
    echo "MainPID=$(cat pid 2> /dev/null || echo 0)"
    [ -s pid ] && echo ActiveState=active || echo ActiveState=inactive
    [ -e enabled ] && echo UnitFileState=enabled || echo UnitFileState=disabled
    [ -e reload ] && echo NeedDaemonReload=yes || echo NeedDaemonReload=no ;;
daemon-reload) rm -f reload ;;
enable) touch enabled ;;
disable) stop; rm -f enabled ;;
start) [ -s pid ] || start "$2" ;;
restart) stop; start "$2" ;;
stop) stop ;;
*) exit 2 ;;
esac
"""
JOURNALCTL = """#!/bin/sh
[ "$*" = "--unit shop --lines=10 --no-pager --output=cat" ] && echo "Bad directive on line 3"
"""


class Fake:
    """The systemd of one host, and the parameters of a service on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.unit = directory / "shop.service"

    def params(self, text: str = "[Service]\nExecStart=/bin/shop\n", **more: Any) -> dict[str, Any]:
        return {"name": "shop", "manager": "systemd", "unit_path": str(self.unit), "unit": text, **more}

    def which(self) -> dict[str, Any]:
        return {"name": "shop", "manager": "systemd"}

    def apply(self, text: str = "[Service]\nExecStart=/bin/shop\n", **more: Any) -> dict[str, Any]:
        """Apply, and leave the unit's file as old as one of former days."""
        result = service(self.params(text, **more), Run())
        os.utime(self.unit, (1, 1))
        return result

    def calls(self) -> list[str]:
        """What was asked since the last time, by the first word."""
        path = self.directory / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split()[0] for line in lines]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL)):
        (tmp_path / name).write_text(text.format(directory=tmp_path))
        (tmp_path / name).chmod(0o755)
    yield Fake(tmp_path)
    pids = tmp_path / "pids"
    if pids.exists():
        subprocess.run(["kill", *pids.read_text().split()], capture_output=True, check=False)


def touch(path: Path, pid: int) -> None:
    """Write a file after a process has started, of which the kernel knows the moment to a hundredth of a second."""

    def is_newer() -> bool:
        path.touch()
        return bool(newer_files([str(path)], started_at(pid)))

    assert wait_for(is_newer)


def test_a_new_service(fake: Fake) -> None:
    seen = service(fake.params(), Run(check_mode=True))
    assert (seen["changed"], seen["running"], seen["started"], seen["described"]) == (True, False, True, True)
    assert fake.calls() == ["show"]
    assert not fake.unit.exists()
    result = fake.apply()
    assert {key: result[key] for key in seen if key != "pid"} == {key: seen[key] for key in seen if key != "pid"}
    assert result["pid"] == int((fake.directory / "pid").read_text())
    assert fake.calls() == ["show", "daemon-reload", "enable", "start", "show"]
    assert fake.unit.stat().st_mode & 0o777 == 0o644


def test_what_runs_costs_one_question(fake: Fake) -> None:
    pid = fake.apply()["pid"]
    fake.calls()
    for run in (Run(check_mode=True), Run()):
        result = service(fake.params(files=[str(fake.directory / "absent")]), run)
        assert (result["changed"], result["stale"], result["pid"]) == (False, False, pid)
        assert fake.calls() == ["show"]


@pytest.mark.parametrize("restart", [True, False])
def test_another_description(fake: Fake, restart: bool) -> None:
    first = fake.apply()["pid"]
    fake.calls()
    seen = service(fake.params("[Service]\n", restart=restart), Run(check_mode=True))
    result = service(fake.params("[Service]\n", restart=restart), Run())
    for found in (seen, result):
        keys = ("changed", "described", "stale", "restarted", "running")
        assert [found[key] for key in keys] == [True, True, True, restart, True]
    assert (result["pid"] != first) == restart
    assert fake.calls() == ["show", "show", "daemon-reload", *(["restart", "show"] if restart else [])]
    # What was left to the caller is still to be done.
    again = service(fake.params("[Service]\n", restart=restart), Run())
    assert (again["changed"], again["stale"]) == (False, not restart)
    assert again["newer"] == ([] if restart else [str(fake.unit)])


def test_a_newer_file(fake: Fake, tmp_path: Path) -> None:
    touch(tmp_path / "settings.py", fake.apply()["pid"])
    fake.calls()
    result = service(fake.params(files=[str(tmp_path / "settings.py")]), Run())
    assert (result["restarted"], result["newer"]) == (True, [str(tmp_path / "settings.py")])
    assert fake.calls() == ["show", "restart", "show"]


def test_a_unit_that_was_written_and_never_read(fake: Fake) -> None:
    """A run was cut short, and the process is newer than the file, but was started as the former unit says."""
    first = fake.apply()["pid"]
    (fake.directory / "reload").touch()
    fake.calls()
    assert service(fake.params(), Run(check_mode=True))["stale"]
    result = service(fake.params(), Run())
    assert (result["changed"], result["described"], result["restarted"]) == (True, False, True)
    assert result["pid"] != first
    assert fake.calls() == ["show", "show", "daemon-reload", "restart", "show"]


@pytest.mark.parametrize("change", ["disabled", "mode"])
def test_what_else_differs(fake: Fake, change: str) -> None:
    """A service that does not start with the machine, or a unit that others may write: no reason to restart it."""
    pid = fake.apply()["pid"]
    if change == "disabled":
        (fake.directory / "enabled").unlink()
    else:
        fake.unit.chmod(0o666)
    for run in (Run(check_mode=True), Run()):
        result = service(fake.params(), run)
        assert (result["changed"], result["stale"], result["described"], result["pid"]) == (True, False, False, pid)
    assert not service(fake.params(), Run())["changed"]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("broken", "systemctl start shop: Job for shop.service failed. Its journal ends with: Bad directive on line 3"),
        ("brief", "shop was started and does not run. Its journal ends with: Bad directive on line 3"),
    ],
)
def test_a_service_that_does_not_come_up_says_why(fake: Fake, how: str, text: str) -> None:
    (fake.directory / how).touch()
    with pytest.raises(PartError) as failure:
        service(fake.params(), Run())
    assert str(failure.value) == text
    # The next run tries again.
    (fake.directory / how).unlink()
    assert service(fake.params(), Run())["started"]


def test_a_service_is_stopped(fake: Fake) -> None:
    assert service_stopped(fake.which(), Run()) == {"changed": False}
    fake.apply()
    fake.calls()
    assert service_stopped(fake.which(), Run(check_mode=True)) == {"changed": True}
    assert fake.calls() == ["show"]
    assert service_stopped(fake.which(), Run()) == {"changed": True}
    assert fake.calls() == ["show", "stop"]
    assert Systemd("shop").state().pid == 0


def test_a_service_is_restarted(fake: Fake) -> None:
    first = fake.apply()["pid"]
    assert service_restarted(fake.which(), Run(check_mode=True))["changed"]
    (fake.directory / "reload").touch()
    fake.calls()
    assert service_restarted(fake.which(), Run())["pid"] not in (0, first)
    assert fake.calls() == ["show", "daemon-reload", "restart", "show"]


def test_a_service_is_retired(fake: Fake) -> None:
    retired = {**fake.which(), "unit_path": str(fake.unit)}
    assert service_absent(retired, Run()) == {"changed": False}
    fake.apply()
    fake.calls()
    assert service_absent(retired, Run(check_mode=True)) == {"changed": True}
    assert fake.calls() == []
    assert service_absent(retired, Run()) == {"changed": True}
    assert fake.calls() == ["disable", "daemon-reload"]
    assert not fake.unit.exists()
    assert Systemd("shop").state() == services.State()


def test_a_host_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/absent")
    unit = tmp_path / "shop.service"
    params = {"name": "shop", "manager": "systemd", "unit_path": str(unit), "unit": "[Service]\n"}
    seen = service(params, Run(check_mode=True))
    assert (seen["changed"], seen["running"]) == (True, False)
    assert service_stopped({"name": "shop", "manager": "systemd"}, Run()) == {"changed": False}
    with pytest.raises(PartError, match=r"^there is no systemd on this host: systemctl: No such file or directory$"):
        service(params, Run())
    # What was not done is done by the next run, which finds the unit as it is to be.
    assert service(params, Run(check_mode=True))["changed"]


def test_systemctl_where_systemd_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: it says so, and prints no properties."""
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'System has not been booted with systemd' >&2; exit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert Systemd("shop").state() == services.State()
    with pytest.raises(PartError, match=r"^systemctl start shop: System has not been booted with systemd"):
        Systemd("shop").call("start")


def test_a_process_that_ends_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer names a process that is gone; the second one's runs."""
    pids = [4194304, os.getpid()]
    monkeypatch.setattr(Systemd, "state", lambda _: services.State(pid=pids.pop(0)))
    state, began = services.look(Systemd("shop"))
    assert state.pid == os.getpid()
    assert began > 0


def test_a_parameter_that_nobody_knows(fake: Fake) -> None:
    with pytest.raises(PartError, match="prot is unknown"):
        service(fake.params(prot=80), Run())
