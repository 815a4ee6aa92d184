"""What is said twice is said alike: defaults and argument_specs, tasks and files, templates and who renders them."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cachestack.option_rules import COMPRESSORS
from conftest import PROJECT
from deployment.checks import caches
from deployment.checks.rendered import django_caches
from deployment.clients import CLIENTS, DEFAULT_ALIASES
from deployment.desired.django import PYTHON_FLOOR

ROLES = sorted(path.name for path in (PROJECT / "roles").iterdir())
PLAYBOOKS = [
    "site.yml",
    *sorted(str(path.relative_to(PROJECT)) for path in (PROJECT / "ansible").rglob("*.yml")),
]
EACH_ROLE = pytest.mark.parametrize("role", ROLES)


@functools.cache
def load(path: str) -> Any:
    return yaml.safe_load((PROJECT / path).read_text("utf-8"))


def defaults(role: str) -> dict[str, Any]:
    values: dict[str, Any] = load(f"roles/{role}/defaults/main.yml")
    return values


def specs(role: str) -> dict[str, dict[str, Any]]:
    (entry_point,) = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"].values()
    options: dict[str, dict[str, Any]] = entry_point["options"]
    return options


def is_template(value: Any) -> bool:
    return "{{" in str(value) or "{%" in str(value)


# Defaults and argument_specs


@EACH_ROLE
def test_every_default_has_its_spec_and_every_spec_its_default(role: str) -> None:
    assert list(defaults(role)) != []
    assert sorted(defaults(role)) == sorted(specs(role))


@EACH_ROLE
def test_the_spec_is_of_the_tasks_that_the_role_begins_with(role: str) -> None:
    """But for the role cache, the first task of which checks all variables."""
    wanted = "variables" if role == "cache" else "main"
    assert list(load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]) == [wanted]
    assert (PROJECT / "roles" / role / "tasks" / "main.yml").exists()


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_no_playbook_has_ansible_check_the_variables_again(playbook: str) -> None:
    """The preflight has judged them, all hosts together; once more by each role and host costs seconds."""
    for play in load(playbook):
        assert "roles" not in play
        for task in play.get("tasks", ()):
            named = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
            assert not named or "tasks_from" in named or named["rolespec_validate"] is False, task["name"]


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_every_role_that_a_playbook_names_has_these_tasks(playbook: str) -> None:
    """Included ones are only looked for when their task runs."""
    for play in load(playbook):
        for task in play.get("tasks", ()):
            named = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
            if named:
                path = PROJECT / "roles" / named["name"] / "tasks" / f"{named.get('tasks_from', 'main')}.yml"
                assert path.is_file(), task["name"]


@EACH_ROLE
def test_a_variable_starts_with_the_name_of_its_role(role: str) -> None:
    assert [name for name in defaults(role) if not name.startswith(f"{role}_")] == []
    internal = PROJECT / "roles" / role / "vars" / "main.yml"
    # What the role's own tasks call what was worked out for the host; an inventory sets none of it.
    names = yaml.safe_load(internal.read_text("utf-8")) if internal.exists() else {}
    assert [name for name in names if not name.startswith(f"{role}_") or name in specs(role)] == []


@EACH_ROLE
def test_a_variable_belongs_to_one_role(role: str) -> None:
    """The role `redis` must not own what starts with `redis_x_` if there is a role `redis_x`."""
    longer = [other for other in ROLES if other.startswith(f"{role}_")]
    assert [name for name in defaults(role) for other in longer if name.startswith(f"{other}_")] == []


@EACH_ROLE
def test_every_default_says_why(role: str) -> None:
    """A comment is above each variable, or above the group of lines that it is in."""
    silent, commented = [], False
    for line in (PROJECT / "roles" / role / "defaults" / "main.yml").read_text("utf-8").splitlines():
        commented = line.startswith("#") or (commented and line != "")
        if re.match(r"\w+:", line) and not commented:
            silent.append(line)
    assert silent == []


@EACH_ROLE
def test_the_specs_defaults_are_the_defaults(role: str) -> None:
    for name, option in specs(role).items():
        value = defaults(role)[name]
        if option.get("required"):
            assert "default" not in option, name
            assert value == "", f"{name} is required, and so has an empty default for the check to find"
        elif value is None or is_template(value):
            assert "default" not in option, f"{name}: its default is computed"
            assert "default is" in option["description"], f"{name}: nothing says what its default is"
        else:
            assert (value, type(value)) == (option["default"], type(option["default"])), name


@EACH_ROLE
def test_the_specs_are_complete(role: str) -> None:
    """Ansible takes an unknown key, such as what a stray comma leaves behind, without a word."""
    types = {"str", "int", "float", "bool", "list", "dict", "path", "raw"}
    for name, option in specs(role).items():
        assert set(option) <= {"description", "type", "required", "default", "choices", "elements"}, name
        assert option["type"] in types, name
        assert option["description"].strip().endswith("."), name
        assert ("elements" in option) == (option["type"] == "list"), name
        if "choices" in option and "default" in option:
            assert set(listed(option["default"])) <= set(option["choices"]), name


@EACH_ROLE
def test_the_bounds_are_those_of_the_roles_numbers(role: str) -> None:
    path = f"roles/{role}/meta/bounds.yml"
    bounds: dict[str, dict[str, Any]] = load(path) if (PROJECT / path).exists() else {}
    for name, limits in bounds.items():
        option = specs(role)[name]
        assert option["type"] in ("int", "float"), name
        assert set(limits) <= {"least", "most", "unit"}, name
        assert limits["least"] <= option.get("default", limits["least"]) <= limits["most"], name
    # In prose they would be a copy.
    assert [name for name, option in specs(role).items() if re.search(r"\(\d+ to \d", option["description"])] == []


def listed(value: Any) -> list[Any]:
    """A value that has choices as a list, each entry of which is one."""
    return value if isinstance(value, list) else [value]


PYTHON_TYPES: dict[str, type] = {
    "str": str,
    "path": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
}


@EACH_ROLE
def test_every_default_has_the_type_of_its_spec(role: str) -> None:
    for name, option in specs(role).items():
        value = defaults(role)[name]
        if value is not None and not is_template(value):
            assert type(value) is PYTHON_TYPES[option["type"]], name


@EACH_ROLE
def test_nothing_is_left_to_do(role: str) -> None:
    files = [path for path in (PROJECT / "roles" / role).rglob("*") if path.is_file()]
    assert [str(path) for path in files if re.search(r"TODO|FIXME|XXX", path.read_text("utf-8"))] == []


# Specs and the package


def test_the_clients_are_those_of_the_check() -> None:
    assert specs("cache")["cache_client"]["choices"] == list(CLIENTS)


@pytest.mark.parametrize("word", [*caches.ALIAS, "leader", "replicas", *COMPRESSORS])
def test_the_words_of_an_alias_are_described(word: str) -> None:
    assert re.search(rf"\b{word}\b", specs("django_app")["django_app_cache_aliases"]["description"])


def test_the_default_aliases_are_valid_in_every_mode() -> None:
    node = {"name": "redis-1", "address": "192.0.2.1", "port": 6379, "socket": None, "tls": False, "role": "leader"}
    for mode in specs("cache")["cache_mode"]["choices"]:
        served = {"sentinel": ["django_redis", "resilient"], "cluster": ["resilient"]}
        for client in served.get(mode, CLIENTS):
            made = django_caches(
                DEFAULT_ALIASES["cluster" if mode == "cluster" else "others"],
                mode,
                client,
                [node],
                "x",
                "",
                "dj_session",
                sentinels=[node],
            )
            assert list(made) == ["default", "dj_session"]


# The versions of Django


def constraints() -> dict[str, Path]:
    folder = PROJECT / "roles" / "django_app" / "files" / "constraints"
    return {path.stem.removeprefix("django-"): path for path in folder.iterdir()}


def test_every_django_series_has_its_constraints() -> None:
    choices = specs("django_app")["django_app_django_version"]["choices"]
    assert sorted(constraints()) == choices
    assert sorted(PYTHON_FLOOR) == choices


@pytest.mark.parametrize("series", sorted(constraints()))
def test_constraints(series: str) -> None:
    text = constraints()[series].read_text("utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if line and not line.startswith("#"))
    assert pins["Django"].startswith(f"{series}.")
    # What the role installs on top of what the project asks for.
    assert {"redis", "hiredis", "gunicorn", "django-redis", "lz4", "pyzstd"} <= set(pins)
    assert f'"{series}" (Python {PYTHON_FLOOR[series]} and later)' in text
    # redis-py 4 does not know the option `protocol`, which CACHES has.
    assert int(pins["redis"].split(".")[0]) >= 5
    # django-redis 7 would move Django, which it wants at 5.2 or later.
    assert int(pins["django-redis"].split(".")[0]) < 7 or float(series) >= 5.2


def test_the_tests_run_with_the_versions_of_one_series() -> None:
    """What is proven here is what is deployed by default."""
    pinned = constraints()[defaults("django_app")["django_app_django_version"]].read_text("utf-8").splitlines()
    wanted = [line for line in pinned if re.match(r"(Django|redis|django-redis|lz4|pyzstd|gunicorn)==", line)]
    tools = (PROJECT / "requirements-dev.txt").read_text("utf-8").replace("redis[hiredis]==", "redis==").splitlines()
    assert [line for line in wanted if line not in tools] == []


# Playbooks


def test_every_playbook_is_valid(tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    # Nothing of the user's own configuration.
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_HOME": str(tmp_path)}
    command = [program, "--syntax-check", *PLAYBOOKS]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, env=environment)
    assert result.returncode == 0, result.stderr
    assert [line.removeprefix("playbook: ") for line in result.stdout.split("\n") if line] == PLAYBOOKS


@EACH_ROLE
def test_every_file_that_a_role_names_exists(role: str) -> None:
    """Included files are only looked for when their task runs."""
    folder = PROJECT / "roles" / role
    for path in folder.glob("tasks/*.yml"):
        for task in yaml.safe_load(path.read_text("utf-8")) or []:
            for each in [task, *task.get("block", []), *task.get("rescue", []), *task.get("always", [])]:
                for name, arguments in each.items():
                    module = name.removeprefix("ansible.builtin.")
                    if module in ("include_tasks", "import_tasks"):
                        file = arguments if isinstance(arguments, str) else arguments["file"]
                        # A name with a template in it stands for any file that it may become.
                        pattern = re.sub(r"{{.*?}}", "*", file)
                        assert list(folder.glob(f"tasks/{pattern}")), f"{path.name}: {file}"
                    if module in ("include_role", "import_role"):
                        other = PROJECT / "roles" / arguments["name"] / "tasks"
                        assert (other / f"{arguments.get('tasks_from', 'main')}.yml").is_file(), (
                            f"{path.name}: {arguments}"
                        )


@EACH_ROLE
def test_every_template_is_rendered(role: str) -> None:
    """By the package: templates hold text, and no task decides what is filled in."""
    rendered = {
        (node.args[0].value, node.args[1].value)
        for path in (PROJECT / "deployment").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "render"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[1], ast.Constant)
    }
    templates = {(role, path.name) for path in (PROJECT / "roles" / role / "templates").glob("*")}
    assert templates - rendered == set()


@EACH_ROLE
def test_every_variable_is_used(role: str) -> None:
    """By the package, by a playbook or by the role's own tasks."""
    folders = ("deployment", "ansible", "security", "drill", f"roles/{role}/tasks", f"roles/{role}/vars")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*") if path.suffix in (".py", ".yml")]
    used = set(re.findall(r"[a-z_]\w+", "\n".join(path.read_text("utf-8") for path in files)))
    assert sorted(set(specs(role)) - used) == []
