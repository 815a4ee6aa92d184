#!/usr/bin/python
"""Ansible module: everything that a run wants to know of a host, in one trip."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host.facts import facts, own_address
from ansible.module_utils.redis_client import CONNECTION_SPEC

DOCUMENTATION = r"""
module: host_look
short_description: Look at a host, in one trip
description:
  - Returns the facts of the host that the deployment uses, and the answers to the questions, which are asked side by
    side. Changes nothing, and nothing that does not answer makes it fail.
options:
  questions:
    description:
      - C(program) looks for a Redis server with C(names), C(package), C(floor) and C(dest), as a deployment would.
      - C(redis) asks the server on this host for its role, with C(address), C(port), C(auth_file), C(tls_ca_file),
        C(tls_name), C(timeout), C(volatile_file) and C(persists). An empty address is C(announced) where the host has
        that address, else the host's main one.
      - C(sentinel) asks the Sentinel on this host, in the same way, for its C(service), and waits C(wait) seconds until
        it has settled.
      - C(probe) finds out what the host reaches (C(targets)), where services could listen (C(listeners)), and what it
        has (C(programs), C(package), C(data_dir), C(certificate), C(units), C(users), C(groups), C(files),
        C(issued_ca_file), C(ca_file)); all connections together take C(timeout) seconds. A target has an C(address) and
        a C(port), and for the caller C(server) and C(variable); with C(ask) it is told the C(user), the C(password) and
        C(PING). A listener has the C(service) and the C(manager) that it belongs to, and is left out C(unless) redis,
        cluster or sentinel answered.
      - C(django) asks the project at C(url) whether its caches answer.
    type: dict
    default: {}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Look at the host
  host_look:
    questions:
      redis: {announced: 192.0.2.11, port: 6379, auth_file: /etc/redis/redis-6379.auth.conf}
      probe:
        targets: [{address: 192.0.2.12, port: 6379, server: redis-2, variable: redis_address}]
        data_dir: /var/lib/redis
"""

RETURN = r"""
facts: {description: "The facts, as Ansible's setup names them.", type: dict}
program: {description: "The server, its version, environment and source, and what is refused; or an error.", type: dict}
redis: {description: "The role, leader, link, version and TLS of the server, and whether it is installed.", type: dict}
sentinel: {description: "Whether the Sentinel is running, who leads, its quorum and what is unsettled.", type: dict}
probe:
  description: >-
    The targets, each with resolved (addresses), outcome (open, refused, timeout, unreachable or unresolvable), text
    (why), and where it was asked its reply; the listeners, each with state (free, ours, taken or impossible) and text;
    programs, by path the version and the text of why there is none; the candidate of the distribution's package; the
    disk; the certificate's faults, names and days_left; the units that are described to systemd; missing, those of
    the users, groups and files that are not there; issued_by, the
    SHA-256 of issued_ca_file; and ca_faults.
  type: dict
