"""What goes on while a deployment is broken: writers and readers (manage.py cacheload), and a prober of the app."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill.hosts import PATHS, Host
from drill.judge import Answer, Operation

# Seconds after which the load ends by itself, should nobody end it; a site run and its reversal have to fit in.
LONGEST = 1800
# Seconds that the last operations and the deletion of the keys may take on top of a write's deadline.
ENDING = 60.0


class LoadError(RuntimeError):
    """The load or the prober did not do its work; the text says why."""


@dataclass(frozen=True)
class Report:
    """Every operation, when the load was told to end, and when each lost key was acknowledged (time.time())."""

    writes: list[Operation]
    reads: list[Operation]
    ended: float
    lost: list[float]


class Load:
    """The writers and readers, as a context manager that leaves no key behind."""

    def __init__(self, host: Host, deadline: float, log: Path) -> None:
        """Start them. A write is tried for `deadline` seconds. Raise LoadError if nothing can be written.

        `log` is where their client logs.
        """
        assert host.app
        self._patience = deadline + ENDING
        user = ("runuser", "-u", host.app.user, "--") if host.app.user else ()
        self._log = log
        options = (f"--seconds={LONGEST}", f"--deadline={deadline}")
        with log.open("w", encoding="utf-8") as stderr:
            self._process = host.start(*user, *host.app.manage, "cacheload", *options, stderr=stderr)
        try:
            self._line()
        except LoadError:
            self.__exit__()
            raise

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_error: object) -> None:
        end(self._process, self._patience)

    def check(self) -> Report:
        """End them, and return what came of it. Raise LoadError if they ended before."""
        stdin = self._process.stdin
        assert stdin
        try:
            stdin.write("check\n")
            stdin.flush()
        except OSError as error:
            raise LoadError(f"the load has ended: {self._said()}") from error
        return read_report(self._line())

    def _line(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise LoadError(f"cacheload: {self._said()}")
        return json.loads(line)

    def _said(self) -> str:
        return self._log.read_text("utf-8", "replace").strip()[-400:] or "it said nothing"


class Prober:
    """Asks the app for its pages, as a context manager."""

    def __init__(self, host: Host) -> None:
        assert host.app
        self._process = host.start_agent({"do": "probe", "url": host.app.url, "paths": PATHS})

    def __enter__(self) -> Prober:
        return self

    def __exit__(self, *_error: object) -> None:
        end(self._process, ENDING)

    def finish(self) -> list[Answer]:
        """End it, and return all answers. Raise LoadError if it failed."""
        stdout, stderr = self._process.communicate(timeout=ENDING)
        if self._process.returncode != 0:
            raise LoadError(f"prober: {stderr.strip()[-400:]}")
        return [Answer(*answer) for answer in json.loads(stdout)]


def read_report(said: dict[str, Any]) -> Report:
    """Return the report that cacheload printed."""
    writes, reads = (_operations(said[kind], said["began"]) for kind in ("writes", "reads"))
    return Report(writes, reads, said["ended"], said["lost"])


def _operations(said: list[tuple[int, float, float, str]], began: float) -> list[Operation]:
    return [Operation(thread, began + start, began + start + seconds, word) for thread, start, seconds, word in said]


def end(process: subprocess.Popen[str], patience: float) -> None:
    """Close its stdin, at which it ends; kill it if it does not, in so many seconds."""
    try:
        process.communicate(timeout=patience)
    except (subprocess.TimeoutExpired, OSError, ValueError):
        process.kill()
        process.wait()
