"""No task and no module shows a secret: nobody sees one who runs Ansible with -vvv or --diff, or reads its log."""

from __future__ import annotations

import functools
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.loader import action_loader

from conftest import PROJECT
from deployment import run
from deployment.site import Site
from deployment.users import derived_password
from rendering import INVENTORIES, PASSWORDS
from rendering import site as inventory_site

SECRET = re.compile(r"passwords?\b|secrets?\b|_auth\b|secret_key")
# The parameters of the bundle's own modules that these do not log.
HIDDEN = {
    "host_apply": {"secrets"},
    "redis_switchover": {"sentinel_password"},
    "security_probe": {"secrets", "servers"},
}
# Ansible's, which show what they write in a diff alone.
WRITERS = {"ansible.builtin.copy", "ansible.builtin.template"}
INCLUDES = re.compile(r"ansible\.builtin\.(include|import)_\w+")
MODULES = sorted(path.stem for path in (PROJECT / "ansible" / "plugins" / "modules").glob("*.py"))
OWN = {*MODULES, "deployment"}
# What is no variable in an expression: texts, filters, and the names of arguments.
TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
NO_VARIABLE = re.compile(r"\|\s*\w+|\w+=(?!=)")
TASK_FILES = [*sorted((PROJECT / "roles").glob("*/tasks/*.yml")), PROJECT / "site.yml"]
TASK_FILES += sorted((PROJECT / "ansible").rglob("*.yml"))


def expressions(value: Any) -> Iterator[str]:
    """The Jinja expressions in a value of YAML, without what is no variable in them."""
    if isinstance(value, Mapping):
        yield from (found for item in value.values() for found in expressions(item))
    elif isinstance(value, list):
        yield from (found for item in value for found in expressions(item))
    elif isinstance(value, str):
        yield from (
            NO_VARIABLE.sub("|", TEXT.sub("''", found)) for found in re.findall(r"\{[{%](.*?)[%}]\}", value, re.S)
        )


def is_secret(name: str, known: Iterable[str]) -> bool:
    return name in known or bool(SECRET.search(name))


def names_in(value: Any, known: Iterable[str]) -> set[str]:
    """The names of secrets in a value."""
    words = {word for found in expressions(value) for word in re.findall(r"[a-z_]\w*", found)}
    return {word for word in words if is_secret(word, known)}


@functools.cache
def secrets_of(role: Path | None) -> frozenset[str]:
    """Variables of a role that hold a secret under another name."""
    variables: dict[str, Any] = {}
    for folder in ("defaults", "vars"):
        path = role / folder / "main.yml" if role else None
        if path and path.exists():
            variables |= yaml.safe_load(path.read_text("utf-8")) or {}
    known: frozenset[str] = frozenset()
    while True:
        more = frozenset(name for name, value in variables.items() if names_in(value, known))
        if more <= known:
            return known
        known |= more


