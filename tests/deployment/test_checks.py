"""Inventories that are wrong: each is refused by a rule, with the place, the variable, the value and the fix."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

import wrong_access
import wrong_django
import wrong_servers
import wrong_variables
from deployment.checks.problems import ERROR, WARNING, Problem, Rule, as_text, problems, shown
from deployment.checks.rules import RULES, inventory_problems, known_problems
from deployment.checks.servers import EXPORTER_PORT, SHARED
from deployment.decisions import exporter_port
from deployment.model import Inventory
from deployment.specs import options
from sample_inventories import (
    ADMIN_PASSWORD,
    KEY,
    PASSWORD,
    RIGHT,
    SENTINEL_PASSWORD,
    Given,
    changed,
    found,
    given,
    standalone,
    two_deployments,
    without,
)


@pytest.mark.parametrize("one", RIGHT.values(), ids=RIGHT)
def test_a_right_inventory_has_no_problems(one: Given) -> None:
    assert found(one) == []


WRONG = {**wrong_variables.WRONG, **wrong_servers.WRONG, **wrong_access.WRONG, **wrong_django.WRONG}
SECRETS = ("opensesame", "hunter2", "p@ss/w#rd", PASSWORD, ADMIN_PASSWORD, SENTINEL_PASSWORD, KEY)


@pytest.mark.parametrize(("rule", "one", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_inventory_is_refused_with_the_fix(rule: str, one: Given, words: list[str]) -> None:
    told = "\n".join(str(problem) for problem in found(one) if problem.rule == rule)
    assert [word for word in words if word not in told] == [], told or found(one)
    everything = as_text(found(one))
    assert not [secret for secret in SECRETS if secret in everything]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_has_a_fault_that_it_alone_tells(rule: Rule) -> None:
    cases = [one for name, one, _ in WRONG.values() if name == rule.id]
    if rule.id in ("unreadable-variable", "secret-in-the-open", "two-deployments"):
        return
    assert cases
    others = tuple(other for other in RULES if other is not rule)
    for one in cases:
        assert rule.id not in {problem.rule for problem in problems(others, Inventory(*one), one[1])}


def test_everything_is_told_at_once_errors_first() -> None:
    one = given("sentinel", 2, 2, redis_port=0, redis_maxmemory_policy="noeviction", redis_pasword="x", redis_tls="no")
    told = found(one)
    assert {problem.rule for problem in told} >= {"wrong-value", "sentinels", "unknown-variable", "memory-policy"}
    assert [problem.severity for problem in told] == sorted(problem.severity for problem in told)
    text = as_text(told)
    assert text.startswith(f"{len(told) - 1} errors\n")
    assert "1 warning\n" in text


def test_what_a_whole_group_says_is_told_once_of_the_group() -> None:
    (told,) = found(given("replication", 3, redis_port=0))
    assert told.where == ("all hosts",)
    one = given("replication", 3)
    for name in one[1]["redis"]:
        one[0][name]["redis_port"] = 0
    (told,) = found(one)
    assert told.where == ("group redis",)
    (told,) = found(changed(changed(given("replication", 3), "redis-1", redis_port=0), "redis-3", redis_port=0))
    assert told.where == ("redis-1", "redis-3")


def test_a_value_that_nobody_can_have() -> None:
    unreadable = {"redis-1": {"redis_password": "'vault_redis_password' is undefined"}}
    one = changed(standalone(), "redis-1", redis_password=None)
    (told,) = found(one, unreadable=unreadable)
    assert told.rule == "unreadable-variable"
    assert "redis-1: redis_password: its value cannot be had: 'vault_redis_password' is undefined" in str(told)


def known(one: Given, *looked: str, of_values: bool = False, **more: Any) -> list[str]:
    """The rules that an inventory breaks whose hosts were looked at, all of them where none is named."""
    told = known_problems(Inventory(*one, **more), looked or one[0], of_values)
    return sorted({problem.rule for problem in told})


def test_a_value_that_nobody_can_have_once_facts_are_known() -> None:
    unreadable = {"redis-1": {"redis_bind": "object of type 'dict' has no attribute 'eth9'"}}
    for of_values in (True, False):
        assert known(standalone(), unreadable=unreadable, of_values=of_values) == ["unreadable-variable"]
        assert known(standalone(), "redis-1", unreadable=unreadable, of_values=of_values) == ["unreadable-variable"]
    assert known(standalone(), "app-1", unreadable=unreadable) == []


def test_a_wrong_value_once_facts_are_known() -> None:
    one = changed(given("replication", 2), "redis-1", redis_port="abc")
    assert known(one) == known(one, "redis-1") == known(one, of_values=True) == ["wrong-value"]
    assert known(one, "redis-2") == []


def test_hosts_are_compared_once_all_facts_are_known() -> None:
    """Of a part of them a value may be missing that is the same."""
    one = changed(given("replication", 2), "redis-1", redis_tls=True)
    assert "not-the-same" in known(one)
    assert known(one, "redis-1") == known(one, of_values=True) == []


def test_a_warning_is_not_given_twice() -> None:
    one = given("replication", 2, redis_acl=False)
    assert [problem.severity for problem in found(one)] == [WARNING]
    assert known(one) == []


def test_a_secret_in_the_open_is_a_warning() -> None:
    (told,) = found(standalone(), plain_secrets=[("group_vars/all.yml", "redis_password")])
    assert (told.rule, told.severity) == ("secret-in-the-open", WARNING)
    assert "group_vars/all.yml: redis_password" in str(told)


def test_no_problems_is_one_line() -> None:
    assert as_text(found(standalone())) == "no problems"


def test_a_primary_and_its_replica_must_not_share_a_machine() -> None:
    one = given("cluster", 6)
    for number, name in enumerate(one[1]["redis"]):
        one[0][name].update(ansible_host="192.0.2.1" if number < 4 else "192.0.2.2", redis_port=6379 + number)
    (told,) = found(one)
    assert "4 of 6 nodes are on one machine, 192.0.2.1" in str(told)
    assert "no more than 3" in told.fix
    one[0]["redis-4"]["ansible_host"] = "192.0.2.2"
    assert found(one) == []
    for name in one[1]["redis"]:
        one[0][name]["ansible_host"] = "192.0.2.1"
    assert "6 of 6 nodes" in str(found(one)[0])


def test_servers_of_one_machine_may_use_its_loopback_address() -> None:
    one = given("replication", 3, redis_address="127.0.0.1", ansible_connection="local")
    for number, name in enumerate(one[1]["redis"]):
        one[0][name]["redis_port"] = 6379 + number
    assert found(one) == []


def test_two_deployments_in_one_inventory_are_checked_apart() -> None:
    one = two_deployments()
    assert found(one) == []
    one[0]["b-1"]["redis_port"] = 0
    assert [problem.where for problem in found(one)] == [("b-1",)]


@pytest.mark.parametrize(("host", "own", "other"), [("b-1", "redis_b", "redis_a"), ("a-1", "redis_a", "redis_b")])
def test_a_host_in_two_deployments_is_refused(host: str, own: str, other: str) -> None:
    hosts, groups = two_deployments()
    groups[other].append(host)
    told = [str(problem) for problem in found((hosts, groups)) if problem.rule == "two-deployments"]
    assert len(told) == 1
    assert f"{host}: cache_redis_group = '{own}'" in told[0]
    assert f"group {other} of one deployment" in told[0]
    assert "take it out" in told[0]


def test_two_hundred_hosts_take_no_time() -> None:
    one = given("replication", 200, redis_maxmemory="1gb", redis_config={"hz": 20}, postgres_port=1)
    options()
    began = time.process_time()
    assert found_in(one) == []
    # The promise is 50 ms; a slow machine may take a few times as long.
    assert time.process_time() - began < 0.5


def found_in(one: Given) -> list[Problem]:
    return inventory_problems(Inventory(*one))


def test_the_first_port_of_exporters_is_the_one_that_is_deployed() -> None:
    assert exporter_port(None, 0) == EXPORTER_PORT


def test_servers_before_redis_6_need_no_password_of_the_roles() -> None:
    """A Sentinel that has none either is not asked for one."""
    one = without(given("sentinel", 3, 3, redis_acl=False), "redis_admin_password")
    assert {problem.rule for problem in found(one)} == {"users-off"}


def test_what_is_shared_is_known() -> None:
    assert set(SHARED) <= set(options())


def test_every_number_has_bounds() -> None:
    numbers = [
        option for option in options().values() if option.type in ("int", "float") and option.name != "service_port"
    ]
    assert [option.name for option in numbers if option.bounds.least is None] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_explained(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
    assert rule.text.endswith(".")
    assert rule.severity in (ERROR, WARNING)
    assert len({other.id for other in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("redis_port", 6379, "6379"),
        ("redis_password", "opensesame", ""),
        ("django_app_cache_aliases.default.options.password", "opensesame", ""),
        ("redis_config", {"requirepass": "opensesame"}, "{'requirepass': ...}"),
        ("location", "redis://user:opensesame@h:1", "'redis://user:...@h:1'"),
        ("redis_address", "x" * 99, "'" + "x" * 56 + "..."),
    ],
)
def test_what_is_shown_of_a_value(variable: str, value: Any, wanted: str) -> None:
    assert shown(variable, value) == wanted
