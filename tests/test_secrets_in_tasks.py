"""Every task that touches a secret hides it: nobody sees one who runs Ansible with -vvv or --diff, or reads its log."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import PROJECT

SECRET = re.compile(r"passwords?\b|secrets?\b|_auth\b|secret_key")
# Named after a secret, and none: where it is, and what a task made of it.
NO_SECRETS = {"__django_app_password_names", "__django_app_paste_secrets", "__redis_exporter_passwords"}
# The parameters of the bundle's own modules that these do not log.
HIDDEN = {
    "host_probe": {"targets", "certificate"},
    "redis_sentinel": {"leader_password", "password", "passwords"},
    "redis_switchover": {"sentinel_password"},
    "redis_users": {"passwords"},
    "security_probe": {"secrets", "servers"},
}
# Ansible's, which show what they write in a diff alone.
WRITERS = {"ansible.builtin.copy", "ansible.builtin.template"}
INCLUDES = re.compile(r"ansible\.builtin\.(include|import)_\w+")
OWN = {
    path.stem for folder in ("modules", "action") for path in (PROJECT / "ansible" / "plugins" / folder).glob("*.py")
}
# What is no variable in an expression: texts, filters, and the names of arguments.
TEXT = re.compile(r"'[^']*'|\"[^\"]*\"")
NO_VARIABLE = re.compile(r"\|\s*\w+|\w+=(?!=)")
LOOKED_UP = re.compile(r"lookup\('(?:ansible\.builtin\.)?template', '([^']+)'")
TASK_FILES = [*sorted((PROJECT / "roles").glob("*/tasks/*.yml")), PROJECT / "site.yml"]
TASK_FILES += sorted((PROJECT / "ansible").glob("*.yml"))


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
    return name not in NO_SECRETS and (name in known or bool(SECRET.search(name)))


def names_in(value: Any, role: Path | None, known: frozenset[str]) -> set[str]:
    """The names of secrets in a value, and in the templates that it looks up."""
    words = {word for found in expressions(value) for word in re.findall(r"[a-z_]\w*", found)}
    for template in LOOKED_UP.findall(str(value)):
        if role:
            words |= names_in((role / "templates" / template).read_text("utf-8"), role, known)
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
        more = frozenset(name for name, value in variables.items() if names_in(value, role, known))
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
    passed = {name for name, value in task.get("vars", {}).items() if names_in(value, role, known)}
    action = next((word for word in task if "." in word or word in OWN), "")
    if INCLUDES.fullmatch(action):
        return [f"{name} is the name of a secret that does not say so" for name in passed if not is_secret(name, ())]
    found = [f"its name has {name}" for name in names_in(task.get("name"), role, known)]
    if task.get("no_log", False) is not False:
        return found
    known |= passed
    arguments = task.get(action)
    loops = [value for word, value in task.items() if word == "loop" or word.startswith("with_")]
    if "label" not in task.get("loop_control", {}):
        found += [f"its loop shows {name}" for name in names_in(loops, role, known)]
    if action in WRITERS:
        arguments = dict(arguments or {})
        if action.endswith(".template") and role and "{{" not in arguments["src"]:
            arguments["text"] = (role / "templates" / arguments["src"]).read_text("utf-8")
        shown = names_in(arguments, role, known) if task.get("diff", True) is not False else set()
        return found + [f"its diff shows {name}" for name in shown]
    if action in HIDDEN and isinstance(arguments, str):
        return found
    shown = names_in(
        {word: value for word, value in arguments.items() if word not in HIDDEN.get(action, ())}
        if isinstance(arguments, dict)
        else arguments,
        role,
        known,
    )
    shown |= names_in(task.get("environment"), role, known)
    return found + [f"{action} shows {name}" for name in shown]


@pytest.mark.parametrize("path", TASK_FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_task_shows_a_secret(path: Path) -> None:
    role = path.parents[1] if path.parent.name == "tasks" else None
    entries = yaml.safe_load(path.read_text("utf-8"))
    found = {str(task.get("name")): faults(task, role) for task in tasks_in(entries, {})}
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize(("module", "parameters"), HIDDEN.items())
def test_what_the_modules_do_not_log(module: str, parameters: set[str]) -> None:
    """A parameter is not logged as a whole, or what is secret in its parts is not."""
    source = (PROJECT / "ansible" / "plugins" / "modules" / f"{module}.py").read_text("utf-8")
    for parameter in parameters:
        (line,) = re.findall(rf'^ {{12}}"{parameter}": (.*)$', source, re.M)
        options = re.search(r'"options": (\w+)|listed\((\w+)\)', line)
        if options:
            parts = re.search(rf"^{options.group(1) or options.group(2)}: .*?^}}", source, re.M | re.S)
            line = parts.group() if parts else ""
        assert '"no_log": True' in line, parameter


COPY = {"dest": "/etc/x", "mode": "0600"}


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ({"ansible.builtin.command": "redis-cli -a {{ redis_password }}"}, "command shows redis_password"),
        ({"ansible.builtin.command": {"argv": ["x", "{{ redis_password | quote }}"]}}, "command shows redis_password"),
        ({"ansible.builtin.debug": {"msg": "{{ hostvars['a'].redis_password }}"}}, "debug shows redis_password"),
        ({"ansible.builtin.set_fact": {"x": "{{ __redis_users }}"}}, "set_fact shows __redis_users"),
        ({"ansible.builtin.copy": {**COPY, "content": "{{ redis_password }}"}}, "its diff shows redis_password"),
        ({"ansible.builtin.command": "x", "loop": "{{ redis_passwords }}"}, "its loop shows redis_passwords"),
        ({"redis_users": {"passwords": "x"}, "with_items": ["{{ redis_password }}"]}, "its loop shows redis_password"),
        ({"redis_users": {"keys": "{{ redis_password }}"}}, "redis_users shows redis_password"),
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
        {"redis_users": "{{ __redis_users }}"},
        {"redis_users": {"passwords": {"app": "{{ redis_password }}"}}},
        {"ansible.builtin.include_role": {"name": "x"}, "vars": {"x_password": "{{ redis_password }}"}},
        {"block": [{"ansible.builtin.command": "{{ redis_password }}"}], "no_log": True},
        {"hosts": "all", "tasks": [{"ansible.builtin.command": "{{ redis_password }}", "no_log": True}]},
    ],
)
def test_a_task_that_hides_a_secret_is_not_seen(task: dict[str, Any]) -> None:
    assert [faults(one, PROJECT / "roles" / "redis") for one in tasks_in([task], {})] == [[]]


def test_a_template_with_a_secret_is_seen(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "x.j2").write_text("requirepass {{ redis_password }}")
    write = {"ansible.builtin.template": {"src": "x.j2", **COPY}}
    assert faults(write, tmp_path) == ["its diff shows redis_password"]
    assert faults({**write, "diff": False}, tmp_path) == []
    looked_up = {"redis_config": {"content": "{{ lookup('ansible.builtin.template', 'x.j2') }}"}}
    assert faults(looked_up, tmp_path) == ["redis_config shows redis_password"]


def test_a_secret_is_known_by_its_other_names() -> None:
    assert "__redis_users" in secrets_of(PROJECT / "roles" / "redis")
    assert "redis_port" not in secrets_of(PROJECT / "roles" / "redis")
