"""Looks at a host: the module of the same name, and Ansible's facts where the inventory names some."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module with the argument ``questions``; with ``needs_facts`` true its ``facts`` are all of Ansible's."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"questions", "needs_facts"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look. Changes nothing, so check mode is no different."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {"questions": self._task.args.get("questions") or {}}
        looked = self._execute_module("host_look", module_args=arguments, task_vars=task_vars)
        if self._task.args.get("needs_facts") and "facts" in looked:
            gathered = self._execute_module("ansible.builtin.setup", module_args={}, task_vars=task_vars)
            # As a playbook names them.
            facts = {name.removeprefix("ansible_"): value for name, value in gathered["ansible_facts"].items()}
            looked["facts"] = {**facts, **looked["facts"]}
        return {**result, **looked}
