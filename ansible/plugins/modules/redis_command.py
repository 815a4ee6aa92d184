#!/usr/bin/python
"""Ansible module: send one command to a Redis server and return its reply."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisError, connect

DOCUMENTATION = r"""
module: redis_command
short_description: Send one command to a Redis server
description:
  - Needs neither redis-cli nor a Python library on the host, and takes the password from a file of the host,
    so that no secret is an argument.
  - Does not run in check mode unless the task says C(check_mode) false.
options:
  command:
    description: The command and its arguments.
    type: list
    elements: str
    required: true
  db: {description: Database to select first., type: int, default: 0}
extends_documentation_fragment: [redis_connection]
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Ask for the number of keys
  redis_command:
    port: 6379
    auth_file: /etc/redis/redis-6379.auth.conf
    command: [DBSIZE]
"""

RETURN = r"""
reply: {description: "What the server answered: a string, an integer, a list or null.", returned: success, type: raw}
"""


def main() -> None:
    """Run the module."""
    spec = {
        **CONNECTION_SPEC,
        "command": {"type": "list", "elements": "str", "required": True},
        "db": {"type": "int", "default": 0},
    }
    module = AnsibleModule(spec, supports_check_mode=False)
    try:
        with connect(module.params) as redis:
            if module.params["db"]:
                redis.command("SELECT", module.params["db"])
            module.exit_json(changed=True, reply=redis.command(*module.params["command"]))
    except (OSError, RedisError) as error:
        place = f"{module.params['address']}:{module.params['port']}"
        module.fail_json(msg=f"{place}: {module.params['command'][0]}: {error}", error=str(error))


if __name__ == "__main__":
    main()
