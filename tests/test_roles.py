"""What is said twice is said alike: defaults and argument_specs, filters and specs, inventories and roles."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cachestack.option_rules import COMPRESSORS
from conftest import PROJECT
from deployment.checks import caches
from deployment.checks.rendered import django_caches
from deployment.clients import CLIENTS

ROLES = sorted(path.name for path in (PROJECT / "roles").iterdir())
PLAYBOOKS = ["site.yml", *sorted(f"ansible/{path.name}" for path in (PROJECT / "ansible").glob("*.yml"))]
INVENTORIES = sorted(path.parents[1].name for path in (PROJECT / "inventories").glob("*/group_vars/all.yml"))
EACH_ROLE = pytest.mark.parametrize("role", ROLES)
EACH_INVENTORY = pytest.mark.parametrize("inventory", INVENTORIES)


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
    """A spec of `main` would be looked at again in each play of each role that depends on this one."""
    (name,) = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    assert (PROJECT / "roles" / role / "tasks" / f"{name}.yml").exists()


@EACH_ROLE
def test_a_variable_starts_with_the_name_of_its_role(role: str) -> None:
    assert [name for name in defaults(role) if not name.startswith(f"{role}_")] == []
    internal = PROJECT / "roles" / role / "vars" / "main.yml"
    # What only the role itself uses; what others may read is a variable of the role `cache`.
    names = yaml.safe_load(internal.read_text("utf-8")) if internal.exists() else {}
    prefix = "cache_" if role == "cache" else f"__{role}_"
    assert [name for name in names if not name.startswith(prefix)] == []


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
        elif is_template(value):
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
        if not is_template(value):
            assert type(value) is PYTHON_TYPES[option["type"]], name


@EACH_ROLE
def test_nothing_is_left_to_do(role: str) -> None:
    files = [path for path in (PROJECT / "roles" / role).rglob("*") if path.is_file()]
    assert [str(path) for path in files if re.search(r"TODO|FIXME|XXX", path.read_text("utf-8"))] == []


# Filters and specs


def test_the_clients_are_those_of_the_filter() -> None:
    assert specs("cache")["cache_client"]["choices"] == list(CLIENTS)


@pytest.mark.parametrize("word", [*caches.ALIAS, "leader", "replicas", *COMPRESSORS])
def test_the_words_of_an_alias_are_described(word: str) -> None:
    assert re.search(rf"\b{word}\b", specs("django_app")["django_app_cache_aliases"]["description"])


def test_the_default_aliases_are_valid_in_every_mode() -> None:
    node = {"name": "redis-1", "address": "192.0.2.1", "port": 6379, "socket": None, "tls": False, "role": "leader"}
    aliases = load("roles/django_app/vars/main.yml")["__django_app_default_aliases"]
    for mode in specs("cache")["cache_mode"]["choices"]:
        served = {"sentinel": ["django_redis", "resilient"], "cluster": ["resilient"]}
        for client in served.get(mode, CLIENTS):
            made = django_caches(
                aliases["cluster" if mode == "cluster" else "others"],
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
    assert sorted(load("roles/django_app/vars/main.yml")["__django_app_python_floor"]) == choices


@pytest.mark.parametrize("series", sorted(constraints()))
def test_constraints(series: str) -> None:
    text = constraints()[series].read_text("utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if line and not line.startswith("#"))
    assert pins["Django"].startswith(f"{series}.")
    # What the role installs on top of what the project asks for.
    assert {"redis", "hiredis", "gunicorn", "django-redis", "lz4", "pyzstd"} <= set(pins)
    floor = load("roles/django_app/vars/main.yml")["__django_app_python_floor"][series]
    assert f'"{series}" (Python {floor} and later)' in text
    # redis-py 4 does not know the option `protocol`, which the filter writes.
    assert int(pins["redis"].split(".")[0]) >= 5
    # django-redis 7 would move Django, which it wants at 5.2 or later.
    assert int(pins["django-redis"].split(".")[0]) < 7 or float(series) >= 5.2


def test_the_tests_run_with_the_versions_of_one_series() -> None:
    """What is proven here is what is deployed by default."""
    pinned = constraints()[defaults("django_app")["django_app_django_version"]].read_text("utf-8").splitlines()
    wanted = [line for line in pinned if re.match(r"(Django|redis|django-redis|lz4|pyzstd|gunicorn)==", line)]
    tools = (PROJECT / "requirements-dev.txt").read_text("utf-8").replace("redis[hiredis]==", "redis==").splitlines()
    assert [line for line in wanted if line not in tools] == []


# Inventories


def variables(inventory: str) -> Iterator[tuple[str, Any]]:
    """Every variable that the inventory sets, for all hosts, for a group or for a host."""
    folder = PROJECT / "inventories" / inventory
    for path in [*folder.glob("group_vars/**/*.yml"), *folder.glob("host_vars/**/*.yml")]:
        yield from (yaml.safe_load(path.read_text("utf-8")) or {}).items()
    for group in load(f"inventories/{inventory}/hosts.yml").values():
        yield from (group.get("vars") or {}).items()
        for host in (group.get("hosts") or {}).values():
            yield from (host or {}).items()


def words(value: Any) -> set[str]:
    """The names that the value's templates use."""
    expressions = " ".join(re.findall(r"{{(.*?)}}", str(value)))
    return set(re.findall(r"[a-z_]\w+", re.sub(r"'[^']*'|\"[^\"]*\"", "", expressions)))


