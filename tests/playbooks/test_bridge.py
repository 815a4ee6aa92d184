"""The plugin between Ansible and the package: what it takes of a task and of the hosts, and hands on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible.template import trust_as_template

from builders import answer, running, with_ca
from builders import site as built_site
from deployment.errors import DeploymentError
from local_site import LocalSite
from rendering import bridge
from servers import free_port

# Values that are known once the hosts were looked at

HOSTS = ["redis-1", "redis-2", "redis-3", "app-1"]
# The steps behind which hosts are changed, or judged.
STEPS = ["compare", "verify", "renew", "drill", "ask_security"]
NO_ETH9 = "redis_bind: its value cannot be had: object of type 'dict' has no attribute 'eth9'"


def taken(step: str, *looked: str, **templates: str) -> None:
    """Take a step after a look at these hosts, with these templates for variables."""
    variables = {name: trust_as_template(text) for name, text in templates.items()}
    action = bridge("replication", step, looked={name: answer(name, {}) for name in looked}, **variables)
    getattr(action, f"_{step}")()


@pytest.mark.parametrize("step", STEPS)
def test_what_no_fact_says_is_refused(step: str) -> None:
    with pytest.raises(DeploymentError, match=f"all hosts: {NO_ETH9}.*\n.*nothing was changed"):
        taken(step, *HOSTS, redis_bind="{{ ansible_facts.eth9.ipv4.address }}")


@pytest.mark.parametrize("step", STEPS)
def test_a_value_of_facts_is_judged_as_others_are(step: str) -> None:
    with pytest.raises(DeploymentError, match=r"redis_port = 'about 4096': it must be an integer"):
        taken(step, *HOSTS, redis_port="about {{ ansible_facts.memtotal_mb }}")


@pytest.mark.parametrize("step", STEPS)
def test_a_secret_that_cannot_be_looked_up_is_not_empty(step: str) -> None:
    with pytest.raises(DeploymentError, match="redis_password: its value cannot be had: The lookup plugin") as raised:
        taken(step, *HOSTS, redis_password="{{ lookup('ansible.builtin.file', '/nowhere/hunter2') }}")
    assert "hunter2" not in str(raised.value)


def test_facts_of_hosts_that_were_not_looked_at_may_be_missing() -> None:
    taken("ask_security", "app-1", redis_bind="{{ '127.0.0.1' if inventory_hostname == 'app-1' else ansible_facts.a }}")
    with pytest.raises(DeploymentError, match="app-1: redis_bind: its value cannot be had"):
        taken("ask_security", "app-1", redis_bind="{{ ansible_facts.a }}")


def test_a_run_says_what_no_fact_says(tmp_path: Path) -> None:
    site = LocalSite(tmp_path)
    (tmp_path / "inventory" / "host_vars").mkdir()
    (tmp_path / "inventory" / "host_vars" / "redis-2.yml").write_text(
        "redis_bind: '{{ ansible_facts.eth9.ipv4.address }}'\n", "utf-8"
    )
    done = site.play("site.yml", "--check")
    assert done.failed
    assert f"redis-2: {NO_ETH9}" in done.output


# Hosts that are down


@pytest.fixture
def with_one_down(tmp_path: Path) -> LocalSite:
    """A site to which nothing was deployed, and whose host redis-2 cannot be reached."""
    site = LocalSite(tmp_path)
    (tmp_path / "inventory" / "host_vars").mkdir()
    down = f"ansible_connection: ssh\nansible_host: 127.0.0.1\nansible_port: {free_port()}\n"
    (tmp_path / "inventory" / "host_vars" / "redis-2.yml").write_text(down, "utf-8")
    return site


def test_an_audit_goes_on_without_a_host_that_is_down(with_one_down: LocalSite) -> None:
    done = with_one_down.play("ansible/security.yml")
    assert done.failed
    assert re.findall(r"- '(\S+): it was not asked", done.output) == ["redis-2"]
    assert re.search(r"- 'redis-1: Redis on \S+ could not be asked further", done.output), done.output


def test_the_status_is_told_without_a_host_that_is_down(with_one_down: LocalSite) -> None:
    done = with_one_down.play("ansible/status.yml")
    assert not done.failed
    assert re.findall(r"(\S+), was not asked", done.output) == ["redis-2", "redis-2"], done.output


def test_a_host_that_no_audit_has_asked_is_a_fault() -> None:
    """Whether it was down at once, or before it was probed."""
    looked = {name: answer(name, {}) for name in ("redis-1", "app-1")}
    action = bridge("standalone", "judge_security", looked=looked)
    action._task.args["holders"] = []
    control = {"machine": "here", "secrets": {word: [] for word in ("short", "files", "processes", "journal", "units")}}
    action._variables |= {"security_control": control, "ansible_play_hosts_all": ["redis-1", "app-1", "down-1"]}
    faults = action._judge_security()["faults"]
    assert [fault.partition(": it was not asked")[0] for fault in faults] == ["redis-1, app-1, down-1"]


# Renewals


@pytest.mark.parametrize("check_mode", [True, False])
def test_check_mode_renews_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    action = bridge("tls", "renew", check_mode)
    one = built_site("sentinel", said=running("sentinel", tls=True), **with_ca(tmp_path))
    monkeypatch.setattr(action, "_site", lambda: one)
    assert action._renew()["issued"] == ["redis-1", "redis-2", "redis-3"]
    assert list(tmp_path.iterdir()) == ([] if check_mode else [tmp_path / "tls"])
