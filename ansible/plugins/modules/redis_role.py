#!/usr/bin/python
"""Ansible module: ask a Redis server which role it has."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import (
    CONNECTION_SPEC,
    MISUNDERSTOOD,
    RedisError,
    as_it_speaks,
    ask_role,
    remembered,
)

DOCUMENTATION = r"""
module: redis_role
short_description: Ask a Redis server which role it has
description:
  - Asks C(ROLE) and C(INFO server) and changes nothing. A server that does not answer is no failure.
options:
  volatile_file:
    description: The file to which the server writes its topology, read where the server does not answer.
    type: path
  persists: {description: Whether the server has its data again after a restart., type: bool, default: true}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: The authority that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate., type: str}
  auth_file: {description: A redis.conf on the host that the roles wrote; it has what to log in with., type: path}
  timeout: {description: Seconds to wait for the connection and for the reply., type: float, default: 5}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Ask who leads
  redis_role:
    port: 6379
    auth_file: /etc/redis/redis-6379.auth.conf
"""

RETURN = r"""
role: {description: C(leader) or C(replica); missing where the server does not answer., type: str}
leader_address: {description: Whom a replica follows., type: str}
leader_port: {description: Whom a replica follows., type: int}
link: {description: "A replica's link to its leader, C(connected) when it is up.", type: str}
server: {description: C(redis) or C(valkey)., type: str}
version: {description: The server's version., type: str}
error: {description: Why the server did not answer., type: str}
tls: {description: "Whether the server speaks TLS, be that wanted or not.", type: bool}
days_left: {description: "Days until the server's certificate expires, nothing without TLS.", type: int}
installed: {description: "Whether the server has run here before, and has its data again when it starts.", type: bool}
"""


def ask_own_role(params: dict[str, Any]) -> dict[str, Any]:
    """What the server on this host is, whether or not it speaks TLS as it should. Raises OSError or RedisError."""
    try:
        return {"tls": bool(params["tls_name"]), **ask_role(params)}
    except MISUNDERSTOOD:
        spoken = as_it_speaks(params)
        return {"tls": bool(spoken["tls_name"]), **ask_role(spoken)}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {**CONNECTION_SPEC, "volatile_file": {"type": "path"}, "persists": {"type": "bool", "default": True}},
        supports_check_mode=True,
    )
    try:
        answer = ask_own_role(module.params)
    except (OSError, RedisError) as error:
        answer = {"error": str(error), **remembered(module.params["volatile_file"])}
    installed = module.params["persists"] and os.path.exists(module.params["volatile_file"] or "")
    module.exit_json(changed=False, installed=installed, **answer)


if __name__ == "__main__":
    main()
