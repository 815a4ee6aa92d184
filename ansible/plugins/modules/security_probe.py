#!/usr/bin/python
"""Ansible module: what a host gives away, to whom it listens, and what its services and their users may do."""

from __future__ import annotations

import glob
import grp
import http.client
import os
import platform
import pwd
import re
import socket
import subprocess
import time
import tokenize
import urllib.parse
from collections.abc import Iterable, Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host.facts import text_of
from ansible.module_utils.listening import TCP_LISTEN, main_pid
from ansible.module_utils.secret_search import (
    Needles,
    in_files,
    in_journal,
    in_processes,
    in_units,
    permissions,
)
from ansible.module_utils.server_exposure import server_state, tls_state

DOCUMENTATION = r"""
module: security_probe
short_description: Find out what a host gives away
description:
  - Looks for secrets where they must not be, at who listens where, at what services and their users may do, at TLS and
    at what servers do for strangers and for each of their users. Changes nothing, and nothing makes it fail.
  - Judges nothing; see the filter C(security_faults). Secrets are returned by their names alone.
options:
  secrets: {description: "The secrets to look for, by name.", type: dict, default: {}}
  folders:
    description: Where to look for them, next to processes, units and the journal.
    type: list
    elements: path
    default: [/etc, /srv, /opt, /home, /root, /var, /tmp, /run, /dev/shm, /usr/local]
  skipped:
    description: Folders below these in which not to look.
    type: list
    elements: path
    default: []
  services:
    description: "Services, each with C(name) and the C(pid_command) that prints its process."
    type: list
    elements: dict
    default: []
  closed:
    description: Files and folders, or patterns of them, whose permissions to tell with those of all that is in them.
    type: list
    elements: path
    default: []
  sockets:
    description: Unix sockets whose permissions to tell.
    type: list
    elements: path
    default: []
  sources:
    description: Python files in which TLS must not be told to check nothing.
    type: list
    elements: path
    default: []
  packages:
    description: Packages whose version to compare with the distribution's.
    type: list
    elements: str
    default: []
  tls:
    description: "Servers with TLS, each with C(address), C(port), C(name) and C(ca_file)."
    type: list
    elements: dict
    default: []
  servers:
    description:
      - Redis servers and Sentinels (C(is_sentinel)), each with C(address), C(port), C(tls_name), C(tls_ca_file) and the
        C(passwords) of its users, C(default) alone where it has no others; and what the rules of C(app) come from, as
        in the part C(users) of M(host_apply), C(clients), C(keys), C(app_rules) and C(cluster).
    type: list
    elements: dict
    default: []
  pages:
    description: URLs of this host whose answers to look at.
    type: list
    elements: str
    default: []
  host:
    description: The name under which their clients ask for them, if that is another one than in the URLs.
    type: str
    default: ""
  timeout: {description: Seconds that each question to a server may take., type: float, default: 5}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Look for the password where everybody can read
  security_probe:
    secrets: {redis_password: "{{ redis_password }}"}
    packages: [redis-server]
  no_log: true
"""

RETURN = r"""
machine: {description: What tells the machine from others., type: str}
is_root: {description: Whether everything could be looked at., type: bool}
container: {description: Whether the machine shares its kernel with others., type: bool}
systemd: {description: "The version of systemd, 0 without it.", type: int}
secrets:
  description: >-
    What was found of the secrets, by name: short (too short to look for), files (with path, is_log, mode, owner and
    group), processes (pid, name, and in: cmdline or environ), journal (unit, entries), units; and searched and unread.
  type: dict
services:
  description: >-
    The services, each with name, pid (0 where it does not run), user, shell, is_locked (None where this user may not
    know), groups, capabilities (the sets that are not empty), no_new_privileges, seccomp, umask, and exposure, the
    score of systemd-analyze, None without one.
  type: list
listeners: {description: "Everything that listens: protocol, address, port, process, pid and unit.", type: list}
closed: {description: "Path, is_folder, mode, owner and group.", type: list}
sockets: {description: "Path, mode, owner and group.", type: list}
sources: {description: "Lines of sources in which TLS is told to check nothing: path, line and text.", type: list}
kernel: {description: overcommit_memory and transparent_hugepages., type: dict}
packages: {description: "Name, installed and candidate; and the age_days of what is known of candidates.", type: list}
tls: {description: See C(tls_state) in module_utils/server_exposure.py., type: list}
servers: {description: See C(server_state) in module_utils/server_exposure.py., type: list}
pages: {description: "URL, status (0 without an answer), secrets in it, and words that tell of the inside.", type: list}
"""

