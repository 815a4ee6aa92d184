"""What a host reaches, and what it has, as far as its facts do not say. Changes nothing."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.certificates import certificate_state, file_faults
from ansible.module_utils.host.run import PartError
from ansible.module_utils.host.services import managed
from ansible.module_utils.listening import bind_error, owner
from ansible.module_utils.redis_client import RedisClient, RedisError, login

# Where the roles describe services to systemd.
UNITS = "/etc/systemd/system"
# Seconds for a thread to end after its connection.
SLACK = 0.5
# What the caller gets back to know its targets by.
PLACE = ("server", "variable", "address", "port")


def reach(address: str, port: int, deadline: float) -> dict[str, Any]:
    """Where a name leads, and whether somebody there takes a connection; tries each address, like every client."""
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    # The second one is for what can be no name, such as one with an empty part.
    except (OSError, UnicodeError) as error:
        return {"resolved": [], "outcome": "unresolvable", "text": str(getattr(error, "strerror", None) or error)}
    outcome, text = "", ""
    for family, kind, proto, _, place in found:
        try:
            with socket.socket(family, kind, proto) as client:
                client.settimeout(remaining(deadline))
                client.connect(place)
                outcome, text = "open", ""
                break
        except ConnectionRefusedError as error:
            outcome, text = "refused", str(error.strerror)
        except (socket.timeout, TimeoutError):
            outcome, text = "timeout", "no answer"
        except OSError as error:
            outcome, text = "unreachable", str(error.strerror or error)
    return {"resolved": list(dict.fromkeys(str(place[0]) for *_, place in found)), "outcome": outcome, "text": text}


def reply(target: Mapping[str, Any], deadline: float) -> str:
    """What a server replies to PING after it was told the password, or the error on the way; "" from a slow one."""
    place = (target["address"], target["port"], target.get("tls_ca_file"), target.get("tls_name"))
    try:
        with RedisClient(*place, timeout=remaining(deadline)) as redis:
            login(redis, target.get("user", ""), target.get("password", ""))
            return str(redis.command("PING"))
    except (socket.timeout, TimeoutError):
        return ""
    except (OSError, RedisError, ValueError) as error:
        return str(error)


def remaining(deadline: float) -> float:
    """The seconds until a moment of the monotonic clock, and a few more than none."""
    return max(deadline - time.monotonic(), 0.1)


def connections(targets: Sequence[Mapping[str, Any]], timeout: float) -> Callable[[], list[dict[str, Any]]]:
    """Begin to connect to all targets side by side; what is returned waits for what becomes of them.

    A name server that does not answer cannot be interrupted, so it is left behind with its thread.
    """
    deadline = time.monotonic() + timeout
    outcomes: list[dict[str, Any]] = [
        {"resolved": [], "outcome": "unresolvable", "text": f"no name server answers within {timeout:g} seconds"}
        for _ in targets
    ]

    def connect(index: int) -> None:
        target = targets[index]
        found = outcomes[index] = reach(target["address"], target["port"], deadline)
        if target.get("ask") and found["outcome"] == "open":
            # Whole each time, since who waits may have waited enough.
            outcomes[index] = {**found, "reply": ""}
            outcomes[index] = {**found, "reply": reply(target, deadline)}

    threads = [threading.Thread(target=connect, args=(index,), daemon=True) for index in range(len(targets))]
    for thread in threads:
        thread.start()

    def wait() -> list[dict[str, Any]]:
        for thread in threads:
            thread.join(max(deadline + SLACK - time.monotonic(), 0))
        return [{**{word: target.get(word, "") for word in PLACE}, **found} for target, found in zip(targets, outcomes)]

    return wait


def listener_state(listener: Mapping[str, Any]) -> dict[str, str]:
    """Whether a service could listen there. Its manager is only asked where somebody does already.

    ``state`` is free, ours, taken or impossible; ``text`` says by whom or why.
    """
    try:
        error = bind_error(listener["address"], listener["port"])
    except OSError as unresolved:
        return {"state": "impossible", "text": str(unresolved.strerror or unresolved)}
    if error == errno.EADDRINUSE:
        if _runs(listener):
            return {"state": "ours", "text": ""}
        return {"state": "taken", "text": owner(listener["port"])}
    return {"state": "impossible", "text": os.strerror(error)} if error else {"state": "free", "text": ""}


def _runs(listener: Mapping[str, Any]) -> bool:
    """Whether the service that is to listen there has a process."""
    if not listener.get("service"):
        return False
    try:
        return bool(managed({**listener, "name": listener["service"]}).state().pid)
    except PartError:
        return False


def version(program: str) -> dict[str, str]:
    """The version that a program prints, such as ``7.0.15``; empty, and why, where it does not start."""
    try:
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return {"version": "", "text": str(getattr(error, "strerror", None) or error)}
    found = re.search(r"\d+(?:\.\d+)+", printed)
    return {"version": found.group() if found else "", "text": "" if found else "it does not say its version"}


def candidate(package: str) -> str:
    """The version of the package that would be installed, empty where nobody knows."""
    try:
        command, environment = ["apt-cache", "policy", package], {**os.environ, "LC_ALL": "C"}
        policy = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=environment).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    # Without the epoch and what the distribution appends: 5:7.0.15-1~deb12u1.
    found = re.search(r"Candidate: (?:\d+:)?(\d+(?:\.\d+)+)", policy)
    return found.group(1) if found else ""


def disk(directory: str) -> dict[str, Any]:
    """The disk on which a directory is or would be, in bytes as an ordinary user has them, and what it holds."""
    there = os.path.abspath(directory)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    system = os.statvfs(there)
    used = 0
    for path, _, files in os.walk(directory):
        for name in files:
            try:
                used += os.lstat(os.path.join(path, name)).st_size
            except OSError:
                # The server has deleted it since.
                continue
    return {
        "folder": there,
        "device": os.stat(there).st_dev,
        "free": system.f_bavail * system.f_frsize,
        "used": used,
    }


def sha256(path: str) -> str | None:
    """The SHA-256 of a file, None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def missing_accounts(users: Sequence[str], groups: Sequence[str]) -> list[str]:
    """The names of users and groups that the host does not have."""
    missing = [name for name in users if not _is_there(pwd.getpwnam, name)]
    return missing + [name for name in groups if not _is_there(grp.getgrnam, name)]


