#!/usr/bin/python
"""Ansible module: write a Redis server's configuration, and set what can be set while the server runs."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisClient, RedisError, connect, credentials, login

DOCUMENTATION = r"""
module: redis_config
short_description: Write a Redis server's configuration, and set what can be set while it runs
description:
  - First tries the configuration on a throwaway server of the same program, without a port and without data. What that
    server refuses is not written.
  - What a running server has is compared with what the throwaway server made of the configuration, directive by
    directive; so units, names and defaults are those of this very program. A directive that somebody set by hand is
    found as well.
  - What differs is set at once where the program can do that. What needs a restart is only returned; another task
    restarts, one server at a time.
options:
  content: {description: "The configuration, as in redis.conf.", type: str, required: true}
  path: {description: The file to write., type: path, required: true}
  program: {description: The server's program., type: path, required: true}
  environment: {description: Variables that the program needs., type: dict, default: {}}
  run_as: {description: "Who runs the throwaway server; empty for whoever runs this module.", type: str, default: ""}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  auth_file: {description: "A file with the password, which the configuration may include.", type: path}
  timeout: {description: Seconds to wait for the connection and for each reply., type: float, default: 5}
extends_documentation_fragment: [files]
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Configure the server
  redis_config:
    port: 6379
    path: /etc/redis/redis-6379.conf
    auth_file: /etc/redis/redis-6379.auth.conf
    program: /usr/bin/redis-server
    run_as: redis
    content: |
      port 6379
      maxmemory 256mb
      include /etc/redis/redis-6379.auth.conf
"""

RETURN = r"""
set: {description: "The directives that were set, or in check mode would be; *** for a secret value.", type: dict}
was: {description: "The values that these had before.", type: dict}
restart: {description: "What needs a restart, a text for each reason; empty where nothing does.", type: list}
postponed: {description: What can only be set when replicas are connected., type: list}
answers: {description: Whether the server answered., type: bool}
"""

# Seconds until the throwaway server must have started.
START_WAIT = 30.0
# Not compared: another module sets the passwords, and the topology belongs to the server.
NOT_OURS = {
    "requirepass",
    "masterauth",
    "masteruser",
    "primaryauth",
    "primaryuser",
    "replicaof",
    "slaveof",
    "pidfile",
    "logfile",
    "daemonize",
    "supervised",
    "locale-collate",
}
# These depend on where a server runs, so they are compared with the text, and only where the text has them.
BY_TEXT = {"port", "tls-port", "unixsocket", "unixsocketperm", "cluster-enabled", "maxclients", "dir"}
# A port could be changed by newer programs, but would cut off who connects to the old one; what a replica announces is
# only told when it connects; and a folder that somebody else has set is nothing to write to for a moment more.
AT_START = {"port", "tls-port", "unixsocket", "replica-announce-ip", "replica-announce-port", "dir"}
NEEDS_REPLICAS = "min-replicas-to-write"
# What nobody shall see in a diff.
SECRET = re.compile(r"user$|.*(pass|passwd|password|auth)$|sentinel .*-pass\b")
# The start of a line of the configuration that has one, as the program repeats it.
SECRET_LINE = re.compile(r"'(user \S+|(?:sentinel )?\S*(?:pass|auth)\S*) .*'")


class ConfigError(Exception):
    """The program refuses the configuration; the text is the program's own."""


@contextmanager
def throwaway(params: Mapping[str, Any]) -> Iterator[RedisClient]:
    """A server of the same program with the configuration, on a Unix socket in a folder that is deleted afterwards.

    Raises ConfigError where it does not start.
    """
    # Not in Ansible's own folder, which another user may not enter; a socket's path must be short.
    folder = tempfile.mkdtemp(prefix="redis-try-")
    try:
        socket = os.path.join(folder, "s")
        lines = params["content"].splitlines()
        lines += ["port 0", f"unixsocket {socket}", "unixsocketperm 700", f"dir {folder}", "cluster-enabled no"]
        lines += ["daemonize no", "supervised no", 'logfile ""', 'pidfile ""']
        if "tls-port" in directives(params["content"]):
            lines.append("tls-port 0")
        path = os.path.join(folder, "redis.conf")
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write("\n".join(lines) + "\n")
        identity: dict[str, Any] = {}
        if params["run_as"]:
            entry = pwd.getpwnam(params["run_as"])
            for name in (folder, path):
                os.chown(name, entry.pw_uid, entry.pw_gid)
            groups = os.getgrouplist(params["run_as"], entry.pw_gid)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
        with open(os.path.join(folder, "log"), "w+", encoding="utf-8", errors="replace") as log:
            process = subprocess.Popen(
                [params["program"], path],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={**os.environ, **{name: str(value) for name, value in params["environment"].items()}},
                **identity,
            )
            try:
                with _wait_for(process, socket, params["timeout"]) as redis:
                    if f"include {params['auth_file']}" in lines:
                        login(redis, *credentials(params["auth_file"]))
                    yield redis
            except ConfigError as error:
                log.seek(0)
                raise ConfigError(_complaint(log.read()) or str(error)) from None
            finally:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_user(name: str) -> bool:
    """Whether there is such a user; the empty name is whoever runs this."""
    try:
        return not name or bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _wait_for(process: subprocess.Popen[bytes], socket: str, timeout: float) -> RedisClient:
    deadline = time.monotonic() + START_WAIT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ConfigError(f"the program ended with exit code {process.returncode}")
        try:
            return RedisClient(socket, 0, timeout=timeout)
        except OSError:
            time.sleep(0.01)
    raise ConfigError(f"the program did not start in {START_WAIT:.0f} s")


def _complaint(log: str) -> str:
    """What the program says of a wrong configuration: the lines after its heading, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if "FATAL CONFIG FILE ERROR" in line:
            return "; ".join(SECRET_LINE.sub(r"'\1 ***'", line) for line in lines[index + 1 : index + 4])
    return lines[-1] if lines else ""


def directives(content: str) -> dict[str, str]:
    """The directives of a configuration, with the last value of each, unquoted if it is one quoted word."""
    found = {}
    for line in content.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            value = value.strip()
            found[name.lower()] = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return found


def configuration(redis: RedisClient) -> dict[str, str]:
    """All directives that a server has. One that has an old and a new name is there once, under the new one."""
    reply = redis.command("CONFIG", "GET", "*")
    found = dict(zip(reply[::2], reply[1::2]))
    return {
        name: value
        for name, value in found.items()
        if name.replace("slave", "replica") == name or name.replace("slave", "replica") not in found
    }


def differences(live: Mapping[str, str], wanted: Mapping[str, str], content: str) -> dict[str, tuple[str, str]]:
    """The directives that differ: name to what the server has and what it should have."""
    text = directives(content)
    pairs = {}
    for name in sorted(set(live) & set(wanted) - NOT_OURS):
        if name not in BY_TEXT:
            should = wanted[name]
        elif name in text:
            should = os.path.realpath(text[name]) if name == "dir" else text[name]
        else:
            continue
        if live[name] != should:
            pairs[name] = (live[name], should)
    return pairs


def can_be_set(redis: RedisClient, name: str, value: str) -> bool:
    """Whether the program takes the directive while it runs, as the throwaway server shows."""
    if name in AT_START:
        return False
    try:
        redis.command("CONFIG", "SET", name, value)
    except RedisError:
        return False
    return True


def set_live(params: dict[str, Any], values: Mapping[str, str]) -> None:
    """Set the directives on the running server: one by one, as some have two names, but those of TLS together."""
    if not values:
        return
    with connect(params) as redis:
        # A certificate does not match the former key; servers before Redis 7 take one directive at a time.
        at_once = int(redis.info("server")["redis_version"].split(".")[0]) >= 7
        tls = [(name, value) for name, value in values.items() if at_once and name.startswith("tls-")]
        others = [[pair] for pair in values.items() if pair not in tls]
        for pairs in [*others, tls] if tls else others:
            redis.command("CONFIG", "SET", *[word for pair in pairs for word in pair])


def without_what_is_missing(params: Mapping[str, Any]) -> str:
    """The configuration without what no server would start with, since check mode did not make it.

    That is the ``dir``, the file with the users, and with one file of a certificate all of TLS.
    """
    found = directives(params["content"])
    missing = [f"include {params['auth_file']} "] if not os.path.exists(params["auth_file"] or "") else []
    if not os.path.isdir(found.get("dir", "/")):
        missing.append("dir ")
    if not all(os.path.exists(path) for name, path in found.items() if re.match(r"tls-.*-file$", name)):
        missing.append("tls-")
    return "".join(f"{line}\n" for line in params["content"].splitlines() if not f"{line} ".startswith(tuple(missing)))


def masked(content: str) -> str:
    """A configuration without its secrets, for a diff."""
    lines = []
    for line in content.splitlines():
        name = line.strip().partition(" ")[0].lower()
        lines.append(f"{name} ***" if SECRET.match(name) else line)
    return "".join(f"{line}\n" for line in lines)


def hidden(name: str, value: str) -> str:
    """A directive's value, unless that is a secret."""
    return "***" if SECRET.match(name) else value


def shown(name: str, value: str) -> str:
    """A directive as in redis.conf, without its value if that is a secret."""
    return f"{name} {hidden(name, value) or repr(value)}"


def report(
    params: Mapping[str, Any], before: str, pairs: Mapping[str, tuple[str, str]], settable: frozenset[str]
) -> list[Any]:
    """The differences for --diff: in the file, what is set on the server, and what waits for its restart."""
    place = f"{params['address']}:{params['port']}"
    changes = []
    if before != params["content"]:
        files = {"before_header": params["path"], "after_header": params["path"]}
        changes.append({**files, "before": masked(before), "after": masked(params["content"])})
    for title, names in (("set live", settable), ("needs a restart", set(pairs) - settable)):
        if names:
            has, should = ("".join(f"{shown(name, pairs[name][side])}\n" for name in sorted(names)) for side in (0, 1))
            headers = {"before_header": f"{place} now", "after_header": f"{place} {title}"}
            changes.append({**headers, "before": has, "after": should})
    return changes


@dataclass(frozen=True)
class Comparison:
    """What differs on the running server: name to what it has and should have, what can be set, and what not yet.

    `answers`: whether there is a running server at all.
    """

    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    settable: frozenset[str] = frozenset()
    postponed: frozenset[str] = frozenset()
    answers: bool = False


def compare(params: dict[str, Any], trial: RedisClient) -> Comparison:
    """Compare the running server with the throwaway one.

    Raises RedisError where a server answers that does not let itself be asked: to restart that is no remedy.
    """
    wanted = configuration(trial)
    try:
        with connect(params) as redis:
            live = configuration(redis)
            replication = redis.info("replication")
    except OSError:
        return Comparison()
    pairs = differences(live, wanted, params["content"])
    # A leader that waits for replicas that are only about to come refuses every write until then.
    wanted_replicas = int(pairs[NEEDS_REPLICAS][1]) if NEEDS_REPLICAS in pairs else 0
    is_early = replication["role"] == "master" and wanted_replicas > int(replication["connected_slaves"])
    postponed = frozenset({NEEDS_REPLICAS} if is_early else ())
    pairs = {name: pair for name, pair in pairs.items() if name not in postponed}
    settable = frozenset(name for name, (_, value) in pairs.items() if can_be_set(trial, name, value))
    return Comparison(pairs, settable, postponed, answers=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "content": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "program": {"type": "path", "required": True},
            "environment": {"type": "dict", "default": {}},
            "run_as": {"type": "str", "default": ""},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    params = module.params
    place = f"{params['address']}:{params['port']}"
    try:
        with open(params["path"], encoding="utf-8") as file:
            before = file.read()
    except FileNotFoundError:
        before = ""

    found = Comparison()
    # In check mode nothing may be installed yet.
    if not module.check_mode or (os.path.exists(params["program"]) and is_user(params["run_as"])):
        try:
            content = without_what_is_missing(params) if module.check_mode else params["content"]
            with throwaway({**params, "content": content}) as trial:
                found = compare(params, trial)
        except RedisError as error:
            module.fail_json(
                msg=f"the server on {place} does not say what it has, and its configuration is as it was: {error}"
            )
        except (ConfigError, KeyError, OSError) as error:
            module.fail_json(
                msg=f"{params['program']} does not take the configuration of {place}, which is as it was: {error}"
            )

    changed = before != params["content"]
    if changed and not module.check_mode:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir, delete=False) as new:
            new.write(params["content"])
        module.atomic_move(new.name, params["path"])
    if os.path.exists(params["path"]):
        arguments = module.load_file_common_arguments(params, path=params["path"])
        changed = module.set_fs_attributes_if_different(arguments, changed)

    pairs, settable = found.pairs, found.settable
    to_set = {name: pairs[name][1] for name in sorted(settable)}
    if to_set and not module.check_mode:
        try:
            set_live(params, to_set)
        except (OSError, RedisError) as error:
            module.fail_json(msg=f"the server on {place} does not take {', '.join(to_set)}: {error}")
    module.exit_json(
        changed=changed or bool(to_set),
        answers=found.answers,
        postponed=sorted(found.postponed),
        set={name: hidden(name, value) for name, value in to_set.items()},
        was={name: hidden(name, pairs[name][0]) for name in to_set},
        restart=[
            f"{shown(name, pairs[name][0])} -> {shown(name, pairs[name][1])}" for name in sorted(set(pairs) - settable)
        ],
        diff=report(params, before, pairs, settable),
    )


if __name__ == "__main__":
    main()