django: {description: "The status and the json of its answer, or an error.", type: dict}
"""

TARGET: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "server": {"type": "str", "default": ""},
    "variable": {"type": "str", "default": ""},
    "ask": {"type": "bool", "default": False},
    "user": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "tls_name": {"type": "str"},
    "tls_ca_file": {"type": "path"},
}
LISTENER: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "variable": {"type": "str", "default": ""},
    "service": {"type": "str", "default": ""},
    "manager": {"type": "str", "choices": ["systemd", "supervisor"], "default": "systemd"},
    "supervisor": {"type": "dict", "options": {"directory": {"type": "path", "required": True}}},
    "unless": {"type": "str", "choices": ["redis", "cluster", "sentinel"]},
}
CERTIFICATE: dict[str, Any] = {
    "cert_file": {"type": "path", "required": True},
    "key_file": {"type": "path", "required": True},
    "key_password": {"type": "str", "default": "", "no_log": True},
    "ca_file": {"type": "path", "default": ""},
    "name": {"type": "str", "required": True},
    "reader": {"type": "str", "default": ""},
}
SERVER: dict[str, Any] = {
    **CONNECTION_SPEC,
    "address": {"type": "str", "default": ""},
    "announced": {"type": "str", "default": ""},
    "volatile_file": {"type": "path"},
}
QUESTIONS: dict[str, Any] = {
    "program": {
        "names": {"type": "list", "elements": "str", "required": True},
        "package": {"type": "str", "required": True},
        "floor": {"type": "str", "required": True},
        "dest": {"type": "path", "required": True},
    },
    "redis": {**SERVER, "persists": {"type": "bool", "default": True}},
    "sentinel": {**SERVER, "service": {"type": "str", "required": True}, "wait": {"type": "int", "default": 30}},
    "probe": {
        "targets": {"type": "list", "elements": "dict", "default": [], "options": TARGET},
        "listeners": {"type": "list", "elements": "dict", "default": [], "options": LISTENER},
        "programs": {"type": "list", "elements": "str", "default": []},
        "package": {"type": "str", "default": ""},
        "data_dir": {"type": "path"},
        "certificate": {"type": "dict", "options": CERTIFICATE},
        "units": {"type": "list", "elements": "str", "default": []},
        "users": {"type": "list", "elements": "str", "default": []},
        "groups": {"type": "list", "elements": "str", "default": []},
        "files": {"type": "list", "elements": "path", "default": []},
        "issued_ca_file": {"type": "path"},
        "ca_file": {"type": "path"},
        "timeout": {"type": "float", "default": 5.0},
    },
    "django": {"url": {"type": "str", "required": True}},
}


def look(questions: Mapping[str, Any]) -> dict[str, Any]:
    """The facts and the answers, all found at the same time."""
    found = facts()
    result: dict[str, Any] = {"facts": found}
    asked = {name: question for name, question in questions.items() if question is not None}
    for name in ("redis", "sentinel"):
        if name in asked and not asked[name]["address"]:
            asked[name] = {**asked[name], "address": own_address(found, asked[name]["announced"])}
    if "probe" in asked:
        asked["probe"] = at_home(asked["probe"], own_address(found, announced(asked)))
    with ThreadPoolExecutor(len(QUESTIONS)) as threads:
        waiting = {name: threads.submit(answer_to, name, question) for name, question in asked.items()}
        result |= {name: answer.result() for name, answer in waiting.items()}
    if "probe" in asked:
        result["probe"] = result["probe"](answered(result))
    return result


def answer_to(name: str, question: Mapping[str, Any]) -> Any:
    """The answer to one of the questions."""
    # Imported where it is asked: a module is compiled on the host anew each time, which takes longer than an answer.
    if name == "redis":
        from ansible.module_utils.host.redis_look import redis_state

        return redis_state(question)
    if name == "sentinel":
        from ansible.module_utils.host.sentinel_look import sentinel_state

        return sentinel_state(question)
    if name == "program":
        from ansible.module_utils.host.program import program_state

        return program_state(question)
    if name == "probe":
        from ansible.module_utils.host.probe import begin_probe

        return begin_probe(question)
    from ansible.module_utils.host.commands import ask_ready

    return ask_ready(question["url"], timeout=10)


def announced(asked: Mapping[str, Any]) -> str:
    """The address by which the others reach this host, "" where it has no server."""
    return str((asked.get("redis") or asked.get("sentinel") or {}).get("announced") or "")


def at_home(probe: Mapping[str, Any], address: str) -> dict[str, Any]:
    """The probe with this host's own address where an address is empty."""
    return {
        **probe,
        **{
            name: [{**one, "address": one["address"] or address} for one in probe.get(name) or []]
            for name in ("targets", "listeners")
        },
    }


def answered(result: Mapping[str, Any]) -> list[str]:
    """Which servers of this host have answered, so that nobody need ask who has their ports."""
    redis, sentinel = result.get("redis") or {}, result.get("sentinel") or {}
    is_there = {
        "redis": "role" in redis,
        "cluster": bool(redis.get("cluster")),
        "sentinel": bool(sentinel.get("running")),
    }
    return [name for name, is_true in is_there.items() if is_true]


def main() -> None:
    """Run the module."""
    options = {name: {"type": "dict", "options": spec} for name, spec in QUESTIONS.items()}
    module = AnsibleModule({"questions": {"type": "dict", "default": {}, "options": options}}, supports_check_mode=True)
    module.exit_json(changed=False, **look(module.params["questions"]))


if __name__ == "__main__":
    main()
