#!/usr/bin/python
"""Ansible module: write who may log in to a Redis server, and tell the server if that runs."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_acl import (
    ADMIN,
    ALL_CHANNELS,
    ALL_KEYS,
    DEFAULT,
    OF_CLIENT,
    USERS,
    USERS_SINCE,
    Version,
    app_rules,
    hashed,
    program_version,
    rules,
    user_lines,
    users,
    version_of,
)
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisClient, RedisError, connect, login, quote

DOCUMENTATION = r"""
module: redis_users
short_description: Write who may log in to a Redis server, and tell the server if that runs
description:
  - Writes users with their rules to I(auth_file), which the server's configuration includes, and what the server logs
    in with to its leader. The rules are those of the server's version.
  - A running server is told at once, so that it need not be restarted and replicas and leader never differ for long.
  - A running server that somebody else gave other rules gets the wanted ones back; check mode does not see that.
options:
  passwords:
    description: The password of each user, C(admin) among them; or of C(default) alone, who then may do everything.
    type: dict
    required: true
  clients:
    description: Django's clients, whose commands the user C(app) may say.
    type: list
    elements: str
    choices: [builtin, django_redis, resilient]
    default: []
  keys: {description: Patterns of the keys that C(app) may use., type: list, elements: str, default: []}
  app_rules: {description: More rules for C(app)., type: list, elements: str, default: []}
  cluster: {description: Whether the server is a node of a cluster., type: bool, default: false}
  finish:
    description: Whether clients have what they log in with now; if not, former passwords, rules and users stay valid.
    type: bool
    default: true
  program: {description: "The server's program, asked for its version.", type: path, required: true}
  environment: {description: Variables for the program., type: dict, default: {}}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  auth_file: {description: The file to write; until then it has what the server takes now., type: path}
  timeout: {description: Seconds to wait for the connection and for each reply., type: float, default: 5}
extends_documentation_fragment: [files]
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Set the users
  redis_users:
    port: 6379
    auth_file: /etc/redis/redis-6379.auth.conf
    program: /usr/bin/redis-server
    passwords: {admin: "{{ redis_admin_password }}", app: "{{ redis_password }}"}
    clients: [builtin]
    keys: ["dj/*"]
"""

RETURN = r"""
is_new: {description: Whether the server or its file gets other users or passwords than it has., type: bool}
unfinished: {description: Whether the server still takes what only clients of before have., type: bool}
diff: {description: "The file before and after, without passwords.", type: dict}
"""


def content(passwords: Mapping[str, str], version: Version, app: Sequence[str]) -> str:
    """The file's text."""
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
    """As whom the roles log in, and the password of that."""
    return (ADMIN, passwords[ADMIN]) if ADMIN in passwords else ("", passwords[DEFAULT])


def logged_in(params: Mapping[str, Any]) -> RedisClient:
    """A connection to the running server, which takes what the file has; or already what it is about to have.

    A run that was cut short has told the server, but not yet written the file. Raises OSError or RedisError.
    """
    try:
        redis = connect(dict(params))
        redis.command("PING")
        return redis
    except RedisError:
        redis = connect({**params, "auth_file": None})
        try:
            login(redis, *own_login(params["passwords"]))
        except RedisError:
            redis.close()
            raise
        return redis


def state(redis: RedisClient, version: Version) -> tuple[dict[str, set[str]], list[Any]]:
    """The words of each user's rules, and what the server logs in with to its leader."""
    found = users(redis.command("ACL", "LIST")) if version >= USERS_SINCE else {}
    leader = [redis.command("CONFIG", "GET", name) for name in ("requirepass", "masterauth", "masteruser")]
    return found, leader


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


def set_user(redis: RedisClient, name: str, wanted: Sequence[str], keep: Sequence[str]) -> bool:
    """Give a user the wanted rules, and leave it those to keep; whether that is more than the wanted ones."""
    redis.command("MULTI")
    redis.command("ACL", "SETUSER", name, "reset", "on", *wanted)
    redis.command("ACL", "LIST")
    if keep:
        redis.command("ACL", "SETUSER", name, *keep)
    return not set(keep) <= users(redis.command("EXEC")[1])[name]


