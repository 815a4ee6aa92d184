"""The preflight as people run it: on real inventories, through Ansible, which contacts no host for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import PROJECT

HOSTS = {
    "redis": {"hosts": {"redis-1": {"ansible_host": "192.0.2.11"}, "redis-2": {"ansible_host": "192.0.2.12"}}},
    "django_app": {"hosts": {"app-1": {"ansible_host": "192.0.2.21"}}},
}
PASSWORD = "a-Password-of-40-characters-that-is-fine"
ALL = {
    "cache_mode": "replication",
    "redis_password": "{{ vault_redis_password }}",
    "vault_redis_password": PASSWORD,
    "redis_admin_password": f"admin-{PASSWORD}",
    "django_app_secret_key": PASSWORD * 2,
}


def write(folder: Path, variables: dict[str, Any], hosts: dict[str, Any] | None = None) -> Path:
    """An inventory."""
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(json.dumps(HOSTS if hosts is None else hosts))
    (folder / "group_vars" / "all.yml").write_text(json.dumps(variables))
    return folder


def ask(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What the preflight says."""
    command = [sys.executable, str(PROJECT / "ansible" / "ask.py"), "preflight", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)


def rules(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The rules that are not kept to."""
    return [problem["rule"] for problem in json.loads(done.stdout)]


@pytest.mark.parametrize(
    "inventory", sorted(path.parents[1].name for path in (PROJECT / "inventories").glob("*/group_vars/all.yml"))
)
def test_the_shipped_inventories_are_right(inventory: str) -> None:
    done = ask("-i", PROJECT / "inventories" / inventory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no problems\n", "")


def test_the_play_itself_refuses_a_wrong_inventory(tmp_path: Path) -> None:
    """As the first one of site.yml; the hosts, which are in a network for examples, are not contacted."""
    inventory = write(tmp_path / "shop", {**ALL, "redis_port": "abc"})
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "-i", str(inventory), "site.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert done.returncode == 2
    assert "redis_port = 'abc'" in done.stdout
    assert "The inventory is refused, and nothing was changed." in done.stdout
    assert "PLAY [Look at the hosts]" not in done.stdout


def test_problems_are_printed_together_and_for_programs(tmp_path: Path) -> None:
    wrong = {**ALL, "redis_port": "abc", "redis_pasword": "opensesame", "vault_redis_password": "hunter2"}
    inventory = write(tmp_path / "shop", wrong)
    done = ask("-i", inventory)
    assert done.returncode == 1
    assert done.stdout.startswith("3 errors\n")
    assert "group redis: redis_password: it is 7 characters long" in done.stdout
    assert not [secret for secret in ("opensesame", "hunter2") if secret in done.stdout]
    done = ask("-i", inventory, "--json")
    assert (done.returncode, set(rules(done))) == (
        1,
        {"wrong-value", "unknown-variable", "weak-secret", "secret-in-the-open"},
    )


def test_what_names_nothing_is_told_of_every_variable(tmp_path: Path) -> None:
    wrong = {**ALL, "redis_address": "{{ nobody }}", "redis_config": {"maxmemory-samples": "{{ no_number }}"}}
    del wrong["vault_redis_password"]
    told = ask("-i", write(tmp_path / "shop", wrong)).stdout
    for name, missing in (
        ("redis_password", "vault_redis_password"),
        ("redis_address", "nobody"),
        ("redis_config", "no_number"),
    ):
        assert f"all hosts: {name}: its value cannot be had: '{missing}' is undefined" in told


def test_what_only_the_hosts_know_is_no_problem(tmp_path: Path) -> None:
    later = {
        **ALL,
        "redis_maxmemory": "{{ ansible_facts['memtotal_mb'] // 4 }}mb",
        "redis_conf_dir": "/etc/redis/{{ redis_port }}",
        "redis_bind": "{{ ansible_facts['default_ipv4']['address'] }} 127.0.0.1",
    }
    done = ask("-i", write(tmp_path / "shop", later), "--json")
    assert set(rules(done)) == {"secret-in-the-open"}, done.stdout + done.stderr
    assert done.returncode == 0


def test_the_command_line_counts(tmp_path: Path) -> None:
    inventory = write(tmp_path / "shop", ALL)
    done = ask("-i", inventory, "--json", "-e", "cache_mode=sentinel", "-e", '{"redis_port": 0}')
    assert set(rules(done)) >= {"wrong-value", "sentinels"}


def test_no_host_at_all_is_a_problem(tmp_path: Path) -> None:
    done = ask("-i", write(tmp_path / "shop", ALL, {"redis": {"hosts": {}}}))
    assert done.returncode == 1
    assert "it has no host" in done.stdout


def test_what_is_no_inventory_is_ansibles_error(tmp_path: Path) -> None:
    done = ask("-i", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_the_generated_secrets_are_no_hosts(tmp_path: Path) -> None:
    """A folder is read as an inventory file by file, and a secret that became a host would be printed."""
    for inventory in ("sentinel", "replication"):
        ask("-i", PROJECT / "inventories" / inventory)
        command = ["ansible-inventory", "-i", str(PROJECT / "inventories" / inventory), "--graph"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout
        secrets = [path.read_text().strip() for path in (PROJECT / "inventories" / inventory / "secrets").iterdir()]
        assert secrets
        assert not [secret for secret in secrets if secret in listed]
