#!/usr/bin/python
"""Ansible module: is a service running, is it older than its files, and if it is not running, is its port free."""

from __future__ import annotations

import errno
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.listening import bind_error, main_pid, owner

DOCUMENTATION = r"""
module: service_probe
short_description: Compare a service's process with the files it uses
description:
  - A process that started before one of its files was last written is stale and must be restarted. This holds after
    any interruption, unlike a notified handler, which is lost with the run that notified it.
  - Fails where the service does not run and its port is taken by another process.
options:
  name: {description: The service's name., type: str, required: true}
  pid_command: {description: Command that prints the process id., type: list, elements: str, required: true}
  files: {description: What the process reads when it starts., type: list, elements: path, default: []}
  address: {description: Address that the service listens on., type: str}
  port: {description: Port that the service listens on., type: int}
  port_variable: {description: "The inventory's word for the port, for the error message.", type: str}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Probe the web server
  service_probe:
    name: django_app
    pid_command: [systemctl, show, --property=MainPID, --value, django_app]
    files: [/etc/django_app/deployed/settings.py]
"""

RETURN = r"""
running: {description: Whether the service has a process., type: bool}
pid: {description: "The service's process id, 0 where it has none.", type: int}
stale: {description: "Whether a file is newer than the process, or its program was replaced.", type: bool}
newer: {description: The files that are newer than the process., type: list}
"""


def started_at(pid: int) -> float:
    """When a process started, in seconds since the epoch. See proc_pid_stat(5), field 22."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def running(command: list[str]) -> tuple[int, float]:
    """The service's process id and when it started; 0 where it has none. One that ends meanwhile is asked for again."""
    while True:
        pid = main_pid(command)
        if not pid:
            return 0, 0.0
        try:
            return pid, started_at(pid)
        except FileNotFoundError:
            time.sleep(0.1)


def newer_files(paths: list[str], moment: float) -> list[str]:
    """Those of ``paths`` that were written, or whose link was changed, after ``moment`` (seconds since the epoch)."""
    return [path for path in paths if os.path.exists(path) and written_at(path) > moment]


def written_at(path: str) -> float:
    """When a file or the link to it was written; of a folder only the link counts, since Python writes caches in it."""
    moment = os.lstat(path).st_mtime
    return max(moment, os.stat(path).st_mtime) if os.path.isfile(path) else moment


def replaced(pid: int) -> bool:
    """Whether the program that the process runs was replaced or deleted. See proc_pid_exe(5)."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False


def taken(address: str, port: int) -> bool:
    """Whether something listens there. Any other error, such as a foreign address, is for the service to report."""
    return bind_error(address, port) == errno.EADDRINUSE


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "pid_command": {"type": "list", "elements": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "address": {"type": "str"},
            "port": {"type": "int"},
            "port_variable": {"type": "str"},
        },
        supports_check_mode=True,
    )
    params = module.params
    pid, began = running(params["pid_command"])
    if pid:
        newer = newer_files(params["files"], began)
        module.exit_json(changed=False, running=True, pid=pid, stale=bool(newer) or replaced(pid), newer=newer)

    if params["port"] and taken(params["address"], params["port"]):
        module.fail_json(
            msg=f"{params['name']}: port {params['port']} on {params['address']} is taken by {owner(params['port'])}; "
            f"stop it, or set {params['port_variable']} to a free port in the inventory"
        )
    module.exit_json(changed=False, running=False, pid=0, stale=False, newer=[])


if __name__ == "__main__":
    main()
