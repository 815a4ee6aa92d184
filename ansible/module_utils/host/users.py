"""The part ``users``: who may log in to a Redis server, in the file for its next start and on the running server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked, text_on_disk
from ansible.module_utils.host.trial import ConfigError, trial_of
from ansible.module_utils.redis_acl import (
    ADMIN,
    ALL_CHANNELS,
    ALL_KEYS,
    DEFAULT,
    USERS,
    USERS_SINCE,
    Version,
    app_rules,
    hashed,
    program_version,
    rules,
    user_lines,
    version_of,
)
from ansible.module_utils.redis_acl import users as acl_users
from ansible.module_utils.redis_client import RedisClient, RedisError, connect, connection_of, login, quote

# How `differs` names what a server logs in with to its leader.
TO_LEADER = "login to the leader"


def content(passwords: Mapping[str, str], version: Version, app: Sequence[str]) -> str:
    """The text of the file that the server's configuration includes."""
    lines = ["# Written by Ansible."]
    if DEFAULT in passwords:
        secret = quote(passwords[DEFAULT])
        lines += [f"requirepass {secret}", f"masterauth {secret}"]
    else:
        lines += user_lines(passwords, version, app)
        if "replica" in passwords:
            lines += ["masteruser replica", f"masterauth {quote(passwords['replica'])}"]
    return "\n".join(lines) + "\n"


def masked(text: str) -> str:
    """The file's text without passwords and what could be tried out against them, for a diff."""
    secret = r'"(?:[^"\\]|\\.)*"|#\S+'
    return re.sub(rf"^(requirepass |masterauth |user \S+ on )({secret})", r"\1***", text, flags=re.M)


def own_login(passwords: Mapping[str, str]) -> tuple[str, str]:
    """The user as whom the roles log in, and its password."""
    return (ADMIN, passwords[ADMIN]) if ADMIN in passwords else ("", passwords[DEFAULT])


def logged_in(connection: Mapping[str, Any], passwords: Mapping[str, str], run: Run) -> RedisClient:
    """A connection to the running server, which takes what the file has; or already what it is about to have.

    A run that was cut short has changed the server, but not yet written the file; or somebody has changed the file.
    The parts after this one, which in check mode have that file, log in alike. Raises OSError or RedisError.
    """
    try:
        redis = connect(dict(connection))
        redis.command("PING")
        return redis
    except RedisError as error:
        redis = connect({**connection, "auth_file": None})
        try:
            login(redis, *own_login(passwords))
        except RedisError:
            redis.close()
            raise error from None
        run.logins[connection["auth_file"]] = own_login(passwords)
        return redis


@dataclass(frozen=True)
class State:
    """What a server has: the words of each user's rules, its one password, and its login to its leader."""

    users: Mapping[str, set[str]]
    password: str
    to_leader: tuple[str, ...]


def state(redis: RedisClient, version: Version) -> State:
    """What the server has; without users where it is too old for them."""
    found = acl_users(redis.command("ACL", "LIST")) if version >= USERS_SINCE else {}
    replies = [redis.command("CONFIG", "GET", name) for name in ("requirepass", "masterauth", "masteruser")]
    password, *to_leader = (reply[1] if reply else "" for reply in replies)
    return State(found, password, tuple(to_leader))


def version_on(redis: RedisClient) -> Version:
    """The version of the server."""
    return version_of(redis.info("server")["redis_version"])


def ways_in(words: set[str], wanted: Sequence[str]) -> list[str]:
    """Those words of a user's rules that can go on letting somebody in beside the wanted ones: passwords and rights.

    No commands where either takes some back, since that depends on the order; no patterns beside one for everything.
    """
    starts = "#"
    starts += "" if ALL_KEYS.intersection(wanted) else "~%"
    starts += "" if ALL_CHANNELS.intersection(wanted) else "&"
    takes_back = any(word[0] == "-" and word != "-@all" for word in (*words, *wanted))
    starts += "" if takes_back else "+"
    return sorted(word for word in words if word[0] in starts)


