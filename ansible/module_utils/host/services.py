"""Services under systemd or supervisor: parts of a host's state. Each function raises PartError."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Union

from ansible.module_utils.host.process import is_replaced, is_taken, newer_files, started_at
from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked
from ansible.module_utils.listening import owner

if TYPE_CHECKING:
    from ansible.module_utils.host.supervisord import Supervisord

# What systemd is asked for.
PROPERTIES = ("MainPID", "ActiveState", "UnitFileState", "NeedDaemonReload")


@dataclass(frozen=True)
class State:
    """What the manager of services says of one.

    ``pid`` is 0 where it has no process; ``active`` is whether it runs or is on its way; ``enabled`` whether it starts
    with the machine; ``outdated`` whether the manager has loaded another description than the file's.
    """

    pid: int = 0
    active: bool = False
    enabled: bool = False
    outdated: bool = False


class Systemd:
    """A service of systemd's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def state(self) -> State:
        """What systemd says of the service; nothing where it does not run."""
        try:
            shown = self._run("show", f"--property={','.join(PROPERTIES)}", self.name)
        except PartError:
            return State()
        words = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
        pid = words.get("MainPID", "")
        return State(
            pid=int(pid) if shown.returncode == 0 and pid.isdigit() else 0,
            active=words.get("ActiveState", "inactive") not in ("inactive", "failed"),
            enabled=words.get("UnitFileState") == "enabled",
            outdated=words.get("NeedDaemonReload") == "yes",
        )

    def prepare(self) -> None:
        """Make what the description needs around it: nothing."""

    def describe(self, path: str, text: str, run: Run) -> list[str]:
        """Write the unit; returns what differed."""
        # It is root's, who alone can do this on a server.
        return run.write(path, text, owner=str(os.geteuid()), group=str(os.getegid()), mode="0644")

    def apply(self, state: State, restart: bool) -> int:
        """Load the description, and have the service started now and with the machine. Returns its process id."""
        if state.outdated:
            self.reload_units()
        if not state.enabled:
            self.enable()
        if restart or not state.pid:
            self.call("restart" if restart else "start")
            state = self.state()
            if not state.active:
                raise PartError(f"{self.name} was started and does not run.{self._journal()}")
        return state.pid

    def stop(self) -> None:
        """Stop the service."""
        self.call("stop")

    def retire(self) -> None:
        """Stop the service, which is about to lose its description."""
        self.call("disable", "--now")

    def forget(self) -> None:
        """Have systemd see that the description is gone."""
        self.reload_units()

    def enable(self) -> None:
        """Have the service start with the machine."""
        self.call("enable")

    def reload_units(self) -> None:
        """Have systemd read the descriptions again."""
        result = self._run("daemon-reload")
        if result.returncode:
            raise PartError(f"systemd does not read its units: {result.stderr.strip()}")

    def call(self, verb: str, *options: str) -> None:
        """Have systemd do something with the service. Fails with the last lines of its journal."""
        result = self._run(verb, *options, self.name)
        if result.returncode:
            raise PartError(f"systemctl {verb} {self.name}: {result.stderr.strip()}{self._journal()}")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(["systemctl", *words], capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise PartError(f"there is no systemd on this host: systemctl: {error.strerror}") from error

    def _journal(self) -> str:
        """The last lines of the service's journal, as a sentence of their own."""
        command = ["journalctl", "--unit", self.name, "--lines=10", "--no-pager", "--output=cat"]
        try:
            result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError:
            return ""
        return " Its journal ends with: " + result.stdout.strip() if result.stdout.strip() else ""


class Supervisor:
    """A service of supervisor's."""

    def __init__(self, name: str, supervisord: Supervisord, port: int = 0) -> None:
        self.name, self._supervisord, self._port = name, supervisord, port

    def state(self) -> State:
        """What supervisor says of the service; nothing where it does not run."""
        process = self._supervisord.process(self.name)
        pid = int(process.get("pid", 0))
        # One that ended and waits to be started again is in BACKOFF.
        active = process.get("statename") in ("STARTING", "RUNNING", "BACKOFF", "STOPPING")
        return State(pid, active, enabled=True, outdated=bool(pid) and self._supervisord.is_outdated(self.name))

    def prepare(self) -> None:
        """Make the directory of the description."""
        self._supervisord.make_directories()

    def describe(self, path: str, text: str, run: Run) -> list[str]:
        """Write the program's file; returns what differed."""
        return run.write(path, text, mode="0600")

    def apply(self, state: State, restart: bool) -> int:
        """Start supervisor and the service, or restart it; returns its process id.

        A service that runs and is not to be restarted goes on with its former description.
        """
        self._supervisord.run()
        if state.pid and not restart:
            return state.pid
        # What is new or changed starts with its description.
        if not self._supervisord.update(self.name):
            if restart:
                self._supervisord.stop(self.name)
            self._supervisord.start(self.name)
        return self._supervisord.wait_until_up(self.name, self._port)

    def stop(self) -> None:
        """Stop the service."""
        self._supervisord.stop(self.name)

    def retire(self) -> None:
        """Stop the service, which is about to lose its description."""
        self._supervisord.stop(self.name)

    def forget(self) -> None:
        """Have supervisor see that the description is gone."""
        from ansible.module_utils.host.supervisord import NoSupervisorError

        with contextlib.suppress(NoSupervisorError):
            self._supervisord.update(self.name)


Service = Union[Systemd, Supervisor]
# The parameters that say which service a part is about.
WHICH: dict[str, Any] = {"name": REQUIRED, "manager": REQUIRED, "supervisor": None}


def managed(params: Mapping[str, Any]) -> Service:
    """The service ``name`` under its ``manager``; supervisor's ``directory`` is in ``supervisor``."""
    if params["manager"] == "systemd":
        return Systemd(params["name"])
    # Here, since a host with systemd has no use for what this brings.
    from ansible.module_utils.host.supervisord import Supervisord

    where = params["supervisor"]
    supervisord = Supervisord(where["directory"], where.get("conf") or "", where.get("program") or "")
    return Supervisor(params["name"], supervisord, int(params.get("port") or 0))


def look(managed: Service) -> tuple[State, float]:
    """What a service is, and when its process started; one that ends meanwhile is asked for again."""
    while True:
        state = managed.state()
        if not state.pid:
            return state, 0.0
        try:
            return state, started_at(state.pid)
        except (FileNotFoundError, ProcessLookupError):
            time.sleep(0.1)


def service(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Describe a service to its manager and have it run, restarted where it is older than what it has read.

    ``running`` is whether it had a process before, ``pid`` what it has now; ``enabled`` whether it started with the
    machine before; ``stale`` whether it had to be restarted, which with ``restart`` false is left to the caller;
    ``newer`` are the files that are newer than its process. In check mode files that would be written are. Fails where
    it does not run and another process has its port.
    """
    params = checked(
        params,
        **WHICH,
        unit_path=REQUIRED,
        unit=REQUIRED,
        port=0,
        description="",
        files=(),
        address="",
        port_variable="",
        restart=True,
    )
    mine, unit_path, address, port = managed(params), params["unit_path"], params["address"], params["port"]
    state, began = look(mine)
    newer: list[str] = []
    if state.pid:
        files = [*params["files"], unit_path]
        written = run.planned if run.check_mode else {}
        newer = [path for path in files if path in written or newer_files([path], began)]
    elif port and is_taken(address, port):
        raise PartError(
            f"{params['name']}: port {port} on {address} is taken by {owner(port)}; "
            f"stop it, or set {params['port_variable'] or 'its port'} to a free port in the inventory"
        )
    if not run.check_mode:
        mine.prepare()
    differs = mine.describe(unit_path, params["unit"], run)
    described = bool({"content", "missing"} & set(differs))
    stale = bool(state.pid) and (bool(newer) or described or state.outdated or is_replaced(state.pid))
    restarts = stale and bool(params["restart"])
    changed = bool(differs) or not state.pid or restarts or not state.enabled
    pid = state.pid
    if changed and not run.check_mode:
        pid = mine.apply(replace(state, outdated=state.outdated or described), restarts)
    return {
        "changed": changed,
        "running": bool(state.pid),
        "started": not state.pid,
        "restarted": restarts,
        "stale": stale,
        "newer": newer,
        "described": described,
        "enabled": state.enabled,
        "path": unit_path,
        "differs": differs,
        "pid": pid,
    }


def service_absent(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Stop a service and delete its description, by which an interrupted run finds it again."""
    params = checked(params, **WHICH, unit_path=REQUIRED)
    path = params["unit_path"]
    if not os.path.lexists(path):
        return {"changed": False}
    run.add_diff("present\n", "absent\n", path)
    if not run.check_mode:
        mine = managed(params)
        mine.retire()
        try:
            os.unlink(path)
        except OSError as error:
            raise PartError(f"{path} cannot be deleted: {error.strerror}") from error
        mine.forget()
    return {"changed": True}


def service_stopped(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Stop a service where it runs; it keeps its description."""
    params = checked(params, **WHICH, unit_path="")
    mine = managed(params)
    active = mine.state().active
    if active and not run.check_mode:
        mine.stop()
    return {"changed": active}


def service_restarted(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Restart a service now, whatever it is; a description that has changed is read. ``pid`` is its new process."""
    params = checked(params, **WHICH, unit_path="", port=0)
    if run.check_mode:
        return {"changed": True, "pid": 0}
    mine = managed(params)
    return {"changed": True, "pid": mine.apply(mine.state(), restart=True)}


def service_killed(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Kill a service's process, and wait until its manager has started another one. Nothing in check mode.

    ``pid`` is the new process. Fails where none ran, or none comes back in ``wait`` seconds.
    """
    params = checked(params, **WHICH, unit_path="", wait=30)
    mine = managed(params)
    pid = mine.state().pid
    if not pid:
        raise PartError(f"{params['name']} does not run")
    if run.check_mode:
        return {"changed": True, "pid": pid}
    # Under supervisor each program has a process group, whose other processes would keep its port.
    kill = os.kill if params["manager"] == "systemd" else os.killpg
    kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + params["wait"]
    while mine.state().pid in (0, pid):
        if time.monotonic() >= deadline:
            raise PartError(f"{params['name']} was killed, and does not come back in {params['wait']} s")
        time.sleep(0.1)
    return {"changed": True, "pid": mine.state().pid}


def supervisor_stopped(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Stop supervisor and all that it runs."""
    from ansible.module_utils.host.supervisord import Supervisord

    params = checked(params, supervisor=REQUIRED)
    supervisord = Supervisord(params["supervisor"]["directory"])
    changed = supervisord.runs()
    if changed and not run.check_mode:
        supervisord.shutdown()
    return {"changed": changed}
