"""Where on a host secrets can be found: in files, in processes, in units and in the journal. Says where, never what."""

from __future__ import annotations

import base64
import grp
import gzip
import html
import json
import os
import pwd
import re
import stat
import subprocess
import urllib.parse
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from ansible.module_utils.redis_client import quote

# A shorter secret is found everywhere.
SHORTEST = 8
CHUNK = 16 << 20
# Larger files hold data, unless they are logs.
LARGEST = 64 << 20
LOG = re.compile(r"/logs?(/|$)|\.log(\.|$)")
# Not files of this host, or none at all.
OTHER_SYSTEMS = {"cifs", "devpts", "mqueue", "nfs", "nfs4", "overlay", "proc", "securityfs", "squashfs", "sysfs"}
OTHER_SYSTEMS |= {"bpf", "cgroup", "cgroup2", "configfs", "debugfs", "fuse.sshfs", "tracefs"}
CONTAINERS = {"/var/lib/containerd", "/var/lib/containers", "/var/lib/docker"}
# Read through its own program.
JOURNAL = (".journal", ".journal~")


def forms(secret: str) -> set[bytes]:
    """A secret as it may be written: as it is, percent-encoded, escaped for one or another format, base64, hex."""
    raw = secret.encode()
    texts = (
        secret,
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(secret)[1:-1],
        html.escape(secret),
        raw.hex(),
        raw.hex().upper(),
    )
    found = {text.encode() for text in texts}
    for before in range(3):
        # In the middle of something longer, such as user:password, only these characters are the secret's alone.
        encoded = base64.b64encode(b"\0" * before + raw)
        part = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        found |= {part, part.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


class Needles:
    """Secrets to look for, by name. Those that are too short to be looked for are in ``short``."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.short = sorted(name for name, value in secrets.items() if value and len(value) < SHORTEST)
        self._forms: dict[str, set[bytes]] = {}
        for name, value in secrets.items():
            if len(value) >= SHORTEST:
                self._forms[name] = forms(value)
        self._longest = max((len(form) for found in self._forms.values() for form in found), default=1)

    def __bool__(self) -> bool:
        return bool(self._forms)

    def found(self, data: bytes) -> list[str]:
        """The names of the secrets that are in these bytes."""
        return [name for name, found in self._forms.items() if any(form in data for form in found)]

    def found_in(self, file: BinaryIO | gzip.GzipFile) -> list[str]:
        """The names of the secrets that are in an open file, read piece by piece. Raises OSError."""
        names: set[str] = set()
        tail = b""
        while True:
            chunk = file.read(CHUNK)
            if not chunk:
                return sorted(names)
            data = tail + chunk
            names.update(self.found(data))
            tail = data[-self._longest :]


def in_files(needles: Needles, folders: Iterable[str], skipped: Iterable[str] = ()) -> dict[str, Any]:
    """The files below ``folders`` that hold a secret.

    Returns ``files``, dicts with path, ``secrets`` (names), ``is_log`` and what ``permissions`` says; ``searched``, how
    many files were read, and ``unread``, how many this user may not read.
    """
    files, searched, unread = [], 0, 0
    for path, size in _regular_files(folders, {*map(os.path.realpath, skipped), *CONTAINERS}):
        is_log = bool(LOG.search(path))
        if path.endswith(JOURNAL) or (size > LARGEST and not is_log):
            continue
        try:
            with gzip.open(path) if is_log and path.endswith(".gz") else open(path, "rb") as file:
                names = needles.found_in(file)
            searched += 1
            if names:
                files.append({"path": path, "secrets": names, "is_log": is_log, **permissions(path)})
        except PermissionError:
            unread += 1
        except (OSError, EOFError, zlib.error):
            # It is gone, or no archive.
            continue
    return {"files": files, "searched": searched, "unread": unread}


def _regular_files(folders: Iterable[str], skipped: set[str]) -> Iterator[tuple[str, int]]:
    """Path and size of each file, once, without following links and without other machines' file systems."""
    skipped = skipped | _other_mounts()
    seen: set[tuple[int, int]] = set()
    waiting = [os.path.realpath(folder) for folder in folders]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            inode = (status.st_dev, status.st_ino)
            if inode in seen or entry.path in skipped:
                continue
            seen.add(inode)
            if stat.S_ISDIR(status.st_mode):
                waiting.append(entry.path)
            elif stat.S_ISREG(status.st_mode):
                yield entry.path, status.st_size


def _other_mounts() -> set[str]:
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        fields = [line.split() for line in mounts]
    return {target for _, target, system, *_ in fields if system in OTHER_SYSTEMS}


def permissions(path: str) -> dict[str, Any]:
    """Who may do what with a file: its ``mode`` as ``0640``, its ``owner`` and its ``group``. Raises OSError."""
    status = os.stat(path)
    return {
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "owner": user_name(status.st_uid),
        "group": group_name(status.st_gid),
    }


def user_name(uid: int) -> str:
    """The name of a user, else its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, else its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def in_processes(needles: Needles) -> list[dict[str, Any]]:
    """The processes that have a secret in their ``cmdline``, which everybody sees, or their ``environ``."""
    processes = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for place in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{place}", "rb") as file:
                    names = needles.found_in(file)
                if names:
                    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
                        processes.append({"pid": int(pid), "name": comm.read().strip(), "in": place, "secrets": names})
            except OSError:
                continue
    return processes


def in_journal(needles: Needles) -> list[dict[str, Any]]:
    """The units, or programs, with a secret in the journal: ``unit``, ``entries`` (how many) and ``secrets``."""
    found: Counter[tuple[str, str]] = Counter()
    for block in _blocks(["journalctl", "--no-pager", "--quiet", "--output=export"]):
        if needles.found(block):
            for entry in block.split(b"\n\n"):
                for name in needles.found(entry):
                    found[_unit(entry), name] += 1
    units: dict[str, dict[str, Any]] = {}
    for (unit, name), number in found.items():
        one = units.setdefault(unit, {"unit": unit, "entries": 0, "secrets": []})
        one["entries"] = max(one["entries"], number)
        one["secrets"].append(name)
    return list(units.values())


def _unit(entry: bytes) -> str:
    for field in (rb"_SYSTEMD_UNIT", rb"SYSLOG_IDENTIFIER", rb"_COMM"):
        match = re.search(rb"^" + field + rb"=(.*)$", entry, re.M)
        if match:
            return match.group(1).decode("utf-8", "replace")
    return "?"


def in_units(needles: Needles) -> list[dict[str, Any]]:
    """The units that show a secret to everybody who asks systemd: ``unit`` and ``secrets``."""
    units = []
    commands = (["systemctl", "show", "--no-pager", "--all", "*"], ["systemctl", "show-environment"])
    for block in (block for command in commands for block in _blocks(command)):
        for entry in block.split(b"\n\n") if needles.found(block) else []:
            names = needles.found(entry)
            if names:
                name = re.search(rb"^Id=(.*)$", entry, re.M)
                units.append({"unit": name.group(1).decode() if name else "all units' environment", "secrets": names})
    return units


def _blocks(command: list[str]) -> Iterator[bytes]:
    """What a program prints, in blocks that end where an entry ends; nothing where there is no such program."""
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            rest = b""
            while True:
                chunk = process.stdout.read(1 << 20)
                if not chunk:
                    break
                whole, end, rest = (rest + chunk).rpartition(b"\n\n")
                yield whole + end
            yield rest
    except FileNotFoundError:
        return
