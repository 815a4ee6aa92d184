#!/usr/bin/python
"""Ansible module: what a host reaches, and what it has, as far as its facts do not say."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.certificates import certificate_state, file_faults
from ansible.module_utils.listening import bind_error, main_pid, owner
from ansible.module_utils.redis_client import RedisClient, RedisError, login

DOCUMENTATION = r"""
module: host_probe
short_description: Find out what a host reaches, and what it has
description:
  - Everything at once, so that it takes one module's run and one timeout. Changes nothing, and nothing makes it fail.
options:
  targets:
    description:
      - Where to connect to, each with C(address) and C(port), and for the caller C(server) and C(variable). With C(ask)
        a server is told the C(user), the C(password) and C(PING), with TLS where there is a C(tls_name).
    type: list
    elements: dict
    default: []
  listeners:
    description:
      - Where services are to listen, each with C(address), C(port), for the caller C(variable), and the C(pid_command)
        that prints the process of a service that runs.
    type: list
    elements: dict
    default: []
  programs: {description: Programs to ask for their version., type: list, elements: str, default: []}
  package: {description: The package to ask the distribution for where a program is not there., type: str, default: ""}
  data_dir: {description: "A folder, be it there or not, on whose disk data is to be.", type: path}
  certificate:
    description:
      - A server's C(cert_file), C(key_file), C(key_password) and C(ca_file), the C(name) that clients use, and the
        C(reader), the user that must be able to read them.
    type: dict
  units: {description: Units that may be there., type: list, elements: str, default: []}
  issued_ca_file: {description: "The certificate of the bundle's authority, be it there or not.", type: path}
  ca_file: {description: An authority that clients on this host are to trust., type: path}
  timeout: {description: Seconds that all connections together may take., type: float, default: 5}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Look whether the host reaches the leader
  host_probe:
    targets:
      - {address: 192.0.2.11, port: 6379, server: redis-1, variable: redis_address, ask: true, password: secret}
    data_dir: /var/lib/redis
"""

RETURN = r"""
targets:
  description: >-
    The targets, each with resolved (addresses), outcome (open, refused, timeout, unreachable or unresolvable), text
    (why), and where it was asked its reply, which is PONG or the error.
  type: list
listeners: {description: "The listeners, each with state (free, ours, taken or impossible) and text.", type: list}
programs: {description: "By program its version, or an empty one and the text of why.", type: dict}
candidate: {description: The version of the package that the distribution would install., type: str}
disk: {description: "The folder that is there, its device, bytes that are free and bytes used by data_dir.", type: dict}
certificate: {description: "Its faults, the names in it, and the days_left.", type: dict}
units: {description: Those of the units that are described to systemd., type: list}
issued_by: {description: "The SHA-256 of issued_ca_file, nothing where there is none.", type: str}
ca_faults: {description: What is wrong with ca_file., type: list}
"""

# Where the roles describe services to systemd.
UNITS = "/etc/systemd/system"
TARGET: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server": {"type": "str", "default": ""},
    "variable": {"type": "str", "default": ""},
    "ask": {"type": "bool", "default": False},
    "user": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "tls_name": {"type": "str"},
    "tls_ca_file": {"type": "path"},
}
LISTENER: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "variable": {"type": "str", "default": ""},
    "pid_command": {"type": "list", "elements": "str", "default": []},
}
CERTIFICATE: dict[str, Any] = {
    "cert_file": {"type": "path", "required": True},
    "key_file": {"type": "path", "required": True},
    "key_password": {"type": "str", "default": "", "no_log": True},
    "ca_file": {"type": "path", "default": ""},
    "name": {"type": "str", "required": True},
    "reader": {"type": "str", "default": ""},
}
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


def reply(target: dict[str, Any], deadline: float) -> str:
    """What a server replies to PING after it was told the password, or the error on the way; "" from a slow one."""
    place = (target["address"], target["port"], target["tls_ca_file"], target["tls_name"])
    try:
        with RedisClient(*place, timeout=remaining(deadline)) as redis:
            login(redis, target["user"], target["password"])
            return str(redis.command("PING"))
    except (socket.timeout, TimeoutError):
        return ""
    except (OSError, RedisError, ValueError) as error:
        return str(error)


def remaining(deadline: float) -> float:
    """The seconds until a moment of the monotonic clock, and a few more than none."""
    return max(deadline - time.monotonic(), 0.1)


def connections(targets: list[dict[str, Any]], timeout: float) -> Callable[[], list[dict[str, Any]]]:
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
        if target["ask"] and found["outcome"] == "open":
            # Whole each time, since who waits may have waited enough.
            outcomes[index] = {**found, "reply": ""}
            outcomes[index] = {**found, "reply": reply(target, deadline)}

    threads = [threading.Thread(target=connect, args=(index,), daemon=True) for index in range(len(targets))]
    for thread in threads:
        thread.start()

    def wait() -> list[dict[str, Any]]:
        for thread in threads:
            thread.join(max(deadline + SLACK - time.monotonic(), 0))
        return [{**{word: target[word] for word in PLACE}, **found} for target, found in zip(targets, outcomes)]

    return wait


def listener_state(listener: dict[str, Any]) -> dict[str, str]:
    """Whether a service could listen there. Its manager is only asked where somebody does already."""
    try:
        error = bind_error(listener["address"], listener["port"])
    except OSError as unresolved:
        return {"state": "impossible", "text": str(unresolved.strerror or unresolved)}
    if error == errno.EADDRINUSE:
        if listener["pid_command"] and main_pid(listener["pid_command"]):
            return {"state": "ours", "text": ""}
        return {"state": "taken", "text": owner(listener["port"])}
    return {"state": "impossible", "text": os.strerror(error)} if error else {"state": "free", "text": ""}


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


def disk(folder: str) -> dict[str, Any]:
    """The disk on which a folder is or would be, in bytes as an ordinary user has them, and what the folder holds."""
    there = os.path.abspath(folder)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    system = os.statvfs(there)
    used = 0
    for path, _, files in os.walk(folder):
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


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
            "listeners": {"type": "list", "elements": "dict", "default": [], "options": LISTENER},
            "programs": {"type": "list", "elements": "str", "default": []},
            "package": {"type": "str", "default": ""},
            "data_dir": {"type": "path"},
            "certificate": {"type": "dict", "options": CERTIFICATE},
            "issued_ca_file": {"type": "path"},
            "ca_file": {"type": "path"},
            "units": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    params = module.params
    wait = connections(params["targets"], params["timeout"])
    programs = {program: version(program) for program in params["programs"]}
    is_absent = not all(found["version"] for found in programs.values())
    module.exit_json(
        changed=False,
        listeners=[
            {**{word: listener[word] for word in PLACE[1:]}, **listener_state(listener)}
            for listener in params["listeners"]
        ],
        programs=programs,
        candidate=candidate(params["package"]) if params["package"] and is_absent else "",
        disk=disk(params["data_dir"]) if params["data_dir"] else {},
        certificate=certificate_state(**params["certificate"]) if params["certificate"] else {},
        units=[unit for unit in params["units"] if os.path.exists(os.path.join(UNITS, unit))],
        issued_by=module.sha256(params["issued_ca_file"]) if params["issued_ca_file"] else None,
        ca_faults=file_faults("ca_file", params["ca_file"] or ""),
        targets=wait(),
    )


if __name__ == "__main__":
    main()