def _is_there(find: Callable[[str], Any], name: str) -> bool:
    try:
        find(name)
    except KeyError:
        return False
    return True


def begin_probe(params: Mapping[str, Any]) -> Callable[[Sequence[str]], dict[str, Any]]:
    """Begin to connect to the targets, and find out what the host has; what is returned waits for the rest.

    That is given the names of what has answered meanwhile, out of ``redis``, ``cluster`` (Redis did, and is a node of
    one) and ``sentinel``: the listeners that carry one of them as ``unless`` are ours, and left out.
    """
    wait = connections(params.get("targets") or [], params.get("timeout") or 5.0)
    programs = {program: version(program) for program in params.get("programs") or []}
    is_absent = not all(found["version"] for found in programs.values())
    package, certificate = params.get("package"), params.get("certificate")
    found = {
        "programs": programs,
        "candidate": candidate(package) if package and is_absent else "",
        "disk": disk(params["data_dir"]) if params.get("data_dir") else {},
        "certificate": certificate_state(**certificate) if certificate else {},
        "units": [unit for unit in params.get("units") or [] if os.path.exists(os.path.join(UNITS, unit))],
        "missing": [
            *missing_accounts(params.get("users") or [], params.get("groups") or []),
            *(path for path in params.get("files") or [] if not os.path.exists(path)),
        ],
        "issued_by": sha256(params["issued_ca_file"]) if params.get("issued_ca_file") else None,
        "ca_faults": file_faults("ca_file", params.get("ca_file") or ""),
    }

    def finish(answered: Sequence[str]) -> dict[str, Any]:
        listeners = [one for one in params.get("listeners") or [] if one.get("unless") not in answered]
        states = [{**{word: one.get(word, "") for word in PLACE[1:]}, **listener_state(one)} for one in listeners]
        return {**found, "listeners": states, "targets": wait()}

    return finish
