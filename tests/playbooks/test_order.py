"""In which order site.yml does things, one at a time or not, and that nothing follows a failure."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from conftest import PROJECT

# Each step and why it is where it is.
ORDER = [
    # Nothing is asked of a host before the inventory is right, and nothing changed before all of them were compared.
    "all:localhost",
    "redis:redis_sentinel:django_app",
    "redis:redis_sentinel:django_app",
    "deploy_compare",
    "deploy_install",
    "{{ 'deploy_changes' if groups.deploy_install is defined else 'deploy_install' }}",
    # Before a port is opened.
    "deploy_firewall",
    # A client speaks TLS or does not: all stop, Sentinels first, that nobody fails over.
    "deploy_stop_redis:deploy_stop_sentinel",
    "deploy_stop_sentinel",
    "deploy_stop_redis",
    "deploy_retire_first",
    "deploy_redis",
    # The Sentinels know the new passwords before they are asked to promote somebody.
    "deploy_sentinel",
    "redis_sentinel:&deploy_restart_sentinel",
    # The leader last.
    "redis:&deploy_restart_replica",
    "redis:&deploy_restart_leader",
    "redis_sentinel:&deploy_agreement",
    "deploy_exporter",
    "deploy_cluster",
    # Django has the new passwords before the former ones are revoked, and no longer asks whom is retired.
    "deploy_django_app",
    "deploy_finish",
    "{{ 'django_app' if groups.deploy_finish is defined else 'deploy_finish' }}",
    "deploy_retire_sentinel",
    "deploy_retire_redis",
    "deploy_changes",
    "redis:redis_sentinel:django_app",
]
# What is retired is in nobody's way: one host that fails keeps no other one from it.
GOES_ON = ("deploy_retire_first", "deploy_retire_sentinel", "deploy_retire_redis", "deploy_changes")


def plays(path: str = "site.yml") -> list[dict[str, Any]]:
    """The plays of a playbook, those that it imports included."""
    found = []
    for play in yaml.safe_load((PROJECT / path).read_text("utf-8")):
        if "hosts" in play:
            found.append(play)
        else:
            folder = (PROJECT / path).parent
            imported = folder / play["ansible.builtin.import_playbook"]
            found += plays(str(imported.relative_to(PROJECT)))
    return found


def test_the_order() -> None:
    assert [play["hosts"] for play in plays()] == ORDER


@pytest.mark.parametrize("play", plays(), ids=lambda play: play["name"])
def test_nothing_follows_a_failure(play: dict[str, Any]) -> None:
    """A host that fails ends the run for all: the next step counts on this one."""
    if play is plays()[-1] or play["hosts"] in GOES_ON:
        return
    # Ansible takes no template here: any text would be true.
    assert play.get("any_errors_fatal") is True or play["name"] == "Say what runs"


@pytest.mark.parametrize("group", ["sentinel", "replica", "leader"])
def test_restarts_are_one_at_a_time(group: str) -> None:
    [play] = [play for play in plays() if play["hosts"].endswith(f":&deploy_restart_{group}")]
    assert play["serial"] == 1


def test_a_leader_is_succeeded_before_it_is_restarted_and_waited_for_after() -> None:
    tasks = yaml.safe_load((PROJECT / "roles/redis/tasks/restart.yml").read_text("utf-8"))
    kinds = ("redis_switchover", "host_apply", "redis_command")
    does = [kind for task in tasks for kind in kinds if kind in task]
    assert does == ["redis_switchover", "redis_command", "host_apply", "redis_command"]
    assert "when" not in tasks[0]
    assert "cluster_state:ok" in tasks[-1]["until"]


def test_the_inventory_is_checked_first_and_refused_for_all() -> None:
    [play] = plays("ansible/preflight.yml")
    [task] = play["tasks"]
    assert (task["deployment"], task["run_once"], play["tags"]) == ({"step": "check"}, True, ["always"])
    assert not {"failed_when", "ignore_errors", "when"} & set(task)