def owner(name: str) -> str | None:
    """The role that the name says it belongs to."""
    return max((role for role in ROLES if name.startswith(f"{role}_")), key=len, default=None)


@EACH_INVENTORY
def test_an_inventory_sets_what_the_roles_know(inventory: str) -> None:
    known = {name for role in ROLES for name in specs(role)}
    used = {name for name, value in variables(inventory) for name in {name, *words(value)}}
    assert used
    assert sorted(name for name in used if owner(name) and name not in known) == []


@EACH_INVENTORY
def test_an_inventory_sets_values_of_the_right_type(inventory: str) -> None:
    options = {name: option for role in ROLES for name, option in specs(role).items()}
    for name, value in variables(inventory):
        if name in options and not is_template(value):
            assert isinstance(value, PYTHON_TYPES[options[name]["type"]]), name
            assert set(map(str, listed(value))) <= set(map(str, options[name].get("choices", listed(value)))), name


@EACH_INVENTORY
def test_an_inventory_has_the_groups_and_its_mode(inventory: str) -> None:
    mode = dict(variables(inventory))["cache_mode"]
    watched = {"redis_sentinel"} if mode == "sentinel" or inventory == "local" else set()
    assert set(load(f"inventories/{inventory}/hosts.yml")) == {"redis", "django_app", *watched}
    assert mode in specs("cache")["cache_mode"]["choices"]
    if inventory in specs("cache")["cache_mode"]["choices"]:
        assert mode == inventory


@EACH_INVENTORY
def test_an_inventory_has_no_secret_in_it(inventory: str) -> None:
    for name, value in variables(inventory):
        if re.search(r"password|secret", name):
            assert is_template(value), name


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
                    if module == "template":
                        assert (folder / "templates" / arguments["src"]).is_file(), f"{path.name}: {arguments['src']}"


def test_every_filter_that_is_used_exists() -> None:
    """Each filter of the project is used somewhere, by the name under which it is registered."""
    sources = [*PROJECT.glob("roles/**/*.yml"), *PROJECT.glob("roles/**/*.j2"), *PROJECT.glob("ansible/*.yml")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    path = PROJECT / "ansible" / "plugins" / "filter" / "deployment.py"
    spec = importlib.util.spec_from_file_location("filters", path)
    assert spec is not None
    assert spec.loader is not None
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    registered = adapter.FilterModule().filters()
    assert sorted(name for name in registered if not re.search(rf"\|\s*{name}\b", text)) == []
