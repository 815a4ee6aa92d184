"""Who listens on a port of this host, for the modules that ask."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator

TCP_LISTEN = "0A"


def main_pid(command: list[str]) -> int:
    """The process id that a service manager's command prints, 0 where it knows none."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 0
    text = result.stdout.strip()
    return int(text) if result.returncode == 0 and text.isdigit() else 0


def bind_error(address: str, port: int) -> int:
    """The number of the error (see `errno`) with which a server could not listen there, 0 where it could.

    The address `*` is every one. Raises OSError for a name that does not resolve.
    """
    family, kind, proto, _, target = socket.getaddrinfo(
        None if address == "*" else address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, proto) as probe:
        # As servers do: connections that linger from a former server do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(target)
        except OSError as error:
            return error.errno or -1
        return 0


def owner(port: int) -> str:
    """The process that listens on a port, for people."""
    return next(processes(listening_inodes(port)), "a process that this user cannot see")


def listening_inodes(port: int) -> set[str]:
    """The socket inodes that listen on a port. See proc_pid_net(5)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table, encoding="ascii") as rows:
                for fields in (row.split() for row in rows):
                    if fields[3] == TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                        inodes.add(fields[9])
    return inodes


def processes(inodes: set[str]) -> Iterator[str]:
    """The processes that hold one of the sockets, as far as this user may see."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            descriptors = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                name = comm.read().strip()
        except OSError:
            continue
        if any(
            match and match.group(1) in inodes
            for match in (re.match(r"socket:\[(\d+)\]", link) for link in descriptors)
        ):
            yield f"{name} (process {pid})"
