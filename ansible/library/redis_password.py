#!/usr/bin/python
"""Ansible module: write a Redis server's password, and give it to the server if that runs."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisError, connect, quote, read_directive

DOCUMENTATION = r"""
module: redis_password
short_description: Write a Redis server's password, and give it to the server if that runs
description:
  - Writes C(requirepass) and C(masterauth) to I(auth_file), which the server's configuration includes.
  - A running server gets both at once, so that it need not be restarted and replicas and leader never differ for long.
options:
  password: {description: The password of this server and of its leader., type: str, required: true}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  auth_file: {description: The file to write; until then it has the password that the server has., type: path}
  timeout: {description: Seconds to wait for the connection and for the reply., type: float, default: 5}
extends_documentation_fragment: [files]
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Set the password
  redis_password:
    port: 6379
    password: "{{ redis_password }}"
    auth_file: /etc/redis/redis-6379.auth.conf
"""

RETURN = r"""
is_new: {description: "Whether the file, or the running server, had another password.", type: bool}
"""


def tell(params: dict[str, Any]) -> None:
    """Give a running server the password; OSError where none runs, RedisError where it refuses."""
    try:
        redis = connect(params)
        redis.command("PING")
    except RedisError:
        # A run that was cut short has told the server, but not yet written the file.
        redis = connect({**params, "auth_file": None})
        redis.command("AUTH", params["password"])
    with redis:
        redis.command("CONFIG", "SET", "masterauth", params["password"])
        redis.command("CONFIG", "SET", "requirepass", params["password"])


def drifted(params: dict[str, Any]) -> bool:
    """Whether a running server has another password for its leader than it should: its next leader would refuse it."""
    try:
        with connect(params) as redis:
            reply = redis.command("CONFIG", "GET", "masterauth")
    except (OSError, RedisError):
        return False
    return bool(reply[1:] and reply[1] != params["password"])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {**CONNECTION_SPEC, "password": {"type": "str", "required": True, "no_log": True}},
        add_file_common_args=True,
        supports_check_mode=True,
    )
    path, password = module.params["auth_file"], module.params["password"]
    wanted = f"# Written by Ansible.\nrequirepass {quote(password)}\nmasterauth {quote(password)}\n"
    is_new = not os.path.exists(path) or read_directive(path, "requirepass") != password or drifted(module.params)
    if is_new and not module.check_mode:
        try:
            tell(module.params)
        except RedisError as error:
            module.fail_json(msg=f"the server on port {module.params['port']} does not take the new password: {error}")
        except ConnectionRefusedError:
            pass  # It does not run, and will read the file when it starts.
        except OSError as error:
            module.fail_json(msg=f"the server on port {module.params['port']} cannot be asked: {error}")
        with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=module.tmpdir, delete=False) as file:
            file.write(wanted)
        module.atomic_move(file.name, path)
    changed = is_new
    if os.path.exists(path):
        arguments = module.load_file_common_arguments(module.params, path=path)
        changed = module.set_fs_attributes_if_different(arguments, changed)
    module.exit_json(changed=changed, is_new=is_new)


if __name__ == "__main__":
    main()