def tell(params: Mapping[str, Any], app: Sequence[str]) -> tuple[bool, bool]:
    """Tell a running server who its users are. Raises OSError or RedisError.

    Returns whether that changed anything, and whether ways in are left that the wanted users do not have.
    """
    passwords: Mapping[str, str] = params["passwords"]
    with logged_in(params) as redis:
        version = version_of(redis.info("server")["redis_version"])
        if version < USERS_SINCE and DEFAULT not in passwords:
            raise RedisError("users came with version 6.0, and this one is older")
        before = state(redis, version)
        had, is_left = before[0], False
        if version >= USERS_SINCE:
            for name, password in passwords.items():
                wanted = [hashed(password), *rules(name, version, app)]
                # The roles themselves have no older password.
                is_kept = name != ADMIN and not params["finish"]
                keep = ways_in(had.get(name, set()), wanted) if is_kept else []
                is_left = set_user(redis, name, wanted, keep) or is_left
            # The user who one is now may be about to lose everything.
            login(redis, *own_login(passwords))
            redis.command("CONFIG", "SET", "masteruser", "replica" if "replica" in passwords else "")
        redis.command("CONFIG", "SET", "masterauth", passwords.get("replica", passwords.get(DEFAULT, "")))
        if DEFAULT in passwords:
            redis.command("CONFIG", "SET", "requirepass", passwords[DEFAULT])
        elif not params["finish"] and "on" in had[DEFAULT] and "nopass" not in had[DEFAULT]:
            is_left = True
        else:
            redis.command("ACL", "SETUSER", DEFAULT, "reset")
        gone = [name for name in USERS if name in had and name not in passwords]
        if gone and params["finish"]:
            redis.command("ACL", "DELUSER", *gone)
        return state(redis, version) != before, is_left or bool(gone and not params["finish"])


def is_told(params: Mapping[str, Any]) -> bool:
    """Whether a running server has all users and logs in to its leader as it should; for check mode."""
    passwords: Mapping[str, str] = params["passwords"]
    leader = ["", passwords[DEFAULT]] if DEFAULT in passwords else ["replica", passwords.get("replica", "")]
    try:
        with connect(dict(params)) as redis:
            found, (_, *login) = state(redis, version_of(redis.info("server")["redis_version"]))
    except (OSError, RedisError):
        return True
    has_users = set(passwords) <= set(found) if found else DEFAULT in passwords
    return has_users and (not leader[1] or [words[1] for words in reversed(login) if words] in (leader, leader[1:]))


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "passwords": {"type": "dict", "required": True, "no_log": True},
            "clients": {"type": "list", "elements": "str", "choices": sorted(OF_CLIENT), "default": []},
            "keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "app_rules": {"type": "list", "elements": "str", "default": []},
            "cluster": {"type": "bool", "default": False},
            "finish": {"type": "bool", "default": True},
            "program": {"type": "path", "required": True},
            "environment": {"type": "dict", "default": {}},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    params = module.params
    app = app_rules(params["clients"], params["cluster"], params["keys"], params["app_rules"])
    path = params["auth_file"]
    wanted = content(params["passwords"], program_version(params["program"], params["environment"]), app)
    before = ""
    if os.path.exists(path):
        with open(path, encoding="ascii", errors="replace") as file:
            before = file.read()
    is_new, unfinished = before != wanted, False
    if module.check_mode:
        is_new = is_new or not is_told(params)
    else:
        try:
            told, unfinished = tell(params, app)
            is_new = is_new or told
        except RedisError as error:
            hint = "; see redis_app_rules" if params["app_rules"] else ""
            module.fail_json(msg=f"the server on port {params['port']} does not take its users: {error}{hint}")
        except (ConnectionRefusedError, FileNotFoundError):
            pass  # It does not run, and will read the file when it starts.
        except OSError as error:
            module.fail_json(msg=f"the server on port {params['port']} cannot be asked: {error}")
        if before != wanted:
            with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=module.tmpdir, delete=False) as new:
                new.write(wanted)
            module.atomic_move(new.name, path)
    changed = is_new
    if os.path.exists(path):
        arguments = module.load_file_common_arguments(params, path=path)
        changed = module.set_fs_attributes_if_different(arguments, changed)
    diff = {"before": masked(before), "after": masked(wanted)}
    module.exit_json(changed=changed, is_new=is_new, unfinished=unfinished, diff=diff)


if __name__ == "__main__":
    main()
