"""What `make plan` prints, and what it says of a run that fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible import ask
from ansible.plugins.loader import action_loader

from rendering import load_plugins

PLAN: dict[str, Any] = {"changes": True, "hosts": {}, "cost": {}, "text": "redis-1  restart\ncost: 1 restart"}


def test_it_prints_the_plan_and_what_was_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"plan": PLAN, "problems": [{"severity": "warning", "text": "redis-1: it has little memory"}]}
    assert ask.tell_plan(answer, as_json=False) == 0
    assert capsys.readouterr().out == f"{PLAN['text']}\nwarning: redis-1: it has little memory\n"
    assert ask.tell_plan(answer, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {**PLAN, "warnings": ["redis-1: it has little memory"]}


def test_without_a_host_there_is_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask.tell_plan({"problems": [], "text": "no problems"}, as_json=False) == 1
    assert "No host was asked" in capsys.readouterr().err


OUTPUT = """
PLAY [Look at the hosts] ****

TASK [Look at the host] ****
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
    assert reason.splitlines()[0] == "TASK [Look at the host] ****"
    assert "Connection refused" in reason
    assert "RECAP" not in reason
    assert "Say something" not in reason
    assert ask.reason("[ERROR]: no such inventory\n") == "[ERROR]: no such inventory\n"


def test_the_answers_of_a_run_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugins()
    bridge = sys.modules[action_loader.get("deployment", class_only=True).__module__]
    # Nobody has asked.
    monkeypatch.delenv("CACHESTACK_ANSWER", raising=False)
    bridge._answer({"plan": PLAN})
    monkeypatch.setenv("CACHESTACK_ANSWER", str(tmp_path / "answer"))
    for content in ({"problems": [1], "text": "first"}, {"problems": [2], "text": "second"}, {"plan": PLAN}):
        bridge._answer(content)
    answer = json.loads((tmp_path / "answer").read_text("utf-8"))
    assert answer == {"problems": [1, 2], "text": "second", "plan": PLAN}
