#!/usr/bin/python
"""Ansible module: have a Sentinel watch a leader with the wanted settings, without a restart."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
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
    CONNECTION_SPEC,
    RedisClient,
    RedisError,
    connect,
    credentials,
    login,
    quote,
)

DOCUMENTATION = r"""
module: redis_sentinel
short_description: Have a Sentinel watch a leader with the wanted settings
description:
  - A running Sentinel is told what differs (C(SENTINEL MONITOR), C(SENTINEL SET)); who leads is its own business.
  - I(auth_file), which the Sentinel's configuration includes, has what it must know at its next start, with
    the passwords. Sentinel writes passwords without quotes into its own file, and could not read them again.
options:
  service: {description: The name of what is watched., type: str, required: true}
  leader_address: {description: Who leads; for a Sentinel that does not watch it yet., type: str, required: true}
  leader_port: {description: Who leads., type: int, required: true}
  quorum: {description: How many Sentinels must miss the leader., type: int, required: true}
  settings: {description: Other settings of the service as C(SENTINEL SET) has them., type: dict, default: {}}
  leader_user: {description: The user as whom it logs in to the servers that are watched., type: str, default: ""}
  leader_password: {description: That user's password., type: str, required: true}
  password: {description: What clients of the Sentinel have., type: str, required: true}
  passwords:
    description: Those of the users C(admin) and C(sentinel), without whom the one password opens everything.
    type: dict
    default: {}
  program: {description: "The Sentinel's program, asked for its version.", type: path, required: true}
  environment: {description: Variables for the program., type: dict, default: {}}
  auth_file: {description: The file to write; until then it has the password that the Sentinel has., type: path}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  timeout: {description: Seconds to wait for the connection and for each reply., type: float, default: 5}
extends_documentation_fragment: [files]
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Watch the leader
  redis_sentinel:
    port: 26379
    auth_file: /etc/redis/redis-sentinel-26379.auth.conf
    password: "{{ redis_sentinel_password }}"
    leader_password: "{{ redis_password }}"
    program: /usr/bin/redis-server
    service: mymaster
    leader_address: 10.0.0.11
    leader_port: 6379
    quorum: 2
    settings: {down-after-milliseconds: 5000}
"""

RETURN = r"""
told: {description: "What the running Sentinel was told, or in check mode would be.", type: list}
was: {description: "What the settings among these were before, by name.", type: dict}
restart: {description: "Why a restart is needed, a text for each reason.", type: list}
user: {description: "As whom it takes commands now, empty where it has no users.", type: str}
"""


def masters(redis: RedisClient) -> dict[str, dict[str, str]]:
    """What the Sentinel watches: name to fields."""
    tables = (dict(zip(reply[::2], reply[1::2])) for reply in redis.command("SENTINEL", "MASTERS"))
    return {table["name"]: table for table in tables}


def commands(params: dict[str, Any], watched: dict[str, dict[str, str]], new_login: str) -> list[tuple[Any, ...]]:
    """What the Sentinel must be told; `new_login` says what is new about how it logs in, if anything is."""
    service = params["service"]
    told: list[tuple[Any, ...]] = [("REMOVE", name) for name in watched if name != service]
    if service not in watched:
        target = (params["leader_address"], params["leader_port"], params["quorum"])
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


def tell(params: dict[str, Any], new_login: str, check_mode: bool) -> dict[str, Any]:
    """Tell a running Sentinel what differs. Return what that is and was, and why it must be restarted, as in RETURN."""
    nothing: dict[str, Any] = {"told": [], "was": {}, "restart": [], "user": ""}
    try:
        redis = connect(params)
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
        for command in () if check_mode else told:
            redis.command("SENTINEL", *command)
        shown = [" ".join(map(str, command[:-1] if "auth-pass" in command else command)) for command in told]
        if params["passwords"] and version_of(redis.info("server")["redis_version"]) >= SENTINEL_USERS_SINCE:
            shown += [] if check_mode else tell_users(redis, params)
            restart, user = [], "" if check_mode else ADMIN
        else:
            user = ""
            restart = (
                [] if credentials(params["auth_file"]) == ("", params["password"]) else ["it gets another password"]
            )
    has = watched.get(params["service"], {})
    was = {command[2]: has[command[2]] for command in told if command[0] == "SET" and command[2] in has}
    return {"told": shown, "was": was, "restart": restart, "user": user}


def tell_users(redis: RedisClient, params: dict[str, Any]) -> list[str]:
    """Tell a running Sentinel its users and what it is to the others; return whose rules or passwords were others."""
    version = version_of(redis.info("server")["redis_version"])
    before = users(redis.command("ACL", "LIST"))
    for name, password in {**params["passwords"], DEFAULT: params["password"]}.items():
        redis.command("ACL", "SETUSER", name, "reset", "on", hashed(password), *sentinel_rules(name, version))
        if name == ADMIN:
            # The user who one is now may be about to lose everything.
            login(redis, ADMIN, password)
    redis.command("SENTINEL", "CONFIG", "SET", "sentinel-user", "sentinel")
    redis.command("SENTINEL", "CONFIG", "SET", "sentinel-pass", params["passwords"]["sentinel"])
    after = users(redis.command("ACL", "LIST"))
    return [f"USER {name}" for name in sorted(after) if after[name] != before.get(name)]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "service": {"type": "str", "required": True},
            "leader_address": {"type": "str", "required": True},
            "leader_port": {"type": "int", "required": True},
            "quorum": {"type": "int", "required": True},
            "settings": {"type": "dict", "default": {}},
            "leader_user": {"type": "str", "default": ""},
            "leader_password": {"type": "str", "required": True, "no_log": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "program": {"type": "path", "required": True},
            "environment": {"type": "dict", "default": {}},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    params = module.params
    path, service = params["auth_file"], params["service"]
    own = sentinel_lines(
        params["password"], params["passwords"], program_version(params["program"], params["environment"])
    )
    login = [f"sentinel auth-pass {service} {quote(params['leader_password'])}"]
    if params["leader_user"]:
        login.insert(0, f"sentinel auth-user {service} {params['leader_user']}")
    settings = [f"sentinel {name} {service} {value}" for name, value in params["settings"].items()]
    wanted = "\n".join(["# Written by Ansible.", *own, *login, *settings]) + "\n"
    before = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = file.read()
    had = [line for line in before.splitlines() if line.startswith("sentinel auth-")]
    new_login = "" if had == login else "another password" if had[:-1] == login[:-1] else "another user"
    try:
        done = tell(params, new_login, module.check_mode)
    except (OSError, RedisError) as error:
        module.fail_json(msg=f"the Sentinel on port {params['port']} cannot be told what to watch: {error}")

    # Written last: a run that was cut short before finds the difference again.
    changed = before != wanted
    if changed and not module.check_mode:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=module.tmpdir, delete=False) as new:
            new.write(wanted)
        module.atomic_move(new.name, path)
    if os.path.exists(path):
        arguments = module.load_file_common_arguments(params, path=path)
        changed = module.set_fs_attributes_if_different(arguments, changed)
    diff = {"before": "", "after": "".join(f"{line}\n" for line in [*done["told"], *done["restart"]])}
    module.exit_json(changed=changed or bool(done["told"]), diff=diff, **done)


if __name__ == "__main__":
    main()
