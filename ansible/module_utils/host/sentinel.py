"""The parts ``sentinel`` and ``sentinel_agrees``: what a Sentinel watches, and whether it knows everybody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked, text_on_disk
from ansible.module_utils.host.sentinel_look import NotYetError, settled, settled_as_it_speaks
from ansible.module_utils.host.trial import ConfigError, trial_of
from ansible.module_utils.host.users import logged_in
from ansible.module_utils.redis_acl import (
    ADMIN,
    DEFAULT,
    SENTINEL_USERS_SINCE,
    hashed,
    program_version,
    sentinel_lines,
    sentinel_rules,
    users,
    version_of,
)
from ansible.module_utils.redis_client import (
    RedisClient,
    RedisError,
    connect,
    connection_of,
    credentials,
    login,
    quote,
    unquote,
)

# What a Sentinel is told


def masters(redis: RedisClient) -> dict[str, dict[str, str]]:
    """What the Sentinel watches: name to fields."""
    tables = (dict(zip(reply[::2], reply[1::2])) for reply in redis.command("SENTINEL", "MASTERS"))
    return {table["name"]: table for table in tables}


def commands(
    params: Mapping[str, Any], watched: Mapping[str, Mapping[str, str]], new_login: str
) -> list[tuple[Any, ...]]:
    """What the Sentinel must be told; `new_login` says what is new about how it logs in, if anything is."""
    service = params["service"]
    told: list[tuple[Any, ...]] = [("REMOVE", name) for name in watched if name != service]
    if service not in watched:
        target = (params["leader"]["address"], params["leader"]["port"], params["quorum"])
        told.append(("MONITOR", service, *target))
    has = watched.get(service, {"quorum": str(params["quorum"])})
    for name, value in {"quorum": params["quorum"], **params["settings"]}.items():
        if has.get(name) != str(value):
            told.append(("SET", service, name, value))
    if new_login or service not in watched:
        # Where there are no users, those before Redis 6 do not know the word.
        if params["leader_user"] or new_login == "another user":
            told.append(("SET", service, "auth-user", params["leader_user"]))
        told.append(("SET", service, "auth-pass", params["leader_password"]))
    return told


def login_to_leader(path: str, service: str) -> dict[str, str]:
    """How a Sentinel logs in to the servers by one of its files: auth-user and auth-pass, as far as it has them."""
    lines = re.findall(rf"^sentinel (auth-\S+) {re.escape(service)} (.*)$", text_on_disk(path) or "", re.M)
    return {name: unquote(value) for name, value in lines}


def other_login(params: Mapping[str, Any]) -> str:
    """What is new about how the Sentinel logs in to the servers: "another user" or "another password", or nothing.

    A Sentinel tells nobody its password, but writes it into its ``volatile_file`` as soon as it is told another one.
    """
    files = (params["volatile_file"], params["connection"]["auth_file"])
    has = next(filter(None, (login_to_leader(path, params["service"]) for path in files)), {})
    if has.get("auth-user", "") != params["leader_user"]:
        return "another user"
    return "" if has.get("auth-pass") == params["leader_password"] else "another password"


def own_users(params: Mapping[str, Any]) -> dict[str, str]:
    """The users of the Sentinel with their passwords, clients' ``default`` last; empty where it has no users."""
    return {**params["passwords"], DEFAULT: params["password"]} if params["passwords"] else {}


@dataclass(frozen=True)
class State:
    """Who may log in to a Sentinel, and as whom it logs in to the others."""

    users: Mapping[str, set[str]]
    to_others: Mapping[str, str]


def state(redis: RedisClient) -> State:
    """What the Sentinel has. Raises OSError or RedisError."""
    settings = {}
    for name in ("sentinel-user", "sentinel-pass"):
        reply = redis.command("SENTINEL", "CONFIG", "GET", name)
        settings[name] = str(reply[1]) if reply else ""
    return State(users(redis.command("ACL", "LIST")), settings)