PLACE: dict[str, Any] = {"address": {"type": "str", "required": True}, "port": {"type": "int", "required": True}}
SERVICE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "pid_command": {"type": "list", "elements": "str", "required": True},
}
TLS: dict[str, Any] = {
    **PLACE,
    "name": {"type": "str", "required": True},
    "ca_file": {"type": "path", "default": ""},
}
SERVER: dict[str, Any] = {
    **PLACE,
    "is_sentinel": {"type": "bool", "default": False},
    "tls_name": {"type": "str"},
    "tls_ca_file": {"type": "path"},
    "passwords": {"type": "dict", "required": True, "no_log": True},
    "clients": {"type": "list", "elements": "str", "default": []},
    "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "app_rules": {"type": "list", "elements": "str", "default": []},
    "cluster": {"type": "bool", "default": False},
}
FOLDERS = ["/etc", "/srv", "/opt", "/home", "/root", "/var", "/tmp", "/run", "/dev/shm", "/usr/local"]
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
UNCHECKED_TLS = re.compile(r"CERT_NONE|ssl_cert_reqs\W+(none|false|0)\b|check_hostname\W+(false|f|no?|0)\b", re.I)
INSIDE = re.compile(rb"rediss?://|DEBUG = True|Traceback \(most recent|requirepass|masterauth", re.I)
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
# The most of a page that is looked at.
PAGE_SIZE = 1 << 20


def printed(*command: str) -> str:
    """What a program prints, "" where there is none or it does not end."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        result = subprocess.run(command, capture_output=True, check=False, timeout=60, env=environment)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.decode("utf-8", "replace")


def service_state(name: str, pid_command: list[str]) -> dict[str, Any]:
    """What a service's main process may do, and who it is."""
    pid = main_pid(pid_command)
    status = dict(re.findall(r"^(\w+):\t(.*)$", text_of(f"/proc/{pid}/status"), re.M))
    if not status:
        return {"name": name, "pid": 0}
    exposure = re.search(
        r"Overall exposure level.*: ([\d.]+)", printed("systemd-analyze", "security", "--no-pager", name)
    )
    return {
        "name": name,
        "pid": pid,
        **account(int(status["Uid"].split()[1])),
        "capabilities": [word for word in CAPABILITIES if int(status[word], 16)],
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "seccomp": int(status["Seccomp"]),
        "umask": status["Umask"],
        "exposure": float(exposure.group(1)) if exposure else None,
    }


def account(uid: int) -> dict[str, Any]:
    """A user's name, shell and groups, and whether its password is locked, None where this user may not know."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return {"user": str(uid), "shell": "", "is_locked": None, "groups": []}
    hashes = re.search(rf"^{re.escape(entry.pw_name)}:([^:]*)", text_of("/etc/shadow"), re.M)
    groups = [
        group.gr_name for group in grp.getgrall() if entry.pw_name in group.gr_mem or group.gr_gid == entry.pw_gid
    ]
    is_locked = hashes.group(1).startswith(("!", "*")) if hashes else None
    return {"user": entry.pw_name, "shell": entry.pw_shell, "is_locked": is_locked, "groups": groups}


def listeners() -> list[dict[str, Any]]:
    """Every TCP socket that listens and every UDP socket without a peer, with its process. See proc_pid_net(5)."""
    found: dict[str, dict[str, Any]] = {}
    for protocol, family, state in (
        ("tcp", socket.AF_INET, TCP_LISTEN),
        ("tcp6", socket.AF_INET6, TCP_LISTEN),
        ("udp", socket.AF_INET, "07"),
        ("udp6", socket.AF_INET6, "07"),
    ):
        for row in text_of(f"/proc/net/{protocol}").splitlines()[1:]:
            fields = row.split()
            if fields[3] == state:
                digits, _, port = fields[1].rpartition(":")
                # Words of four bytes, each in the machine's own order.
                words = [bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8)]
                place = {"address": socket.inet_ntop(family, b"".join(words)), "port": int(port, 16)}
                found[fields[9]] = {"protocol": protocol[:3], **place, "process": "", "pid": 0, "unit": ""}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for inode in sockets_of(pid):
            if inode in found and not found[inode]["pid"]:
                found[inode] |= {"process": text_of(f"/proc/{pid}/comm").strip(), "pid": int(pid), "unit": unit_of(pid)}
    return sorted(found.values(), key=lambda one: (one["protocol"], one["port"], one["address"]))


def sockets_of(pid: str) -> Iterator[str]:
    """The inodes of a process's sockets, as far as this user may see."""
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            match = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            if match:
                yield match.group(1)
    except OSError:
        return


def unit_of(pid: str) -> str:
    """The service to which a process belongs, without its ending; "" where it is none's."""
    units = re.findall(r"/([^/\n]+)\.service", text_of(f"/proc/{pid}/cgroup"))
    return str(units[-1]) if units else ""


def closed_files(patterns: list[str]) -> list[dict[str, Any]]:
    """Permissions of what matches the patterns, and of everything in the folders among it; links are left out."""
    found = []
    for top in (path for pattern in patterns for path in sorted(glob.glob(pattern))):
        inside = [os.path.join(path, name) for path, folders, files in os.walk(top) for name in (*folders, *files)]
        found += [{**file, "is_folder": os.path.isdir(file["path"])} for file in existing((top, *inside))]
    return found


