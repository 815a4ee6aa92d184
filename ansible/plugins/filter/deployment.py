"""The filters of the project: each a function of the packages deployment, drill and security under its name here.

This is the one file that makes these packages known to Ansible, which loads every plugin alone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from jinja2 import Undefined, UndefinedError

sys.path.append(str(Path(__file__).resolve().parents[3]))
# The package cachestack has the table of options by which CACHES is checked.
sys.path.append(str(Path(__file__).resolve().parents[3] / "django_app"))

from deployment import hosts, plan, report, secrets, topology, users
from deployment.checks import facts, reading, rendered, rules, variables, versions
from deployment.checks.problems import as_answer, in_python
from deployment.model import Inventory, hosts_of, neighbours
from deployment.render import firewall, python_source, redis_conf
from deployment.specs import defaults
from drill import description
from security import findings

# Read before Ansible forks its processes, rather than in each of them.
defaults()


def inventory_problems(hostvars: Any, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what is wrong with an inventory: `problems`, each a dict, and `text` for people. Contacts no host."""
    values: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, dict[str, str]] = {}
    folders = set()
    for host in hosts_of(groups):
        found = hostvars[host]
        values[host], unreadable[host] = {}, {}
        folders.add(str(found.get("inventory_dir") or ""))
        for name in found:
            if name in variables.CONNECTION or variables.may_be_ours(name):
                try:
                    values[host][name] = _value(found[name])
                except (AnsibleError, UndefinedError) as error:
                    raw = hostvars.raw_get(host)
                    if not reading.is_known_later(str(error).strip().splitlines()[0], raw, name):
                        unreadable[host][name] = reading.reason_of(error, raw[name])
    plain = [pair for folder in sorted(filter(None, folders)) for pair in reading.plain_secrets(Path(folder))]
    return as_answer(rules.inventory_problems(Inventory(values, groups, unreadable, plain)))


def _value(value: Any) -> Any:
    """The value in Python's own types, with all that it contains. Raises UndefinedError, as Ansible would later."""
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, Mapping):
        return {_value(key): _value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    return in_python(value)


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {
            "cache_words": versions.cache_words,
            "cachecheck_faults": report.cachecheck_faults,
            "certificate_names": topology.certificate_names,
            "cluster_absent": plan.cluster_absent,
            "deployment_description": description.deployment_description,
            "deployment_plan": plan.deployment_plan,
            "deployment_summary": report.deployment_summary,
            "derived_password": users.derived_password,
            "django_caches": rendered.django_caches,
            "firewall_rules": firewall.firewall_rules,
            "host_problems": facts.host_problems,
            "host_questions": hosts.host_questions,
            "inventory_problems": inventory_problems,
            "redis_access": users.redis_access,
            "redis_conf": redis_conf.redis_conf,
            "redis_has_secrets": redis_conf.redis_has_secrets,
            "redis_hosts": topology.redis_hosts,
            "redis_neighbours": neighbours,
            "redis_nodes": topology.redis_nodes,
            "redis_passwords": users.redis_passwords,
            "redis_persists": redis_conf.redis_persists,
            "redis_places": topology.redis_places,
            "redis_sentinels": topology.redis_sentinels,
            "security_faults": findings.security_faults,
            "security_questions": findings.security_questions,
            "security_secrets": findings.secrets_of,
            "sentinel_faults": report.sentinel_faults,
            "to_python": python_source.to_python,
            "topology_faults": report.topology_faults,
            "without_secrets": secrets.without_secrets,
        }