def set_users(redis: RedisClient, params: Mapping[str, Any]) -> None:
    """Give a Sentinel its users, these alone, and its login to the others. Raises OSError or RedisError.

    The trial server shows with the same commands what a running one is about to have.
    """
    version = version_of(redis.info("server")["redis_version"])
    for name, password in own_users(params).items():
        redis.command("ACL", "SETUSER", name, "reset", "on", hashed(password), *sentinel_rules(name, version))
        if name == ADMIN:
            # The user who one is now may be about to lose everything.
            login(redis, ADMIN, password)
    gone = [name for name in users(redis.command("ACL", "LIST")) if name not in own_users(params)]
    if gone:
        redis.command("ACL", "DELUSER", *gone)
    redis.command("SENTINEL", "CONFIG", "SET", "sentinel-user", "sentinel")
    redis.command("SENTINEL", "CONFIG", "SET", "sentinel-pass", params["passwords"]["sentinel"])


def differences(had: State, wanted: State) -> list[str]:
    """What a Sentinel's users and its login to the others differ in, as `told` has it."""
    names = sorted({*had.users, *wanted.users})
    differs = [f"USER {name}" for name in names if had.users.get(name) != wanted.users.get(name)]
    return [*differs, *(f"CONFIG {name}" for name, value in wanted.to_others.items() if had.to_others[name] != value)]


def tell(connection: dict[str, Any], params: Mapping[str, Any], new_login: str, run: Run) -> dict[str, Any]:
    """Tell a running Sentinel what differs, in check mode nothing; see `sentinel` for what is returned.

    Raises OSError, RedisError, KeyError or ConfigError.
    """
    nothing: dict[str, Any] = {"told": [], "was": {}, "restart": [], "user": ""}
    try:
        redis = logged_in(connection, own_users(params) or {DEFAULT: params["password"]}, run)
    except ConnectionRefusedError:
        return nothing
    except RedisError as error:
        if str(error).startswith(("WRONGPASS", "ERR invalid password", "ERR AUTH", "NOAUTH")):
            return {**nothing, "restart": [f"it has another password ({error})"]}
        # Nothing was ever deployed here, so whoever answers is somebody else's; the service says so.
        return nothing
    with redis:
        watched = masters(redis)
        told = commands(params, watched, new_login)
        shown = [" ".join(map(str, command[:-1] if "auth-pass" in command else command)) for command in told]
        other_users: list[str] = []
        restart: list[str] = []
        user = ""
        if params["passwords"] and version_of(redis.info("server")["redis_version"]) >= SENTINEL_USERS_SINCE:
            other_users = differing_users(redis, connection, params, run)
            user = "" if run.check_mode else ADMIN
        elif not has_password(connection, params, run):
            restart = ["it gets another password"]
        if not run.check_mode:
            for command in told:
                redis.command("SENTINEL", *command)
            if other_users:
                set_users(redis, params)
    has = watched.get(params["service"], {})
    was = {command[2]: has[command[2]] for command in told if command[0] == "SET" and command[2] in has}
    return {"told": [*shown, *other_users], "was": was, "restart": restart, "user": user}


def has_password(connection: Mapping[str, Any], params: Mapping[str, Any], run: Run) -> bool:
    """Whether a Sentinel that has no users has its one password, by which one is logged in. Raises OSError."""
    file = connection["auth_file"]
    return file in run.logins or credentials(file) == ("", params["password"])


def differing_users(
    redis: RedisClient, connection: Mapping[str, Any], params: Mapping[str, Any], run: Run
) -> list[str]:
    """How the Sentinel's users differ from those of the trial server; unknown where check mode can start none."""
    trial = trial_of(run, f"include {connection['auth_file']}\n", params, connection["auth_file"], is_sentinel=True)
    if not trial:
        return []
    set_users(trial.redis, params)
    return differences(state(redis), state(trial.redis))


