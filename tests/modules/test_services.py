"""Services under a real supervisord."""

from __future__ import annotations

import functools
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.process import newer_files, started_at
from ansible.module_utils.host.run import PartError, Run
from ansible.module_utils.host.services import (
    managed,
    service,
    service_absent,
    service_restarted,
    service_stopped,
)
from ansible.module_utils.host.supervisord import Supervisord
from ansible.module_utils.listening import listening_inodes

from servers import free_port, wait_for

SUPERVISORD = str(Path(sys.executable).with_name("supervisord"))
CONF = """[supervisord]
directory={directory}
logfile={directory}/logs/supervisord.log
pidfile={directory}/supervisord.pid
childlogdir={directory}/logs
umask=077

[unix_http_server]
file={directory}/supervisor.sock
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files=programs/*.conf
"""
# As roles/service/templates/program.conf.j2 has it, but for the second until supervisor calls it running.
PROGRAM = """[program:{name}]
command=/bin/sh -c {command}
directory=/
autostart=true
autorestart=true
startsecs={seconds}
startretries=1000000
stopwaitsecs=30
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={directory}/logs/{name}.log
"""
# On one line, as a command of supervisor's has to be.
LISTEN = "import socket, sys, time; kept = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


class Place:
    """A directory of supervisord's, short enough for its socket, and parameters of services in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.conf = CONF.format(directory=directory)
        self.daemon = Supervisord(str(directory), self.conf, SUPERVISORD)

    def params(
        self, name: str = "shop", command: str = "exec sleep 600", seconds: int = 0, **more: Any
    ) -> dict[str, Any]:
        """What the control side hands to the part."""
        quoted = shlex.quote(command).replace("%", "%%")
        unit = PROGRAM.format(name=name, command=quoted, directory=self.directory, seconds=seconds)
        return {
            "name": name,
            "manager": "supervisor",
            "unit_path": str(self.unit(name)),
            "unit": unit,
            "supervisor": {"directory": str(self.directory), "conf": self.conf, "program": SUPERVISORD},
            **more,
        }

    def which(self, name: str = "shop", **more: Any) -> dict[str, Any]:
        """What a part gets that does not describe the service."""
        params = self.params(name)
        return {key: params[key] for key in ("name", "manager", "supervisor")} | more

    def retired(self, name: str = "shop") -> dict[str, Any]:
        return self.which(name, unit_path=str(self.unit(name)))

    def unit(self, name: str = "shop") -> Path:
        return self.directory / "programs" / f"{name}.conf"

    def pid(self, name: str = "shop") -> int:
        return int(self.daemon.process(name).get("pid", 0))

    def command(self, name: str = "shop") -> str:
        """What the process runs by now."""
        return Path(f"/proc/{self.pid(name)}/cmdline").read_text().replace("\0", " ").strip()

    def supervisord_pid(self) -> int:
        return int((self.directory / "supervisord.pid").read_text())


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("s") / "services")
    yield place
    place.daemon.shutdown()


def apply(params: dict[str, Any]) -> dict[str, Any]:
    return service(params, Run())


def compare(params: dict[str, Any]) -> dict[str, Any]:
    return service(params, Run(check_mode=True))


def age(path: Path) -> None:
    """Have a file be older than every process."""
    os.utime(path, (1, 1))


def touch(path: Path, pid: int) -> None:
    """Write a file after a process has started, of which the kernel knows the moment to a hundredth of a second."""

    def is_newer() -> bool:
        path.touch()
        return bool(newer_files([str(path)], started_at(pid)))

    assert wait_for(is_newer)


def test_an_empty_host_in_check_mode(place: Place) -> None:
    result = compare(place.params())
    assert (result["changed"], result["running"], result["started"], result["described"]) == (True, False, True, True)
    assert not place.directory.exists()


def test_the_first_service_starts_supervisord(place: Place) -> None:
    result = apply(place.params(seconds=1))
    assert (result["changed"], result["running"], result["started"], result["restarted"]) == (True, False, True, False)
    assert place.daemon.process("shop")["statename"] == "RUNNING"
    assert result["pid"] == place.pid() > 0
    assert (place.directory / "supervisord.conf").read_text() == place.conf
    modes = {path.name: path.stat().st_mode & 0o777 for path in place.directory.iterdir()}
    assert {name: modes[name] for name in ("programs", "logs", "supervisord.conf")} == {
        "programs": 0o700,
        "logs": 0o700,
        "supervisord.conf": 0o600,
    }
    assert place.unit().stat().st_mode & 0o777 == 0o600


def test_what_runs_is_left_alone_at_once_and_later(place: Place) -> None:
    pid = apply(place.params())["pid"]
    for look in (compare, apply, compare):
        result = look(place.params(files=[sys.executable]))
        assert (result["changed"], result["stale"], result["newer"], result["pid"]) == (False, False, [], pid)


def test_a_service_is_up_when_it_listens(place: Place) -> None:
    """Which is before supervisor calls it running."""
    port = free_port()
    command = f"exec {sys.executable} -c {shlex.quote(LISTEN)} {port}"
    params = place.params(command=command, seconds=60, address="127.0.0.1", port=port)
    assert apply(params)["pid"] == place.pid()
    assert place.daemon.process("shop")["statename"] == "STARTING"
    assert listening_inodes(port)
    assert not apply(params)["changed"]


def test_a_newer_file_restarts_it(place: Place, tmp_path: Path) -> None:
    setting = tmp_path / "settings.py"
    setting.touch()
    age(setting)
    params = place.params(files=[str(setting), str(tmp_path / "absent")])
    first = apply(params)["pid"]
    touch(setting, first)
    seen = compare(params)
    assert (seen["changed"], seen["stale"], seen["restarted"], seen["newer"]) == (True, True, True, [str(setting)])
    assert place.pid() == first
    result = apply(params)
    assert (result["restarted"], result["running"]) == (True, True)
    assert result["pid"] == place.pid() != first
    assert not apply(params)["changed"]


def test_a_file_that_check_mode_does_not_write_is_newer_all_the_same(place: Place, tmp_path: Path) -> None:
    params = place.params(files=[str(tmp_path / "settings.py")])
    apply(params)
    run = Run(check_mode=True)
    run.write(str(tmp_path / "settings.py"), "DEBUG = False\n")
    result = service(params, run)
    assert (result["changed"], result["newer"]) == (True, [str(tmp_path / "settings.py")])


def test_a_stale_service_may_be_left_to_the_caller(place: Place, tmp_path: Path) -> None:
    setting = tmp_path / "settings.py"
    params = place.params(files=[str(setting)], restart=False)
    pid = apply(params)["pid"]
    touch(setting, pid)
    result = apply(params)
    assert (result["changed"], result["stale"], result["restarted"], result["pid"]) == (False, True, False, pid)
    # And it is never forgotten.
    assert apply(params)["stale"]
    assert service_restarted(place.which(), Run())["pid"] != pid
    assert not apply(params)["stale"]


@pytest.mark.parametrize("restart", [True, False])
def test_another_description(place: Place, restart: bool) -> None:
    first = apply(place.params())["pid"]
    changed = place.params(command="exec sleep 601", restart=restart)
    seen = compare(changed)
    result = apply(changed)
    keys = ("changed", "described", "stale", "restarted", "newer", "running")
    assert [seen[key] for key in keys] == [result[key] for key in keys] == [True, True, True, restart, [], True]
    assert (place.pid() != first) == restart
    # Where it was left to the caller it is still to be done.
    assert apply(changed)["stale"] != restart
    if not restart:
        service_restarted(place.which(), Run())
    assert wait_for(lambda: place.command() == "sleep 601")
    assert not apply(changed)["stale"]


def test_a_description_that_was_written_and_never_read(place: Place) -> None:
    """A run was cut short after it, and the process has ended by itself since, so that it is newer than its file."""
    apply(place.params())
    changed = place.params(command="exec sleep 601")
    Run().write(changed["unit_path"], changed["unit"], mode="0600")
    age(place.unit())
    result = compare(changed)
    assert (result["changed"], result["described"], result["newer"], result["stale"]) == (True, False, [], True)
    assert apply(changed)["restarted"]
    assert not apply(changed)["changed"]


def test_a_program_that_was_replaced(place: Place, tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    params = place.params(command=f"exec {program} 600")
    apply(params)
    assert wait_for(lambda: place.command() == f"{program} 600")
    program.rename(tmp_path / "old")
    assert not compare(params)["stale"]
    (tmp_path / "old").unlink()
    assert compare(params)["stale"]


def test_a_stopped_service_is_started(place: Place) -> None:
    first = apply(place.params())["pid"]
    assert service_stopped(place.which(), Run(check_mode=True)) == {"changed": True}
    assert place.pid() == first
    assert service_stopped(place.which(), Run()) == {"changed": True}
    assert place.pid() == 0
    assert service_stopped(place.which(), Run()) == {"changed": False}
    seen = compare(place.params())
    assert (seen["changed"], seen["running"], seen["described"]) == (True, False, False)
    assert apply(place.params())["started"]
    # One that had ended is started with what has changed since.
    service_stopped(place.which(), Run())
    assert apply(place.params(command="exec sleep 601"))["started"]
    assert wait_for(lambda: place.command() == "sleep 601")


def test_a_service_that_does_not_come_up_says_why(place: Place) -> None:
    with pytest.raises(
        PartError, match=r"(?s)^shop does not come up: .*Its log ends with: .*no such setting"
    ) as failure:
        apply(place.params(command="echo no such setting; exit 3", seconds=1))
    assert "password" not in str(failure.value)
    # It waits to be started again, which must not make the next run wait, nor fail.
    assert wait_for(lambda: place.daemon.process("shop")["statename"] == "BACKOFF")
    seen = compare(place.params())
    assert (seen["changed"], seen["running"], seen["started"]) == (True, False, True)
    assert apply(place.params())["pid"] == place.pid() > 0


def test_a_service_that_fails_for_another_reason_than_its_description(place: Place, tmp_path: Path) -> None:
    """Supervisor waits before it tries again, and longer each time; a run does not wait for that."""
    params = place.params(command=f"test -e {tmp_path}/ready || exit 3; exec sleep 600", seconds=1)
    with pytest.raises(PartError):
        apply(params)
    assert place.daemon.process("shop")["statename"] == "BACKOFF"
    (tmp_path / "ready").touch()
    assert apply(params)["pid"] == place.pid() > 0


def test_the_port_of_another_process(place: Place) -> None:
    port = free_port()
    params = place.params(address="127.0.0.1", port=port, port_variable="shop_port")
    with subprocess.Popen([sys.executable, "-c", LISTEN, str(port)]) as stranger:
        try:
            assert wait_for(lambda: listening_inodes(port))
            for look in (compare, apply):
                with pytest.raises(PartError) as failure:
                    look(params)
                assert str(failure.value).startswith(f"shop: port {port} on 127.0.0.1 is taken by ")
                assert f"(process {stranger.pid}); stop it, or set shop_port to a free port" in str(failure.value)
        finally:
            stranger.kill()
    assert not place.unit().exists()


def test_a_service_is_retired(place: Place) -> None:
    apply(place.params())
    pid = apply(place.params("other"))["pid"]
    assert service_absent(place.retired(), Run(check_mode=True)) == {"changed": True}
    assert place.pid()
    assert service_absent(place.retired(), Run()) == {"changed": True}
    assert place.daemon.process("shop") == {}
    assert service_absent(place.retired(), Run()) == {"changed": False}
    assert place.pid("other") == pid


def test_a_service_is_retired_where_supervisord_does_not_run(place: Place) -> None:
    apply(place.params())
    place.daemon.shutdown()
    assert service_absent(place.retired(), Run()) == {"changed": True}
    assert not place.unit().exists()


def test_a_retirement_that_was_cut_short(place: Place) -> None:
    """Stopped, but still described: found again, and done again."""
    apply(place.params())
    service_stopped(place.which(), Run())
    assert service_absent(place.retired(), Run()) == {"changed": True}
    assert place.daemon.process("shop") == {}
    # And where the description was deleted and supervisor not told, a new one starts it.
    apply(place.params())
    service_stopped(place.which(), Run())
    place.unit().unlink()
    assert apply(place.params())["pid"] == place.pid() > 0


def test_after_supervisord_was_shut_down(place: Place) -> None:
    """It starts what it has files of; a service whose file changed starts with the new one, once."""
    apply(place.params())
    apply(place.params("other"))
    place.daemon.shutdown()
    assert not (place.directory / "supervisor.sock").exists()
    changed = place.params(command="exec sleep 601")
    assert compare(changed)["started"]
    assert apply(changed)["started"]
    assert wait_for(lambda: place.command() == "sleep 601")
    assert not apply(changed)["changed"]
    assert not apply(place.params("other"))["changed"]


def test_after_supervisord_was_killed(place: Place) -> None:
    """Its socket is still there, and nobody answers."""
    apply(place.params())
    child = place.pid()
    os.kill(place.supervisord_pid(), signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    assert compare(place.params())["started"]
    assert apply(place.params())["pid"] == place.pid() > 0


def test_a_supervisord_that_is_about_to_end(place: Place) -> None:
    """Somebody ran `make down`, and a program takes its time."""
    slow = place.params(command="trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done")
    apply(slow)
    old = place.supervisord_pid()
    os.kill(old, signal.SIGTERM)
    assert apply(slow)["pid"] == place.pid() > 0
    assert place.supervisord_pid() != old


def test_hosts_of_one_machine_at_once(place: Place) -> None:
    names = [f"shop-{number}" for number in range(6)]
    results = at_once([functools.partial(apply, place.params(name)) for name in names])
    assert all(result["changed"] for result in results)
    assert len({result["pid"] for result in results}) == len(names)
    log = (place.directory / "logs" / "supervisord.log").read_text()
    assert log.count("supervisord started with pid") == 1
    results = at_once([functools.partial(apply, place.params(name)) for name in names])
    assert not any(result["changed"] for result in results)


def at_once(calls: list[Callable[[], dict[str, Any]]]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: results.append(calls.pop()())) for _ in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_restart(place: Place) -> None:
    first = apply(place.params())["pid"]
    assert service_restarted(place.which(), Run(check_mode=True))["changed"]
    assert place.pid() == first
    assert service_restarted(place.which(), Run())["pid"] == place.pid() != first
    # Also of one that does not run.
    service_stopped(place.which(), Run())
    assert service_restarted(place.which(), Run())["pid"] == place.pid() > 0


def test_a_file_that_supervisor_cannot_read(place: Place) -> None:
    apply(place.params())
    place.unit("other").write_text("[program:other]\n")
    # It is not this service's, which runs.
    assert not compare(place.params())["changed"]
    with pytest.raises(PartError, match=r"^supervisor refuses its configuration: .*program:other"):
        service_restarted(place.which(), Run())


def test_supervisord_that_does_not_start(place: Place) -> None:
    params = place.params()
    params["supervisor"]["program"] = "/absent/supervisord"
    with pytest.raises(PartError, match=r"^supervisor does not start: /absent/supervisord: No such file or directory$"):
        apply(params)
    place.unit().write_text("[program:shop]\n")
    with pytest.raises(PartError, match=r"(?s)^supervisor does not start: .*program:shop"):
        place.daemon.run()
    with pytest.raises(PartError, match=r"does not run$"):
        Supervisord(str(place.directory)).run()


def test_a_service_that_is_only_asked_for(place: Place) -> None:
    """As a listener of the probe is: no more is known of it than its name and the directory."""
    asked = {"name": "shop", "manager": "supervisor", "supervisor": {"directory": str(place.directory)}}
    assert managed(asked).state().pid == 0
    pid = apply(place.params())["pid"]
    assert managed(asked).state().pid == pid
    began = time.monotonic()
    managed(asked).state()
    assert time.monotonic() - began < 5