def existing(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Path, mode, owner and group of those that are there and no links; servers replace their files at any moment."""
    for path in paths:
        try:
            if not os.path.islink(path):
                yield {"path": path, **permissions(path)}
        except FileNotFoundError:
            continue


def unchecked_tls(path: str) -> list[dict[str, Any]]:
    """The lines of a Python file that tell TLS to check nothing."""
    lines = text_of(path).splitlines()
    try:
        tokens = list(tokenize.generate_tokens(iter([f"{line}\n" for line in lines]).__next__))
    except (tokenize.TokenError, SyntaxError):
        tokens = []  # Then comments count as well.
    for token in tokens:
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return [
        {"path": path, "line": number, "text": found.group()}
        for number, line in enumerate(lines, 1)
        for found in [UNCHECKED_TLS.search(line)]
        if found
    ]


def changed(path: str) -> float:
    """When a file was changed, in seconds of time.time(), 0 where it is gone."""
    try:
        return os.path.getmtime(path)
    except FileNotFoundError:
        return 0.0


def package_state(name: str) -> dict[str, Any]:
    """The versions of a package that is installed and that would be, "" for none; and how old that knowledge is."""
    policy = printed("apt-cache", "policy", name)
    versions = dict(re.findall(r"(Installed|Candidate): (?!\(none\))(\S+)", policy))
    lists = [changed(path) for path in glob.glob("/var/lib/apt/lists/*Release")]
    age = int((time.time() - max(lists)) // 86400) if any(lists) else None
    installed, candidate = (versions.get(word, "") for word in ("Installed", "Candidate"))
    return {"name": name, "installed": installed, "candidate": candidate, "age_days": age}


def fetched(url: str, host: str, timeout: float) -> tuple[int, bytes]:
    """The status and the headers and body that a web server answers, 0 where it does not; follows nothing."""
    where = urllib.parse.urlsplit(url)
    try:
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=timeout)
        try:
            path = where.path + (f"?{where.query}" if where.query else "")
            # As the web server in front of it does.
            headers = {"X-Forwarded-Proto": "https", **({"Host": host} if host else {})}
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, str(response.headers).encode() + response.read(PAGE_SIZE)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return 0, b""


def page_state(url: str, host: str, needles: Needles, timeout: float) -> dict[str, Any]:
    """What a page gives away."""
    status, body = fetched(url, host, timeout)
    words = sorted({word.decode() for word in INSIDE.findall(body)})
    return {"url": url, "status": status, "secrets": needles.found(body), "words": words}


def machine() -> dict[str, Any]:
    """What the machine is, and its kernel's settings that Redis minds."""
    version = re.search(r"systemd (\d+)", printed("systemctl", "--version"))
    pages = re.search(r"\[(\w+)\]", text_of(HUGE_PAGES))
    return {
        "machine": f"{platform.node()} {text_of('/etc/machine-id').strip()}",
        "is_root": os.geteuid() == 0,
        "container": os.path.exists("/run/systemd/container") or os.path.exists("/.dockerenv"),
        "systemd": int(version.group(1)) if version and os.path.isdir("/run/systemd/system") else 0,
        "kernel": {
            "overcommit_memory": text_of("/proc/sys/vm/overcommit_memory").strip(),
            "transparent_hugepages": pages.group(1) if pages else "",
        },
    }


def main() -> None:
    """Run the module."""

    def listed(options: dict[str, Any]) -> dict[str, Any]:
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    paths: dict[str, Any] = {"type": "list", "elements": "path", "default": []}
    texts: dict[str, Any] = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        {
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "folders": {**paths, "default": FOLDERS},
            "skipped": paths,
            "services": listed(SERVICE),
            "closed": paths,
            "sockets": paths,
            "sources": paths,
            "packages": texts,
            "tls": listed(TLS),
            "servers": listed(SERVER),
            "pages": texts,
            "host": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    params = module.params
    timeout = params["timeout"]
    needles = Needles({name: str(value) for name, value in params["secrets"].items()})
    found: dict[str, Any] = {"short": needles.short, "files": [], "processes": [], "journal": [], "units": []}
    if needles:
        # Without pipelining, the module's own arguments are in a file of this run.
        found |= in_files(needles, params["folders"], [*params["skipped"], module.tmpdir])
        found |= {"processes": in_processes(needles), "journal": in_journal(needles), "units": in_units(needles)}
    module.exit_json(
        changed=False,
        **machine(),
        secrets=found,
        services=[service_state(**service) for service in params["services"]],
        listeners=listeners(),
        closed=closed_files(params["closed"]),
        sockets=list(existing(params["sockets"])),
        sources=[line for path in params["sources"] for line in unchecked_tls(path)],
        packages=[package_state(name) for name in params["packages"]],
        tls=[tls_state(**server, timeout=timeout) for server in params["tls"]],
        servers=[server_state(server, timeout) for server in params["servers"]],
        pages=[page_state(url, params["host"], needles, timeout) for url in params["pages"]],
    )


if __name__ == "__main__":
    main()
