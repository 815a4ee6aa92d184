"""The shipped inventories: what they set is what the roles know, and none has a secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from conftest import PROJECT
from test_roles import PYTHON_TYPES, ROLES, is_template, listed, load, specs

INVENTORIES = sorted(path.parents[1].name for path in (PROJECT / "inventories").glob("*/group_vars/all.yml"))
EACH_INVENTORY = pytest.mark.parametrize("inventory", INVENTORIES)


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
