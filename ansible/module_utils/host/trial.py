"""The trial server: the same program with the desired configuration, without a port and without data."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.host.run import Run
from ansible.module_utils.redis_client import RedisClient, connect, connection_of

# Seconds until the trial server must have started.
START_WAIT = 30.0
# The start of a line of the configuration that has a secret, as the program repeats it.
SECRET_LINE = re.compile(r"'(user \S+|(?:sentinel )?\S*(?:pass|auth)\S*) .*'")


class ConfigError(Exception):
    """The program refuses the configuration; the text is the program's own, without secrets."""


@dataclass(frozen=True)
class Setup:
    """What a trial server is started with.

    ``content`` is a redis.conf that may include ``auth_file``, whose text is then ``auth_text``, whatever is on disk.
    ``environment`` is the program's variables. ``run_as`` is the user who runs it, empty for whoever runs this.
    With ``is_sentinel`` it is a Sentinel that watches nothing.
    """

    program: str
    content: str
    auth_file: str = ""
    auth_text: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    run_as: str = ""
    is_sentinel: bool = False


class Trial:
    """A running trial server, on a Unix socket in a directory that ``close`` deletes.

    ``redis`` is a connection that may do everything. Raises ConfigError where the server does not start, OSError or
    KeyError where it cannot be started.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        # Not in Ansible's own directory, which another user may not enter; a socket's path must be short.
        self._directory = tempfile.mkdtemp(prefix="redis-try-")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.redis = self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the server, and leave nothing behind."""
        redis = getattr(self, "redis", None)
        if redis:
            redis.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self) -> RedisClient:
        setup, directory = self.setup, self._directory
        identity: dict[str, Any] = {}
        if setup.run_as:
            entry = pwd.getpwnam(setup.run_as)
            groups = os.getgrouplist(setup.run_as, entry.pw_gid)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        socket, auth = os.path.join(directory, "s"), os.path.join(directory, "auth.conf")
        lines = setup.content.splitlines()
        includes_users = bool(setup.auth_file) and f"include {setup.auth_file}" in lines
        if includes_users:
            lines[lines.index(f"include {setup.auth_file}")] = f"include {auth}"
            self._write(auth, setup.auth_text, identity)
        lines += ["port 0", f"unixsocket {socket}", "unixsocketperm 700", f"dir {directory}", "cluster-enabled no"]
        lines += ["daemonize no", "supervised no", 'logfile ""', 'pidfile ""']
        if "tls-port" in directives(setup.content):
            lines.append("tls-port 0")
        config = os.path.join(directory, "redis.conf")
        self._write(config, "\n".join(lines) + "\n", identity)
        with open(os.path.join(directory, "log"), "w+", encoding="utf-8", errors="replace") as log:
            self._process = subprocess.Popen(
                [setup.program, config, *(["--sentinel"] if setup.is_sentinel else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **dict(setup.environment)},
                **identity,
            )
            try:
                return self._wait_for(self._process, socket, auth if includes_users else "")
            except ConfigError as error:
                log.seek(0)
                raise ConfigError(_complaint(log.read()) or str(error)) from None

    def _write(self, path: str, text: str, identity: Mapping[str, Any]) -> None:
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            if identity:
                os.chown(path, identity["user"], identity["group"])
            file.write(text)

    def _wait_for(self, process: subprocess.Popen[bytes], socket: str, auth_file: str) -> RedisClient:
        deadline = time.monotonic() + START_WAIT
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ConfigError(f"the program ended with exit code {process.returncode}")
            # Some listen before they have read who their users are, and may still refuse these.
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                redis = stack.enter_context(
                    connect(connection_of({"address": socket, "port": 0, "auth_file": auth_file}))
                )
                redis.command("PING")
                stack.pop_all()
                return redis
            time.sleep(0.005)
        raise ConfigError(f"the program did not start in {START_WAIT:.0f} s")


def trial_of(
    run: Run, candidate: str, params: Mapping[str, Any], auth_file: str | None, is_sentinel: bool = False
) -> Trial | None:
    """The run's trial server for this redis.conf, with the users' lines that this run writes to ``auth_file``.

    ``params`` has ``program``, ``environment`` and ``run_as``. None in check mode where the program or the user is not
    there yet; what else check mode has not made is left out. Raises ConfigError, OSError or KeyError.
    """
    if run.check_mode and not (os.path.exists(params["program"]) and is_user(params["run_as"])):
        return None
    auth_text = run.text(auth_file) if auth_file else None
    content = without_what_is_missing(candidate, auth_file, auth_text is not None) if run.check_mode else candidate
    if auth_text is None and f"include {auth_file}" in content.splitlines():
        raise ConfigError(f"{auth_file}, which it includes, does not exist")
    environment = tuple(sorted((name, str(value)) for name, value in params["environment"].items()))
    program, run_as = params["program"], params["run_as"]
    return run.trial(Setup(program, content, auth_file or "", auth_text or "", environment, run_as, is_sentinel))


def is_user(name: str) -> bool:
    """Whether there is such a user; the empty name is whoever runs this."""
    try:
        return not name or bool(pwd.getpwnam(name))
    except KeyError:
        return False


def directives(content: str) -> dict[str, str]:
    """The directives of a configuration, with the last value of each, unquoted if it is one quoted word."""
    found = {}
    for line in content.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            value = value.strip()
            found[name.lower()] = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return found


def without_what_is_missing(content: str, auth_file: str | None, has_users: bool) -> str:
    """The configuration without what no server would start with, since check mode did not make it.

    That is the ``dir``, the file with the users, and with one file of a certificate all of TLS.
    """
    found = directives(content)
    missing = [] if has_users else [f"include {auth_file} "]
    if not os.path.isdir(found.get("dir", "/")):
        missing.append("dir ")
    if not all(os.path.exists(path) for name, path in found.items() if re.match(r"tls-.*-file$", name)):
        missing.append("tls-")
    return "".join(f"{line}\n" for line in content.splitlines() if not f"{line} ".startswith(tuple(missing)))


def _complaint(log: str) -> str:
    """What the program says of a wrong configuration: a rule, the lines after its heading, or its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    rules = re.findall(r"Error loading ACL rule '[^>#].*", log)
    if rules:
        return "; ".join(rules)
    for index, line in enumerate(lines):
        if "FATAL CONFIG FILE ERROR" in line:
            return "; ".join(SECRET_LINE.sub(r"'\1 ***'", line) for line in lines[index + 1 : index + 4])
    return lines[-1] if lines else ""
