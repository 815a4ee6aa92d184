"""A process compared with the files that it has read, and with who else listens on its port."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable

from ansible.module_utils.listening import bind_error


def started_at(pid: int) -> float:
    """When a process had started at the latest, in seconds since the epoch. See proc_pid_stat(5), field 22.

    The kernel counts in ticks, and what is returned is the end of its tick: a file that was written in the very moment
    before the start is older than the process. Raises FileNotFoundError or ProcessLookupError for one that has ended.
    """
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - (ticks + 1) / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def newer_files(paths: Iterable[str], moment: float) -> list[str]:
    """Those of ``paths`` that were written, or whose link was changed, after ``moment`` (seconds since the epoch)."""
    return [path for path in paths if os.path.exists(path) and _written_at(path) > moment]


def _written_at(path: str) -> float:
    """When a file or the link to it was written; of a directory only the link counts: Python writes caches in it."""
    moment = os.lstat(path).st_mtime
    return max(moment, os.stat(path).st_mtime) if os.path.isfile(path) else moment


def is_replaced(pid: int) -> bool:
    """Whether the program that the process runs was replaced or deleted. See proc_pid_exe(5)."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False


def is_taken(address: str, port: int) -> bool:
    """Whether something listens there. Any other error, such as a foreign address, is for the service to report."""
    try:
        return bind_error(address, port) == errno.EADDRINUSE
    except OSError:
        return False