def sentinel(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Have a Sentinel watch a leader with the desired settings and users, without a restart where that can be.

    Who leads is its own business: ``leader`` {address, port} is for a Sentinel that does not watch the service yet.
    ``auth_file`` of the connection, which the Sentinel's configuration includes, gets what it must know at its next
    start. Returns ``changed``, ``differs`` (see `Run.write`) and ``path`` of that file, ``told``, ``was`` (the settings
    among these before), ``restart`` (why it needs one, a text for each reason) and ``user``: as whom it takes commands
    now, empty where it has no users. Raises PartError.
    """
    params = checked(
        params,
        connection=REQUIRED,
        service=REQUIRED,
        leader=REQUIRED,
        quorum=REQUIRED,
        leader_password=REQUIRED,
        password=REQUIRED,
        program=REQUIRED,
        environment={},
        run_as="",
        settings={},
        leader_user="",
        volatile_file="",
        passwords={},
        owner="",
        group="",
        mode="",
    )
    connection, service = connection_of(params["connection"]), params["service"]
    path = connection["auth_file"]
    version = program_version(params["program"], params["environment"])
    own = sentinel_lines(params["password"], params["passwords"], version)
    to_leader = [f"sentinel auth-pass {service} {quote(params['leader_password'])}"]
    if params["leader_user"]:
        to_leader.insert(0, f"sentinel auth-user {service} {params['leader_user']}")
    settings = [f"sentinel {name} {service} {value}" for name, value in params["settings"].items()]
    wanted = "\n".join(["# Written by Ansible.", *own, *to_leader, *settings]) + "\n"
    # A trial server watches nothing, so it would refuse what is said of the service.
    run.planned[path] = "\n".join(own) + "\n"
    try:
        done = tell(connection, params, other_login(params), run)
    except (ConfigError, KeyError, OSError, RedisError) as error:
        raise PartError(f"the Sentinel on port {connection['port']} cannot be told what to watch: {error}") from error
    # Written last: a run that was cut short before finds the difference again.
    differs = run.write(path, wanted, params["owner"], params["group"], params["mode"], show=False)
    run.planned[path] = wanted
    told = [*done["told"], *done["restart"]]
    run.add_diff("", "".join(f"{line}\n" for line in told), f"{connection['address']}:{connection['port']}")
    return {"changed": bool(differs or done["told"]), "differs": differs, "path": path, **done}


def sentinel_agrees(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Wait until the Sentinel runs and knows ``nodes`` and ``sentinels``, as address:port, itself included.

    With ``forget`` it forgets who is away and not among these. Returns ``changed``, ``running`` and what
    `settled_as_it_speaks` does, ``gone`` and ``strangers`` among it. Raises PartError where it does not know them, or
    does not run; check mode, which waits for nothing, then returns ``error``.
    """
    params = checked(params, connection=REQUIRED, service=REQUIRED, nodes=[], sentinels=[], forget=False, wait=30)
    connection = run.connection(params["connection"])
    asked = {**params, "wait": 0} if run.check_mode else params
    changed = False
    try:
        answer = settled_as_it_speaks(connection, asked)
        # In the middle of a failover it would forget that as well.
        if params["forget"] and answer.get("gone") and not answer["unsettled"]:
            changed = True
            if not run.check_mode:
                with connect(connection) as redis:
                    redis.command("SENTINEL", "RESET", params["service"])
                answer |= settled(connection, asked)
    except (NotYetError, OSError, RedisError) as error:
        is_running = isinstance(error, NotYetError)
        if run.check_mode:
            return {"changed": False, "running": is_running, "error": str(error)}
        raise PartError(
            f"the Sentinel on port {connection['port']} is not ready after {params['wait']} s: {error}"
        ) from error
    for place in answer.get("strangers", []):
        run.warn(f"{place} is not in the inventory and still takes part; stop it, and run again to have it forgotten")
    return {"changed": changed, "running": True, **answer}
