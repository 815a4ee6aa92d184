"""The part ``configuration``: a Redis server's configuration, in its file and, where that can be, while it runs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked, text_on_disk
from ansible.module_utils.host.trial import ConfigError, directives, trial_of
from ansible.module_utils.redis_client import RedisClient, RedisError, connect

# Not compared: another part sets the passwords, and the topology belongs to the server.
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
# only told when it connects; and a directory that somebody else has set is nothing to write to for a moment more.
AT_START = {"port", "tls-port", "unixsocket", "replica-announce-ip", "replica-announce-port", "dir"}
NEEDS_REPLICAS = "min-replicas-to-write"
# What nobody shall see in a diff.
SECRET = re.compile(r"user$|.*(pass|passwd|password|auth)$|sentinel .*-pass\b")


def live_configuration(redis: RedisClient) -> dict[str, str]:
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
    """Whether the program takes the directive while it runs, as the trial server shows."""
    if name in AT_START:
        return False
    try:
        redis.command("CONFIG", "SET", name, value)
    except RedisError:
        return False
    return True


def set_live(connection: dict[str, Any], values: Mapping[str, str]) -> None:
    """Set the directives on the running server: one by one, as some have two names, but those of TLS together."""
    if not values:
        return
    with connect(connection) as redis:
        # A certificate does not match the former key; servers before Redis 7 take one directive at a time.
        at_once = int(redis.info("server")["redis_version"].split(".")[0]) >= 7
        tls = [(name, value) for name, value in values.items() if at_once and name.startswith("tls-")]
        others = [[pair] for pair in values.items() if pair not in tls]
        for pairs in [*others, tls] if tls else others:
            redis.command("CONFIG", "SET", *[word for pair in pairs for word in pair])


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


@dataclass(frozen=True)
class Comparison:
    """What differs on the running server: name to what it has and should have, what can be set, and what not yet.

    `answers`: whether there is a running server at all.
    """

    pairs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    settable: frozenset[str] = frozenset()
    postponed: frozenset[str] = frozenset()
    answers: bool = False


def compare(connection: dict[str, Any], content: str, trial: RedisClient) -> Comparison:
    """Compare the running server with the trial server.

    Raises RedisError where a server answers that does not let itself be asked: to restart that is no remedy.
    """
    wanted = live_configuration(trial)
    try:
        with connect(connection) as redis:
            live = live_configuration(redis)
            replication = redis.info("replication")
    except OSError:
        return Comparison()
    pairs = differences(live, wanted, content)
    # A leader that waits for replicas that are only about to come refuses every write until then.
    wanted_replicas = int(pairs[NEEDS_REPLICAS][1]) if NEEDS_REPLICAS in pairs else 0
    is_early = replication["role"] == "master" and wanted_replicas > int(replication["connected_slaves"])
    postponed = frozenset({NEEDS_REPLICAS} if is_early else ())
    pairs = {name: pair for name, pair in pairs.items() if name not in postponed}
    settable = frozenset(name for name, (_, value) in pairs.items() if can_be_set(trial, name, value))
    return Comparison(pairs, settable, postponed, answers=True)


def only(found: Comparison, name: str) -> Comparison:
    """What differs of one directive alone."""
    pairs = {one: pair for one, pair in found.pairs.items() if one == name}
    return replace(found, pairs=pairs, settable=found.settable & pairs.keys())


def configuration(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Try the configuration, write it, and set on the running server what differs and can be set.

    Returns ``changed``, ``answers`` (whether the server answered), ``set`` and ``was`` (directives that are set at
    once, and their values before, *** for secrets), ``postponed`` (what can only be set when replicas are connected)
    and ``restart``: what needs a restart, a text for each reason. Raises PartError where the program refuses it, with
    nothing changed. With ``only_postponed`` it does only what an earlier part of the run had to postpone, and waits for
    the replicas for ``wait`` seconds.
    """
    params = checked(
        params,
        connection=REQUIRED,
        content=REQUIRED,
        path=REQUIRED,
        program=REQUIRED,
        environment={},
        run_as="",
        owner="",
        group="",
        mode="",
        only_postponed=False,
        wait=0,
    )
    connection, content, path = run.connection(params["connection"]), params["content"], params["path"]
    place = f"{connection['address']}:{connection['port']}"
    found = Comparison()
    try:
        trial = trial_of(run, content, params, connection["auth_file"])
        deadline = time.monotonic() + (0 if run.check_mode else params["wait"])
        while trial:
            found = compare(connection, content, trial.redis)
            if not found.postponed or time.monotonic() >= deadline:
                break
            time.sleep(0.1)
    except RedisError as error:
        raise PartError(
            f"the server on {place} does not say what it has, and its configuration is as it was: {error}"
        ) from error
    except (ConfigError, KeyError, OSError) as error:
        raise PartError(
            f"{params['program']} does not take the configuration of {place}, which is as it was: {error}"
        ) from error

    if params["only_postponed"]:
        found = only(found, NEEDS_REPLICAS)
    before = text_on_disk(path) or ""
    written = run.write(path, content, params["owner"], params["group"], params["mode"], show=False)
    run.add_diff(masked(before), masked(content), path)
    pairs, settable = found.pairs, found.settable
    for title, names in (("set live", settable), ("needs a restart", set(pairs) - settable)):
        has, should = ("".join(f"{shown(name, pairs[name][side])}\n" for name in sorted(names)) for side in (0, 1))
        run.add_diff(has, should, f"{place} now", f"{place} {title}")
    to_set = {name: pairs[name][1] for name in sorted(settable)}
    if to_set and not run.check_mode:
        try:
            set_live(connection, to_set)
        except (OSError, RedisError) as error:
            raise PartError(f"the server on {place} does not take {', '.join(to_set)}: {error}") from error
    return {
        "changed": bool(written or to_set),
        "differs": written,
        "path": path,
        "answers": found.answers,
        "postponed": sorted(found.postponed),
        "set": {name: hidden(name, value) for name, value in to_set.items()},
        "was": {name: hidden(name, pairs[name][0]) for name in to_set},
        "restart": [
            f"{shown(name, pairs[name][0])} -> {shown(name, pairs[name][1])}" for name in sorted(set(pairs) - settable)
        ],
    }
