"""The bridge between Ansible and the package ``deployment``: the only file that touches the import path.

A task runs it once for all hosts. It resolves every variable of the roles for every host, hands them to the package
together with what the hosts said in earlier tasks, and returns the package's answer. It contacts no host.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from jinja2 import Undefined, UndefinedError

# Ansible loads a plugin by its path, without what lies around it.
sys.path.append(str(Path(__file__).resolve().parents[3]))
# The package cachestack has the table of options by which CACHES is checked.
sys.path.append(str(Path(__file__).resolve().parents[3] / "django_app"))

from deployment import run
from deployment.checks import reading, rules, variables
from deployment.checks.problems import WARNING, Problem, as_answer, in_python
from deployment.errors import DeploymentError
from deployment.model import Inventory, hosts_of
from deployment.site import Site
from deployment.specs import PROJECT, options

# The file to which an answer goes; where it is not set, nobody asked (see ansible/ask.py).
ANSWER = "CACHESTACK_ANSWER"
# Of a host's registered variables those that the steps read: what it said, and what was found different.
LOOKED, COMPARED, PROGRAM = "cache_looked", "cache_compared", "redis_program"
# What the step compare has returned.
DESIRED = "cache_desired"
# The container of a host that Ansible reaches through Docker.
CONTAINER = "ansible_docker_host"
# And those that the audit of security judges.
SECURITY_ANSWERS = ("security_probed", "redis_exporter_probed", "firewall_compared", "django_app_checked")


class RefusedError(DeploymentError):
    """The inventory or the hosts have problems; the text is all of them."""


@dataclass(frozen=True)
class Resolved:
    """A host's variables: the ``values`` of those that have one, and the ``errors`` for which others have none.

    ``raw`` has them as they are written, and ``given`` the names of those that the roles' defaults do not decide.
    """

    raw: Mapping[str, Any]
    given: frozenset[str]
    values: Mapping[str, Any]
    errors: Mapping[str, Exception]

    def needs_facts(self, name: str) -> bool:
        """Whether a variable without a value may have one once all facts are gathered."""
        return reading.names_facts(self.raw, name)


class ActionModule(ActionBase):
    """The steps of a run on the control node, one for each method ``_<step>`` below.

    ``check`` judges the inventory and ``compare`` the hosts as well: problems are shown, and errors fail the task. What
    a step returns is what the function of its name in deployment.run does, where there is one.
    """

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"step", "briefly", "hint", "holders"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the step of the task's argument ``step``. Changes nothing on a host, so check mode is no different."""
        result: dict[str, Any] = {"changed": False, **super().run(tmp, task_vars)}
        self._variables = task_vars or {}
        try:
            return {
                **result,
                **getattr(self, f"_{self._task.args['step']}")(),
                **HIDDEN.get(self._task.args["step"], {}),
            }
        except DeploymentError as error:
            return {**result, "failed": True, "msg": str(error)}

    # The steps

    def _check(self) -> dict[str, Any]:
        directories = sorted({str(host.raw.get("inventory_dir") or "") for host in self._hosts.values()} - {""})
        plain = [pair for one in directories for pair in reading.plain_secrets(Path(one))]
        inventory = replace(self._inventory(), plain_secrets=plain)
        self._judge(as_answer(rules.inventory_problems(inventory)), "The inventory is")
        return {}

    def _look(self) -> dict[str, Any]:
        needs_facts = any(host.needs_facts(name) for host in self._hosts.values() for name in host.errors)
        return {**run.look(self._site(), bool(self._task.args.get("briefly"))), "needs_facts": needs_facts}

    def _compare(self) -> dict[str, Any]:
        site = self._known_site(of_values=False)
        self._judge(run.problems(site), "The hosts are")
        return {**run.compare(site), "values": site.values}

    def _plan(self) -> dict[str, Any]:
        compared = {host: said["sections"] for host, said in self._registered(COMPARED).items() if "sections" in said}
        planned = run.plan(self._site(), compared)
        _answer({"plan": planned["plan"]})
        # In check mode no step is taken.
        return {**planned, "steps": {}} if self._task.check_mode else planned

    def _apply(self) -> dict[str, Any]:
        steps = _plain(self._variables["cache_plan"]["steps"])
        return run.apply(self._site(), steps)

    def _verify(self) -> dict[str, Any]:
        return run.verify(self._known_site())

    def _cachecheck(self) -> dict[str, Any]:
        reports = {host: json.loads(said["stdout"]) for host, said in self._registered("django_app_cachecheck").items()}
        if faults := run.cachecheck(self._site(), reports):
            return {"failed": True, "msg": "; ".join(faults)}
        return {}

    def _renew(self) -> dict[str, Any]:
        return run.renew(self._known_site(), self._task.check_mode)

    def _drill(self) -> dict[str, Any]:
        from drill.description import deployment_description

        site = self._known_site()
        return {"description": deployment_description(site, run.describe(site))}

    def _ask_security(self) -> dict[str, Any]:
        from security.findings import secrets_of, security_questions

        site = self._known_site()
        run.check_protocol(site)
        disclosed = run.disclose(site)
        questions = {host: security_questions(disclosed, host) for host, about in disclosed.items() if about}
        groups = [{"host": host, "groups": ["security_asked"]} for host in questions]
        described = {host: about for host, about in run.describe(site).items() if about}
        asked = {"hosts": questions, "secrets": secrets_of(disclosed), "groups": groups, "described": described}
        return {**asked, "checks": run.local_checks(site)}

    def _judge_security(self) -> dict[str, Any]:
        from security.findings import security_faults

        answers = {name: self._registered(name) for name in SECURITY_ANSWERS}
        described = run.describe(self._site())
        known = {
            host: {**described.get(host, {}), **{name: said[host] for name, said in answers.items() if host in said}}
            for host in self._variables["ansible_play_hosts_all"]
        }
        for host, about in known.items():
            # Where nothing runs there is nothing to probe.
            if host not in described or described[host]:
                about.setdefault("security_probed", {"unreachable": True})
        control = _plain(self._variables["security_control"])
        return dict(security_faults(known, control, _plain(self._task.args["holders"])))

    def _settings(self) -> dict[str, Any]:
        _answer({"settings": run.settings(self._site())})
        return {}

    def _report(self) -> dict[str, Any]:
        if self._task.check_mode and "cache_plan" in self._variables:
            text = _plain(self._variables["cache_plan"]["plan"]["text"])
        else:
            site = self._site()
            # What runs is told all the same: it was deployed with what the variables were then.
            for problem in self._known_problems(site):
                Display().warning(str(problem), formatted=True)
            text = f"{run.report(site)}\n{self._task.args.get('hint') or ''}".strip()
        return {"msg": text, "_ansible_verbose_always": True}

    def _judge(self, found: dict[str, Any], what: str) -> None:
        """Show the problems. Raises RefusedError where there are errors."""
        _answer(found)
        if any(problem["severity"] != WARNING for problem in found["problems"]):
            raise RefusedError(f"{found['text']}\n{what} refused, and nothing was changed.")
        for problem in found["problems"]:
            Display().warning(problem["text"], formatted=True)

    # What is known

    def _inventory(self, looked: Container[str] = ()) -> Inventory:
        """What the inventory says, as the checks see it; a host that was looked at has said its facts."""
        values: dict[str, dict[str, Any]] = {}
        unreadable: dict[str, dict[str, str]] = {}
        for name, host in self._hosts.items():
            values[name] = {word: value for word, value in host.values.items() if word in host.given}
            unreadable[name] = {
                word: reading.reason_of(error, host.raw[word])
                for word, error in host.errors.items()
                if word in host.given and (name in looked or not host.needs_facts(word))
            }
        return Inventory(values, self._groups(), unreadable)

    def _known_site(self, of_values: bool = True) -> Site:
        """The site, once the hosts have said their facts. Raises RefusedError where a value is missing or wrong."""
        site = self._site()
        self._judge(as_answer(self._known_problems(site, of_values)), "The inventory is")
        return site

    def _known_problems(self, site: Site, of_values: bool = True) -> list[Problem]:
        """What is wrong with the values; nothing where the step compare has found them right, and handed them on."""
        if self._compared_values:
            return []
        return rules.known_problems(self._inventory(site.looked), site.looked, of_values)

    def _site(self) -> Site:
        """Every variable of the roles for every host, as the step compare found them, and what the hosts said.

        What has no value, as before all facts are gathered, is None.
        """
        values = self._compared_values or {
            name: {**host.values, **dict.fromkeys(host.errors)} for name, host in self._hosts.items()
        }
        looked = self._registered(LOOKED)
        programs = self._registered(PROGRAM)
        said = {
            host: {**one, **({"program": programs[host]["sections"]["install"]["program"]} if host in programs else {})}
            for host, one in looked.items()
            if "facts" in one
        }
        return Site(values, self._groups(), said, str(self._variables["ansible_playbook_python"]))

    @cached_property
    def _compared_values(self) -> dict[str, dict[str, Any]]:
        """What the step compare has handed on; empty where it was not taken."""
        values: dict[str, dict[str, Any]] = _plain((self._variables.get(DESIRED) or {}).get("values") or {})
        return values

    @cached_property
    def _hosts(self) -> dict[str, Resolved]:
        """The hosts' variables, each worked out once for a task: a lookup may say something else the next time."""
        found = {}
        for host in hosts_of(self._groups()):
            raw = self._raw(host)
            given = {**self._variables["hostvars"].raw_get(host), **self._play_variables}
            names = [name for name in (*options(), *variables.CONNECTION, CONTAINER) if name in raw]
            # Later the results of tasks are among the variables, and begin like ours.
            if self._task.args["step"] == "check":
                names += [name for name in given if variables.may_be_ours(name)]
            found[host] = Resolved(raw, frozenset(given), *self._resolved(raw, dict.fromkeys(names)))
        return found

    def _resolved(self, raw: Mapping[str, Any], names: Iterable[str]) -> tuple[dict[str, Any], dict[str, Exception]]:
        """The values of some of a host's variables, and by name why others have none."""
        templar = self._templar.copy_with_new_env(available_variables=raw)
        values: dict[str, Any] = {}
        errors: dict[str, Exception] = {}
        for name in names:
            try:
                values[name] = _plain(templar.template(raw[name]))
            except (AnsibleError, UndefinedError) as error:
                errors[name] = error
        return values, errors

    def _groups(self) -> dict[str, list[str]]:
        return {name: list(hosts) for name, hosts in self._variables["groups"].items()}

    def _raw(self, host: str) -> dict[str, Any]:
        """A host's variables as they are written, above the defaults of all roles, with what it said as its facts."""
        known = self._variables["hostvars"].raw_get(host)
        looked = known.get(LOOKED) or {}
        facts = {**(known.get("ansible_facts") or {}), **_plain(looked.get("facts") or {})}
        return {
            **self._defaults,
            **known,
            **self._play_variables,
            "hostvars": self._variables["hostvars"],
            "ansible_facts": facts,
        }

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """The defaults of all roles as they are written."""
        files = sorted(PROJECT.glob("roles/*/defaults/main.yml"))
        loaded = [self._loader.load_from_file(str(path), trusted_as_template=True) or {} for path in files]
        return {name: value for one in loaded for name, value in one.items()}

    @cached_property
    def _play_variables(self) -> dict[str, Any]:
        """What the play sets, such as ``vars`` of an import_playbook; what the command line sets wins over it."""
        given = load_extra_vars(self._loader)
        play = self._task.play.get_vars() if getattr(self._task, "play", None) else {}
        return {name: value for name, value in play.items() if name not in given}

    def _registered(self, name: str) -> dict[str, dict[str, Any]]:
        """By host what a task has registered under this name, of the hosts that were reached."""
        found = {}
        for host in hosts_of(self._groups()):
            result = self._variables["hostvars"].raw_get(host).get(name)
            if result and not result.get("skipped") and not result.get("unreachable"):
                found[host] = _plain(result)
        return found


SECRETIVE = ("look", "compare", "apply", "verify", "renew", "drill", "ask_security")
# What is in the results of these steps is not for anybody's eyes, however verbose: passwords are among it.
HIDDEN: dict[str, dict[str, Any]] = {step: {"_ansible_no_log": True} for step in SECRETIVE}


def _plain(value: Any) -> Any:
    """The value in Python's own types, with all that it contains. Raises UndefinedError, as Ansible would later."""
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return in_python(value)


def _answer(content: Mapping[str, Any]) -> None:
    """Hand something to the command that asked for it, beside what earlier steps have answered.

    Lists of the same name are put together, other values replaced.
    """
    if path := os.environ.get(ANSWER):
        file = Path(path)
        known = json.loads(file.read_text("utf-8")) if file.exists() else {}
        for name, value in content.items():
            known[name] = [*known.get(name, ()), *value] if isinstance(value, list) else value
        file.write_text(json.dumps(known, ensure_ascii=False), "utf-8")
