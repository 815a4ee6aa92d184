"""supervisord on this host, through its Unix socket. See http://supervisord.org/api.html."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator
from typing import Any, cast
from xml.parsers.expat import ExpatError

from ansible.module_utils.host.run import PartError, Run
from ansible.module_utils.listening import listening_inodes

# The states of a process.
STOPPED, STARTING, RUNNING, BACKOFF, STOPPING = 0, 10, 20, 30, 40
# The faults that supervisord answers with.
SHUTDOWN_STATE, BAD_NAME, ALREADY_STARTED, NOT_RUNNING, ALREADY_ADDED, CANT_REREAD = 6, 10, 60, 70, 90, 92
# Seconds for one answer: a process has 30 to stop, see program.conf.j2.
ANSWER = 60.0
# Seconds for supervisord itself to start or to end, with all its processes.
TURN = 60.0
# Seconds between two looks.
TICK = 0.05


class NoSupervisorError(PartError):
    """supervisord does not run, or is about to end."""


class Supervisord:
    """supervisord in one directory of its own, which serves all hosts of this machine.

    ``conf`` is the text of its configuration and ``program`` the path of supervisord, both only needed to start it.
    Raises PartError where supervisord refuses what it is asked for.
    """

    def __init__(self, directory: str, conf: str = "", program: str = "") -> None:
        self.directory, self._conf, self._program = directory, conf, program
        path = os.path.join(directory, "supervisor.sock")
        self._server = xmlrpc.client.ServerProxy("http://localhost", _UnixTransport(path))

    def process(self, name: str) -> dict[str, Any]:
        """What supervisord says of a program; an empty dict of one that it does not know, or where it does not run."""
        try:
            return cast(dict[str, Any], self._ask("getProcessInfo", name))
        except NoSupervisorError:
            return {}
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == BAD_NAME:
                return {}
            raise _refusal(name, fault) from fault

    def is_outdated(self, name: str) -> bool:
        """Whether the file that describes a program has changed since supervisord took it up."""
        try:
            _, changed, _ = self._reread()
        except PartError:
            # Another program's file may be broken, which says nothing of this one.
            return False
        return name in changed

    def make_directories(self) -> None:
        """Make the directories of supervisord and of the programs' files."""
        try:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            for name in ("programs", "logs"):
                os.makedirs(os.path.join(self.directory, name), 0o700, exist_ok=True)
        except OSError as error:
            raise PartError(f"{error.filename} cannot be made: {error.strerror}") from error

    def run(self) -> None:
        """Start supervisord where it does not run; hosts of one machine that do so at once start one."""
        if self.runs():
            return
        self.make_directories()
        with self._locked():
            self._wait_for_end()
            if self.runs():
                return
            if not self._conf:
                raise NoSupervisorError(f"supervisor in {self.directory} does not run")
            conf = os.path.join(self.directory, "supervisord.conf")
            Run().write(conf, self._conf, mode="0600")
            command = [self._program, "-c", conf]
            try:
                result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            except OSError as error:
                raise PartError(f"supervisor does not start: {self._program}: {error.strerror}") from error
            if result.returncode:
                said = (result.stderr or result.stdout).strip()
                raise PartError(f"supervisor does not start: {said}")
            deadline = time.monotonic() + TURN
            while not self.runs():
                if time.monotonic() >= deadline:
                    raise PartError(f"supervisor in {self.directory} was started and does not answer")
                time.sleep(TICK)

    def update(self, name: str) -> bool:
        """Have it read a program's file: start the program if it is new or changed, and end it if the file is gone.

        Returns whether there was something to do.
        """
        added, changed, removed = self._reread()
        if name in changed or name in removed:
            self._remove(name)
        if name in added or name in changed:
            # Another run may have been faster.
            self._command("addProcessGroup", name, ignore=(ALREADY_ADDED,))
            self._command("startProcess", name, False, ignore=(ALREADY_STARTED,))
        return name in added or name in changed or name in removed

    def start(self, name: str) -> None:
        """Start a program that does not run. One that waits to be started again after a failure is started now."""
        state = self.process(name).get("state", STOPPED)
        if state in (BACKOFF, STOPPING):
            self.stop(name)
        self._command("startProcess", name, False, ignore=(ALREADY_STARTED,))

    def stop(self, name: str) -> None:
        """Stop a program, and wait until it has ended. A supervisord that does not run runs nothing."""
        with contextlib.suppress(NoSupervisorError):
            self._command("stopProcess", name, ignore=(NOT_RUNNING, BAD_NAME))
        deadline = time.monotonic() + ANSWER
        # Somebody else may have told it to stop.
        while self.process(name).get("state") == STOPPING:
            if time.monotonic() >= deadline:
                raise PartError(f"{name} does not stop")
            time.sleep(TICK)

    def wait_until_up(self, name: str, port: int = 0) -> int:
        """Wait until a program that was started runs, or listens where it has a port; returns its process id.

        Fails with the last lines of its log where it ends instead.
        """
        deadline = time.monotonic() + TURN
        while True:
            process = self.process(name)
            state = process.get("state")
            # An attempt to listen there oneself would be in the way of the program's own.
            if state == RUNNING or (state == STARTING and port and listening_inodes(port)):
                return int(process["pid"])
            if state not in (STOPPED, STARTING) or time.monotonic() >= deadline:
                why = process.get("spawnerr") or process.get("description") or "supervisor does not know it"
                raise PartError(f"{name} does not come up: {why}.{self._log(name)}")
            time.sleep(TICK)

    def shutdown(self) -> None:
        """End supervisord and all that it runs, and wait until they have ended."""
        with contextlib.suppress(NoSupervisorError):
            self._ask("shutdown")
        self._wait_for_end()

    def _remove(self, name: str) -> None:
        try:
            # Tells of each process whether it stopped; one that did not is refused below.
            self._ask("stopProcessGroup", name)
            self._ask("removeProcessGroup", name)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise _refusal(name, fault) from fault

    def _reread(self) -> tuple[list[str], list[str], list[str]]:
        """Have it read all files; the programs that are new, changed and gone. Changes nothing that runs."""
        try:
            ((added, changed, removed),) = self._ask("reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise _refusal("its configuration", fault) from fault
        return added, changed, removed

    def runs(self) -> bool:
        """Whether it runs."""
        try:
            self._ask("getSupervisorVersion")
        except NoSupervisorError:
            return False
        return True

    def _wait_for_end(self) -> None:
        """Wait until a supervisord that is about to end has ended."""
        deadline = time.monotonic() + TURN
        while os.path.exists(os.path.join(self.directory, "supervisor.sock")) and not self.runs():
            if not self._listens():
                # It was killed, and has left its socket.
                return
            if time.monotonic() >= deadline:
                raise PartError(f"supervisor in {self.directory} was told to end and does not")
            time.sleep(TICK)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(os.path.join(self.directory, "supervisor.sock")) == 0

    def _command(self, method: str, name: str, *more: bool, ignore: tuple[int, ...] = ()) -> None:
        try:
            self._ask(method, name, *more)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in ignore:
                raise _refusal(name, fault) from fault

    def _ask(self, method: str, *words: Any) -> Any:
        """Call a method. Raises NoSupervisorError, PartError, or Fault with what supervisord says."""
        try:
            return getattr(self._server.supervisor, method)(*words)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == SHUTDOWN_STATE:
                raise NoSupervisorError(f"supervisor in {self.directory} is about to end") from fault
            raise
        except (FileNotFoundError, ConnectionError) as error:
            raise NoSupervisorError(f"supervisor in {self.directory} does not run: {error.strerror}") from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise PartError(f"supervisor in {self.directory} does not answer: {error}") from error

    def _log(self, name: str) -> str:
        """The last lines that a program has printed, as a sentence of their own."""
        try:
            with open(os.path.join(self.directory, "logs", f"{name}.log"), "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
                lines = log.read().decode("utf-8", "replace").strip().splitlines()[-10:]
        except OSError:
            return ""
        return " Its log ends with: " + "\n".join(lines) if lines else ""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(os.path.join(self.directory, "supervisord.lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        # One connection for all calls; it is closed by any error.
        kept = self._connection[1]
        if kept is None:
            kept = _UnixConnection(self._path)
            self._connection = (host, kept)
        return kept


def _refusal(what: str, fault: xmlrpc.client.Fault) -> PartError:
    return PartError(f"supervisor refuses {what}: {fault.faultString}")
