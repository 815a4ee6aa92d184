"""redis-benchmark: what the server and the network give to a client that is written in C and does nothing else."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from pathlib import Path

from bench.clients import TYPICAL
from bench.measuring import Case, Slice

PROGRAMS = ("redis-benchmark", "valkey-benchmark")
# Debian's and Ubuntu's packages of it, and of the libraries that it needs and a small system has not.
PACKAGES = ("redis-tools", "libjemalloc2", "liblzf1")


class NoLimitError(RuntimeError):
    """There is no redis-benchmark; the text says why."""


class Limit:
    """Runs redis-benchmark against one server."""

    def __init__(self, folder: Path, port: int, seconds: float) -> None:
        """Find the program, on PATH or in `folder`, where it is put. Raise NoLimitError if it is nowhere.

        A slice takes about so many `seconds`.
        """
        self._program, self._environment = _find(folder)
        self._options = ["-h", "127.0.0.1", "-p", str(port), "--dbnum", str(TYPICAL["db"]), "--csv"]
        self._seconds = seconds
        self._rates: dict[Case, float] = {}

    def slice(self, case: Case) -> Slice:
        """Run it once on the keys of raw redis-py. Raise NoLimitError if it does not say how long the calls took."""
        # It wants to be told how many requests, and not for how long: so many as the last slice lets expect.
        requests = max(1000, int(self._rates.get(case, 0) * self._seconds))
        done = subprocess.run(
            [self._program, *self._options, "-c", str(case.threads), "-n", str(requests), *arguments(case)],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NoLimitError(f"{self._program}: {done.stderr.strip() or done.stdout.strip()}")
        measured = read(done.stdout)
        self._rates[case] = measured.rate
        return measured


def arguments(case: Case) -> list[str]:
    """Return what the program is to do."""
    if case.operation == "set":
        return ["-t", "set", "-d", str(case.size)]
    return ["GET" if case.operation == "get" else "MGET", *case.keys]


def read(output: str) -> Slice:
    """Return what the program says with --csv. Raise NoLimitError if it says less, as versions before 6.2 do."""
    rows = list(csv.DictReader(output.splitlines()))
    try:
        row = rows[-1]
        return Slice(float(row["rps"]), float(row["p50_latency_ms"]) * 1000, float(row["p99_latency_ms"]) * 1000)
    except (IndexError, KeyError) as error:
        raise NoLimitError("redis-benchmark of Redis 6.2 or later is needed") from error


def _find(folder: Path) -> tuple[str, dict[str, str]]:
    """Return the program and the environment to run it in."""
    for name in PROGRAMS:
        found = shutil.which(name)
        if found:
            return found, dict(os.environ)
    program = folder / "usr" / "bin" / PROGRAMS[0]
    if not program.exists():
        _unpack(folder)
    libraries = os.pathsep.join(str(path) for path in folder.glob("usr/lib/*-linux-gnu*"))
    return str(program), dict(os.environ, LD_LIBRARY_PATH=libraries)


def _unpack(folder: Path) -> None:
    """Put the distribution's packages in the folder, which needs no root."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "-qq", "download", *PACKAGES], cwd=folder, capture_output=True, check=True)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package.name, "."], cwd=folder, capture_output=True, check=True)
            package.unlink()
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        # Half of it would be taken for all of it the next time.
        shutil.rmtree(folder)
        raise NoLimitError(f"{' and '.join(PROGRAMS)} are not on PATH, and apt-get does not bring it") from error