@dataclass(frozen=True)
class Desired:
    """The users that a server gets. Without ``finish`` former passwords, rules and users stay valid beside them."""

    passwords: Mapping[str, str]
    app: Sequence[str]
    finish: bool

    def apply(self, redis: RedisClient, had: State) -> None:
        """Give them to a server in the state ``had``.

        The trial server shows with the same commands what a running one is about to have.
        Raises OSError or RedisError.
        """
        passwords, version = self.passwords, version_on(redis)
        if version >= USERS_SINCE:
            for name, password in passwords.items():
                wanted = [hashed(password), *rules(name, version, self.app)]
                # The roles themselves have no older password.
                is_kept = name != ADMIN and not self.finish
                keep = ways_in(had.users.get(name, set()), wanted) if is_kept else []
                redis.command("ACL", "SETUSER", name, "reset", "on", *wanted, *keep)
            # The user who one is now may be about to lose everything.
            login(redis, *own_login(passwords))
            redis.command("CONFIG", "SET", "masteruser", "replica" if "replica" in passwords else "")
        redis.command("CONFIG", "SET", "masterauth", passwords.get("replica", passwords.get(DEFAULT, "")))
        if DEFAULT in passwords:
            redis.command("CONFIG", "SET", "requirepass", passwords[DEFAULT])
        elif not self._keeps_default(had):
            # The one password, which a server without it gives its default user, is gone in the same moment.
            redis.command("MULTI")
            redis.command("CONFIG", "SET", "requirepass", "")
            redis.command("ACL", "SETUSER", DEFAULT, "reset")
            redis.command("EXEC")
        # Those of before, and whom somebody has made by hand.
        gone = [name for name in had.users if name not in (DEFAULT, *passwords)]
        if gone and self.finish:
            redis.command("ACL", "DELUSER", *gone)

    def _keeps_default(self, had: State) -> bool:
        """Whether the one password of before stays valid."""
        words = had.users.get(DEFAULT, set())
        return DEFAULT not in self.passwords and not self.finish and "on" in words and "nopass" not in words

    def differences(self, had: State, about_to: State) -> list[str]:
        """What a server in the state ``had`` differs in from the state that it is about to be in."""
        differs = []
        # A server without users has the one password alone.
        for name in dict.fromkeys((DEFAULT, *USERS, *had.users)) if had.users and about_to.users else ():
            is_kept = self._keeps_default(had) if name == DEFAULT else not self.finish
            if not (is_kept and name not in self.passwords) and had.users.get(name) != about_to.users.get(name):
                differs.append(name)
        if had.password != about_to.password and not self._keeps_default(had) and DEFAULT not in differs:
            differs.insert(0, DEFAULT)
        if had.to_leader != about_to.to_leader:
            differs.append(TO_LEADER)
        return differs


def users(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Look at the running server, change it where it differs, and write the file that it starts with.

    What the running server should have is what the trial server has after the same commands, so check mode is as
    strict as a run. Returns ``changed``, ``is_new`` (whether the file gets other users or passwords), ``users`` (what
    differs on the server: names of users and "login to the leader"), ``path`` and ``differs`` (see `Run.write`). Raises
    PartError, with nothing changed.
    """
    params = checked(
        params,
        connection=REQUIRED,
        passwords=REQUIRED,
        program=REQUIRED,
        candidate=REQUIRED,
        environment={},
        run_as="",
        clients=[],
        keys=[],
        app_rules=[],
        cluster=False,
        finish=True,
        owner="",
        group="",
        mode="",
    )
    connection = connection_of(params["connection"])
    path, port = connection["auth_file"], connection["port"]
    app = app_rules(params["clients"], params["cluster"], params["keys"], params["app_rules"])
    desired = Desired(params["passwords"], app, params["finish"])
    wanted = content(params["passwords"], program_version(params["program"], params["environment"]), app)
    run.planned[path] = wanted
    hint = "; see redis_app_rules" if params["app_rules"] else ""
    try:
        trial = trial_of(run, params["candidate"], params, path)
    except (ConfigError, KeyError, OSError) as error:
        raise PartError(
            f"{params['program']} does not take the users and the configuration of the server on port {port}, which "
            f"are as they were: {error}{hint}"
        ) from error
    differs: list[str] = []
    told = False
    try:
        with logged_in(connection, params["passwords"], run) as redis:
            version = version_on(redis)
            if version < USERS_SINCE and DEFAULT not in params["passwords"]:
                raise RedisError("users came with version 6.0, and this one is older")
            had = state(redis, version)
            if trial:
                desired.apply(trial.redis, had)
                differs = desired.differences(had, state(trial.redis, version_on(trial.redis)))
            told = bool(differs)
            if differs and not run.check_mode:
                desired.apply(redis, had)
                told = state(redis, version) != had
    except RedisError as error:
        raise PartError(f"the server on port {port} does not take its users: {error}{hint}") from error
    except (ConnectionRefusedError, FileNotFoundError):
        pass  # It does not run, and will read the file when it starts.
    except OSError as error:
        # In check mode its certificate, with which a run begins, is as it was.
        if not run.check_mode:
            raise PartError(f"the server on port {port} cannot be asked: {error}") from error
    # Written last: a run that was cut short before finds the difference again.
    before = text_on_disk(path) or ""
    written = run.write(path, wanted, params["owner"], params["group"], params["mode"], show=False)
    run.add_diff(masked(before), masked(wanted), path)
    is_new = before != wanted or told
    return {
        "changed": is_new or bool(written),
        "is_new": before != wanted,
        "users": differs,
        "differs": written,
        "path": path,
    }
