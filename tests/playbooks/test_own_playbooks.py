"""The roles in somebody's own playbook: without what the role cache works out, each says what to do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import PROJECT
from test_roles import ROLES

# These work by themselves: the one works out what the others apply, the other says what runs.
ALONE = ["cache", "summary"]
APPLYING = [role for role in ROLES if role not in ALONE]
PASSWORD = "a-Password-of-40-characters-that-is-fine"
VARIABLES = {
    "ansible_connection": "local",
    "ansible_python_interpreter": sys.executable,
    "redis_password": PASSWORD,
    "redis_admin_password": f"admin-{PASSWORD}",
    "django_app_secret_key": PASSWORD * 2,
}


def host_of(role: str) -> str:
    return f"for-{role}"


def play(folder: Path, plays: list[dict[str, Any]]) -> str:
    """What Ansible prints, a line for each result, for a playbook and an inventory in a folder of their own."""
    hosts = {
        "redis": {"hosts": {"redis-1": {}}},
        "others": {"hosts": dict.fromkeys(["unhurt", *map(host_of, ROLES)])},
    }
    (folder / "hosts.yml").write_text(json.dumps({**hosts, "all": {"vars": VARIABLES}}), "utf-8")
    (folder / "own.yml").write_text(json.dumps([{"gather_facts": False, **one} for one in plays]), "utf-8")
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "ANSIBLE_CALLBACK_FORMAT_PRETTY": "false",
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.yml", "own.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    return done.stdout


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By role with what it fails, where it is the only one of a play; each on a host of its own."""
    # A play all of whose hosts fail would be the last one.
    plays = [
        {
            "hosts": f"{host_of(role)}:unhurt",
            "roles": [{"role": role, "when": f"inventory_hostname == '{host_of(role)}'"}],
        }
        for role in APPLYING
    ]
    told = play(tmp_path_factory.mktemp("own"), plays)
    assert re.findall(r"changed=[1-9]", told) == []
    failed = dict(re.findall(r"^fatal: \[(\S+)\].*?(\{.*)$", told, re.M))
    return {role: json.loads(failed[host_of(role)])["msg"] for role in APPLYING}


@pytest.mark.parametrize("role", APPLYING)
def test_a_role_says_in_one_sentence_what_to_do(refusals: dict[str, str], role: str) -> None:
    sentence = refusals[role].strip().removesuffix(".")
    assert sentence.startswith(f"The role {role} ")
    assert "name the role cache" in sentence
    assert sentence.endswith("or import the playbook site.yml")
    assert ". " not in sentence


def test_every_step_is_one_of_a_role_or_refused() -> None:
    """A role of somebody's own playbook would leave out any other one without a word."""
    files = [*(PROJECT / "ansible" / "deploy").glob("*.yml"), *(PROJECT / "roles").glob("*/tasks/*.yml")]
    texts = "\n".join(path.read_text("utf-8") for path in files)
    steps = set(re.findall(r"\bdeploy_(\w+)", texts)) - {"compare", "changes"}
    of_roles = set(re.findall(r"cache_plan\.steps\.(\w+) \| default\(\[\]\)(?! \| difference)", texts))
    refused = yaml.safe_load((PROJECT / "roles" / "cache" / "vars" / "main.yml").read_text("utf-8"))
    assert of_roles | set(refused["cache_steps_of_site"]) == steps
    assert of_roles & set(refused["cache_steps_of_site"]) == set()


def test_the_summary_says_who_was_not_asked(tmp_path: Path) -> None:
    told = play(tmp_path, [{"hosts": "redis", "roles": ["summary"]}])
    assert "redis-1, was not asked" in told
    assert "failed=0" in told
