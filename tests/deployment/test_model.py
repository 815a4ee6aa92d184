"""What an inventory says of its hosts: their defaults, their machines and where they are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from conftest import PROJECT
from deployment.checks.rules import inventory_problems
from deployment.model import THIS_MACHINE, Inventory, machine, neighbours
from deployment.specs import defaults, options
from deployment.topology import redis_nodes
from sample_inventories import changed, given

# Six nodes behind one address that forwards six ports of SSH to six machines.
FORWARDED: dict[str, dict[str, Any]] = {
    f"redis-{number}": {"ansible_host": "192.0.2.1", "ansible_port": 2200 + number, "redis_address": f"10.0.0.{number}"}
    for number in range(1, 7)
}


def test_the_defaults_are_those_of_the_roles() -> None:
    of_roles: dict[str, Any] = {}
    for path in PROJECT.glob("roles/*/defaults/main.yml"):
        of_roles |= yaml.safe_load(path.read_text("utf-8"))
    found = defaults()
    assert {name: of_roles[name] for name in found} == found
    # A template, or nothing: then Python decides.
    computed = options().keys() - found.keys()
    assert {name for name in computed if of_roles[name] is not None and "{{" not in str(of_roles[name])} == set()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "redis-1"),
        ({"ansible_host": "192.0.2.11"}, "192.0.2.11"),
        ({"ansible_host": "192.0.2.11", "ansible_port": 22}, "192.0.2.11"),
        ({"ansible_host": "192.0.2.11", "ansible_port": "22"}, "192.0.2.11"),
        ({"ansible_host": "192.0.2.11", "ansible_port": 2201}, "192.0.2.11:2201"),
        ({"ansible_host": "2001:db8::1", "ansible_port": 2201}, "[2001:db8::1]:2201"),
        ({"ansible_host": "127.0.0.1"}, THIS_MACHINE),
        ({"ansible_host": "localhost", "ansible_port": "22"}, THIS_MACHINE),
        ({"ansible_host": "127.0.0.1", "ansible_port": 2201}, "127.0.0.1:2201"),
        ({"ansible_host": "192.0.2.11", "ansible_connection": "local"}, THIS_MACHINE),
    ],
)
def test_a_machine(variables: Mapping[str, Any], expected: str) -> None:
    assert machine("redis-1", variables) == expected


def test_neighbours() -> None:
    hostvars: dict[str, dict[str, Any]] = {
        "redis-1": {"ansible_host": "192.0.2.11"},
        "redis-2": {"ansible_host": "192.0.2.12"},
        "redis-3": {"ansible_host": "192.0.2.11"},
        "redis-4": {},
        "redis-5": {"ansible_host": "redis-4"},
    }
    assert neighbours(list(hostvars), hostvars, "redis-1") == ["redis-1", "redis-3"]
    assert neighbours(list(hostvars), hostvars, "redis-2") == ["redis-2"]
    assert neighbours(list(hostvars), hostvars, "redis-4") == ["redis-4", "redis-5"]


def test_forwarded_ports_are_machines_for_everyone() -> None:
    """The check of the inventory, the share of the memory and the placement in a cluster count the same machines."""
    for name in FORWARDED:
        assert neighbours(list(FORWARDED), FORWARDED, name) == [name]
    one = given("cluster", len(FORWARDED))
    for name, variables in FORWARDED.items():
        changed(one, name, **variables)
    assert inventory_problems(Inventory(*one)) == []
    assert len({node["machine"] for node in redis_nodes(FORWARDED, FORWARDED, "cluster")}) == len(FORWARDED)
