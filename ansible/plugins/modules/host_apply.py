#!/usr/bin/python
"""Ansible module: give a host its desired state, or in check mode say what would change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.host.certificate import certificate
from ansible.module_utils.host.cluster import cluster
from ansible.module_utils.host.commands import command, ready
from ansible.module_utils.host.configuration import configuration
from ansible.module_utils.host.files import absent, directory, file, lines_absent, link
from ansible.module_utils.host.firewall import firewall_load
from ansible.module_utils.host.program import install_program
from ansible.module_utils.host.restart import restart_reasons
from ansible.module_utils.host.run import PartError, Run, with_secrets
from ansible.module_utils.host.sentinel import sentinel, sentinel_agrees
from ansible.module_utils.host.services import (
    service,
    service_absent,
    service_killed,
    service_restarted,
    service_stopped,
    supervisor_stopped,
)
from ansible.module_utils.host.topology import topology
from ansible.module_utils.host.users import users
from ansible.module_utils.host.volatile import volatile

DOCUMENTATION = r"""
module: host_apply
short_description: Give a host its desired state
description:
  - Applies the parts of each section in order, in one process. Check mode compares with the same code, and changes
    nothing.
  - The first part that fails ends the run. What was applied until then stays, and the next run goes on from there.
options:
  sections:
    description:
      - What to apply. Each section has a C(name) and its C(parts). Each part is a dictionary with its kind as C(part),
        the key of its result as C(name) (by default the kind), and the parameters of that kind. The C(name) of a
        service is that of its unit, and the key of its result the kind.
      - With C(unless_restart) a part is left out where the section's service is about to be restarted by another task.
      - With C(only_if), a list of names, a part is applied only where one of these parts of its section changed, or,
        where it comes after this one, is about to.
      - "A value C({secret: NAME}) anywhere in a part stands for that one of I(secrets)."
    type: list
    elements: dict
    required: true
  secrets: {description: Secrets by name; they are never shown., type: dict, default: {}}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Apply the Redis configuration
  host_apply:
    secrets: {admin: "{{ redis_admin_password }}"}
    sections:
      - name: redis
        parts:
          - {part: directory, path: /etc/redis, mode: "0755"}
          - part: file
            name: password
            path: /etc/redis/password
            mode: "0600"
            content: {secret: admin}
            diff: false
"""

RETURN = r"""
sections:
  description: >-
    By section whether it C(changed), why its service C(needs_restart), and the result of each of its parts by name.
  type: dict
section: {description: The section that failed., returned: failure, type: str}
part: {description: The part that failed., returned: failure, type: str}
diff: {description: "The differences, without secrets.", type: list}
"""

KINDS: dict[str, Callable[[Mapping[str, Any], Run], dict[str, Any]]] = {
    "absent": absent,
    "certificate": certificate,
    "cluster": cluster,
    "command": command,
    "configuration": configuration,
    "directory": directory,
    "file": file,
    "firewall_load": firewall_load,
    "lines_absent": lines_absent,
    "link": link,
    "program": install_program,
    "ready": ready,
    "sentinel": sentinel,
    "sentinel_agrees": sentinel_agrees,
    "service": service,
    "service_absent": service_absent,
    "service_killed": service_killed,
    "service_restarted": service_restarted,
    "service_stopped": service_stopped,
    "supervisor_stopped": supervisor_stopped,
    "topology": topology,
    "users": users,
    "volatile": volatile,
}
# Those whose ``name`` is that of the service.
NAMED = {"firewall_load", "service", "service_absent", "service_killed", "service_restarted", "service_stopped"}


class ApplyError(Exception):
    """A part failed: ``section`` and ``part`` are its names, the text says why."""

    def __init__(self, section: str, part: str, text: str) -> None:
        super().__init__(text)
        self.section, self.part = section, part


def apply(
    sections: Sequence[Mapping[str, Any]], secrets: Mapping[str, str], run: Run, results: dict[str, dict[str, Any]]
) -> None:
    """Apply all sections, and put what their parts return into ``results``, by name. Raises ApplyError."""
    for section in sections:
        done: dict[str, Any] = {"changed": False}
        results[section["name"]] = done
        for index, part in enumerate(section["parts"]):
            name = name_of(part)
            if name in done:
                raise ApplyError(section["name"], name, "two results of this section have the same name")
            try:
                done[name] = apply_part(part, secrets, run, done, section["parts"][index + 1 :])
            except PartError as error:
                raise ApplyError(section["name"], name, str(error)) from error
            done["changed"] = done["changed"] or bool(done[name]["changed"])
        done["needs_restart"] = restart_reasons(done)


def name_of(part: Mapping[str, Any]) -> str:
    """The key of a part's result."""
    return str(part["part"] if part["part"] in NAMED else part.get("name") or part["part"])


def apply_part(
    part: Mapping[str, Any],
    secrets: Mapping[str, str],
    run: Run,
    done: Mapping[str, Any],
    later: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Apply one part, and return its result. Raises PartError.

    ``done`` has the results of its section until now, ``later`` are the parts of the section that come after it.
    """
    kind = part["part"]
    if kind not in KINDS:
        raise PartError(f"there is no kind of part {kind}")
    if "only_if" in part and not is_asked_for(part["only_if"], secrets, done, later):
        return {"changed": False, "ran": False}
    if part.get("unless_restart") and (restart_reasons(done) or is_about_to_start(done, run)):
        return {"changed": False, "ran": False}
    not_its_own = {"part", "only_if", "unless_restart"} | (set() if kind in NAMED else {"name"})
    params = {key: value for key, value in part.items() if key not in not_its_own}
    return KINDS[kind](with_secrets(params, secrets), run)


def is_asked_for(
    names: Sequence[str], secrets: Mapping[str, str], done: Mapping[str, Any], later: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether one of these parts has changed, or will: those that come later are compared."""
    if any(done[name]["changed"] for name in names if name in done):
        return True
    coming = [part for part in later if name_of(part) in names]
    return any(apply_part(part, secrets, Run(check_mode=True), done)["changed"] for part in coming)


def is_about_to_start(done: Mapping[str, Any], run: Run) -> bool:
    """Whether the section's service does not run yet, since check mode has not started it."""
    return run.check_mode and not (done.get("service") or {"running": True})["running"]


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            "sections": {"type": "list", "elements": "dict", "required": True},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    run = Run(module.check_mode)
    results: dict[str, dict[str, Any]] = {}
    failure: dict[str, Any] = {}
    try:
        apply(module.params["sections"], module.params["secrets"], run, results)
    except ApplyError as error:
        failure = {"msg": str(error), "section": error.section, "part": error.part}
    finally:
        run.close()
    for warning in run.warnings:
        module.warn(warning)
    changed = any(section["changed"] for section in results.values())
    result = {"changed": changed, "sections": results, "diff": run.diffs}
    if failure:
        module.fail_json(**result, **failure)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