def tasks_in(entries: Any, inherited: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every task in a file, with what its blocks and its play say of it."""
    for entry in entries or []:
        above = {word: entry[word] for word in ("no_log", "diff") if word in entry}
        variables = {**inherited.get("vars", {}), **(entry.get("vars") or {})}
        task = {**inherited, **above, "vars": variables}
        if "hosts" in entry or "block" in entry:
            for word in ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always"):
                yield from tasks_in(entry.get(word), task)
        else:
            yield {**entry, **task}


def faults(task: Mapping[str, Any], role: Path | None = None) -> list[str]:
    """What a task gives away, a sentence for each."""
    known = secrets_of(role)
    passed = {name for name, value in task.get("vars", {}).items() if names_in(value, known)}
    action = next((word for word in task if "." in word or word in OWN), "")
    if INCLUDES.fullmatch(action):
        return [f"{name} is the name of a secret that does not say so" for name in passed if not is_secret(name, ())]
    found = [f"its name has {name}" for name in names_in(task.get("name"), known)]
    if task.get("no_log", False) is not False:
        return found
    known |= passed
    arguments = task.get(action)
    loops = [value for word, value in task.items() if word == "loop" or word.startswith("with_")]
    if "label" not in task.get("loop_control", {}):
        found += [f"its loop shows {name}" for name in names_in(loops, known)]
    if action in WRITERS:
        arguments = dict(arguments or {})
        shown = names_in(arguments, known) if task.get("diff", True) is not False else set()
        return found + [f"its diff shows {name}" for name in shown]
    if action in HIDDEN and isinstance(arguments, str):
        return found
    shown = names_in(
        {word: value for word, value in arguments.items() if word not in HIDDEN.get(action, ())}
        if isinstance(arguments, dict)
        else arguments,
        known,
    )
    shown |= names_in(task.get("environment"), known)
    return found + [f"{action} shows {name}" for name in shown]


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_task_shows_a_secret(path: Path) -> None:
    role = path.parents[1] if path.parent.name == "tasks" else None
    entries = yaml.safe_load(path.read_text("utf-8"))
    found = {str(task.get("name")): faults(task, role) for task in tasks_in(entries, {})}
    assert {name: texts for name, texts in found.items() if texts} == {}


def specs_of(module: str) -> dict[str, Any]:
    """The parameters of a module of the bundle, as it gives them to Ansible."""
    path = PROJECT / "ansible" / "plugins" / "modules" / f"{module}.py"
    loaded = runpy.run_path(str(path), run_name=module)
    given: dict[str, Any] = {}

    class AskedError(Exception):
        """The module has said what its parameters are."""

    def ask(spec: dict[str, Any], **_: Any) -> None:
        given.update(spec)
        raise AskedError

    loaded["main"].__globals__["AnsibleModule"] = ask
    with pytest.raises(AskedError):
        loaded["main"]()
    return given


def logged(spec: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The parameters named after a secret that are logged, by their paths."""
    for name, option in spec.items():
        if option.get("no_log"):
            continue
        if SECRET.search(name):
            yield f"{above}{name}"
        yield from logged(option.get("options") or {}, f"{above}{name}.")


@pytest.mark.parametrize("module", MODULES)
def test_what_the_modules_do_not_log(module: str) -> None:
    """A parameter is not logged as a whole, or what is secret in its parts is not."""
    spec = specs_of(module)
    assert list(logged(spec)) == []
    for name in HIDDEN.get(module, ()):
        parts = spec[name].get("options") or {}
        assert spec[name].get("no_log") or any(part.get("no_log") for part in parts.values()), name


def test_a_parameter_that_is_logged_is_found() -> None:
    spec = {"password": {"no_log": True}, "server": {"options": {"key_password": {}}}, "secrets": {"no_log": False}}
    assert list(logged(spec)) == ["server.key_password", "secrets"]


# What the steps of a run return

FACTS = {
    "memtotal_mb": 1000,
    "default_ipv4": {"address": "192.0.2.11"},
    "all_ipv4_addresses": ["192.0.2.11"],
    "python": {"version": {"major": 3, "minor": 11}, "modules": {}},
}
STEPS: dict[str, Callable[[Site], Any]] = {
    "look": lambda site: run.look(site),
    "compare": run.compare,
    "apply": lambda site: run.apply(site, {}),
    "plan": lambda site: run.plan(site, {}),
    "settings": run.settings,
    "report": run.report,
    "describe": run.describe,
    "disclose": run.disclose,
}
# The steps of the bridge that pass on what these return.
TASKS = {"describe": ["drill", "ask_security"], "disclose": ["ask_security"]}


@pytest.fixture(scope="module", params=INVENTORIES)
def own_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site of a shipped inventory with these secrets, whose hosts were looked at and are empty."""
    directory = {"redis_tls_authority_dir": str(tmp_path_factory.mktemp("tls"))}
    site = inventory_site(request.param, **directory, **{name: secret_of(name) for name in PASSWORDS})
    return replace(site, looked={host: {"facts": FACTS} for host in site.values})


def secret_of(name: str) -> str:
    return f"s3cret of {name}: 0123456789-0123456789"


def has_secret(value: Any) -> bool:
    text = json.dumps(value)
    derived = [derived_password(secret_of("redis_admin_password"), user) for user in ("monitor", "replica", "sentinel")]
    return any(secret in text for secret in (*map(secret_of, PASSWORDS), *derived))


def without(value: Any, hidden: Iterable[str]) -> Any:
    """The value without what is below these names."""
    if isinstance(value, Mapping):
        return {name: without(one, hidden) for name, one in value.items() if name not in hidden}
    return [without(one, hidden) for one in value] if isinstance(value, list) else value


# What the module that gets the result does not log.
NOT_LOGGED = {
    "look": {"password", "key_password"},
    "compare": HIDDEN["host_apply"],
    "apply": HIDDEN["host_apply"] | HIDDEN["redis_switchover"],
}


@pytest.mark.parametrize("step", STEPS)
def test_what_a_step_returns_is_hidden_where_it_has_secrets(own_site: Site, step: str) -> None:
    found = STEPS[step](own_site)
    bridge = sys.modules[action_loader.get("deployment", class_only=True).__module__]
    assert not has_secret(found) or set(TASKS.get(step, [step])) <= set(bridge.HIDDEN)
    assert step not in NOT_LOGGED or not has_secret(without(found, NOT_LOGGED[step]))
    assert step not in ("apply", "disclose") or has_secret(found), "the test would find none"


COPY = {"dest": "/etc/x", "mode": "0600"}


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ({"ansible.builtin.command": "redis-cli -a {{ redis_password }}"}, "command shows redis_password"),
        ({"ansible.builtin.command": {"argv": ["x", "{{ redis_password | quote }}"]}}, "command shows redis_password"),
        ({"ansible.builtin.debug": {"msg": "{{ hostvars['a'].redis_password }}"}}, "debug shows redis_password"),
        ({"ansible.builtin.set_fact": {"x": "{{ redis_admin_password }}"}}, "set_fact shows redis_admin_password"),
        ({"ansible.builtin.copy": {**COPY, "content": "{{ redis_password }}"}}, "its diff shows redis_password"),
        ({"ansible.builtin.command": "x", "loop": "{{ redis_passwords }}"}, "its loop shows redis_passwords"),
        ({"host_apply": {"secrets": "x"}, "with_items": ["{{ redis_password }}"]}, "its loop shows redis_password"),
        ({"host_apply": {"sections": "{{ redis_password }}"}}, "host_apply shows redis_password"),
        ({"redis_command": {"command": ["AUTH", "{{ redis_password }}"]}}, "redis_command shows redis_password"),
        (
            {"ansible.builtin.command": "x", "environment": {"A": "{{ redis_password }}"}},
            "command shows redis_password",
        ),
        ({"ansible.builtin.command": "{{ x }}", "vars": {"x": "{{ redis_password }}"}}, "command shows x"),
        (
            {"ansible.builtin.include_role": {"name": "service"}, "vars": {"x": "{{ redis_password }}"}},
            "x is the name of",
        ),
        ({"name": "Set {{ redis_password }}", "ansible.builtin.command": "x", "no_log": True}, "its name has"),
        ({"ansible.builtin.uri": {"url": "{{ x }}"}, "vars": {"x": "{{ a ~ django_app_secret_key }}"}}, "uri shows x"),
        ({"ansible.builtin.command": "{{ redis_password }}", "no_log": False}, "command shows redis_password"),
    ],
)
def test_a_task_that_shows_a_secret_is_seen(task: dict[str, Any], fault: str) -> None:
    (found,) = faults(next(tasks_in([task], {})), PROJECT / "roles" / "redis")
    assert fault in found


@pytest.mark.parametrize(
    "task",
    [
        {"ansible.builtin.command": "{{ redis_password }}", "no_log": True},
        {"ansible.builtin.command": "{{ redis_password }}", "no_log": "{{ cache_no_log | bool }}"},
        {"ansible.builtin.copy": {**COPY, "content": "{{ redis_password }}"}, "diff": False},
        {"ansible.builtin.command": "x", "loop": "{{ redis_passwords }}", "loop_control": {"label": "x"}},
        {"ansible.builtin.command": "{{ x | default('the password of redis') }}"},
        {"ansible.builtin.command": "x", "when": "redis_password | length > 0"},
        {"host_apply": "{{ cache_apply.hosts[inventory_hostname].redis }}"},
        {"host_apply": {"secrets": {"app": "{{ redis_password }}"}}},
        {"ansible.builtin.include_role": {"name": "x"}, "vars": {"x_password": "{{ redis_password }}"}},
        {"block": [{"ansible.builtin.command": "{{ redis_password }}"}], "no_log": True},
        {"hosts": "all", "tasks": [{"ansible.builtin.command": "{{ redis_password }}", "no_log": True}]},
    ],
)
def test_a_task_that_hides_a_secret_is_not_seen(task: dict[str, Any]) -> None:
    assert [faults(one, PROJECT / "roles" / "redis") for one in tasks_in([task], {})] == [[]]


def test_a_secret_is_known_by_its_other_names(tmp_path: Path) -> None:
    (tmp_path / "vars").mkdir()
    (tmp_path / "vars" / "main.yml").write_text("x_login: '{{ redis_password }}'\nx_line: 'say {{ x_login }}'\n")
    assert secrets_of(tmp_path) == {"x_login", "x_line"}
    assert "redis_port" not in secrets_of(PROJECT / "roles" / "redis")
