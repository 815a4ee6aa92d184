"""The module host_apply: sections of parts in order, secrets, and what is returned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.run import PartError, Run
from ansible.plugins.modules import host_apply

from conftest import PROJECT
from parts import PASSWORD, ModuleRunner, connection, may
from servers import Farm, RedisServer, server_binary


@pytest.fixture
def module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the module with these sections."""
    runner = ModuleRunner(capsys, monkeypatch)

    def start(*sections: dict[str, Any], check: bool = False, **arguments: Any) -> dict[str, Any]:
        return runner(host_apply, check, sections=list(sections), _ansible_diff=True, **arguments)

    return start


def section(name: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "parts": list(parts)}


def redis_section(server: RedisServer, folder: Path, **users: Any) -> dict[str, Any]:
    """A server as a deployment has it: its users with secrets, and its configuration."""
    auth = folder / "auth.conf"
    content = f'port {server.port}\nbind 127.0.0.1\nsave ""\nmaxmemory 64mb\ninclude {auth}\n'
    here = connection(server, auth)
    program = str(server_binary())
    passwords = {name: {"secret": name} for name in ("admin", "app", "replica")}
    told = {"connection": here, "program": program, "passwords": passwords, "candidate": content, "keys": ["dj/*"]}
    path = str(folder / "redis.conf")
    return section(
        "redis",
        {"part": "users", "mode": "0600", **told, **users},
        {"part": "configuration", "connection": here, "program": program, "path": path, "content": content},
        {"part": "topology", "connection": here, "wait": 20},
    )


SECRETS = {"admin": PASSWORD, "app": "open sesame", "replica": "re-plica"}


def test_a_running_server(module: Any, farm: Farm, tmp_path: Path) -> None:
    """Check mode foretells it, a run does it, and then neither has anything to say; no secret is told."""
    server = farm.server("old")
    (tmp_path / "auth.conf").write_text('requirepass "old"\n')
    wanted = redis_section(server, tmp_path)
    foretold = module(wanted, check=True, secrets=SECRETS)
    assert (foretold["changed"], foretold["sections"]["redis"]["changed"]) == (True, True)
    assert may(server, "", "old", "PING") == "PONG"
    result = module(wanted, secrets=SECRETS)
    for part in ("users", "configuration"):
        assert result["sections"]["redis"][part] == foretold["sections"]["redis"][part]
    assert result["sections"]["redis"]["topology"]["role"] == "leader"
    assert result["sections"]["redis"]["configuration"]["set"]["maxmemory"] == "67108864"
    assert may(server, "app", SECRETS["app"], "GET", "dj/x") == "None"
    for secret in SECRETS.values():
        assert secret not in str(foretold)
        assert secret not in str(result)
    for check in (True, False):
        again = module(wanted, check=check, secrets=SECRETS)
        assert (again["changed"], again["diff"]) == (False, [])


def test_the_first_failure_ends_the_run(module: Any, tmp_path: Path) -> None:
    first = section("first", {"part": "directory", "path": str(tmp_path / "a")})
    second = section(
        "second",
        {"part": "file", "name": "good", "path": str(tmp_path / "a" / "b"), "content": "x"},
        {"part": "file", "name": "bad", "path": str(tmp_path / "absent" / "b"), "content": "x"},
        {"part": "file", "name": "never", "path": str(tmp_path / "a" / "c"), "content": "x"},
    )
    third = section("third", {"part": "directory", "path": str(tmp_path / "d")})
    result = module(first, second, third)
    assert (result["failed"], result["section"], result["part"]) == (True, "second", "bad")
    assert "absent/b cannot be written: No such file or directory" in result["msg"]
    assert result["sections"]["first"]["directory"]["changed"] is True
    assert list(result["sections"]["second"]) == ["changed", "good"]
    assert "third" not in result["sections"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b"]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"part": "nonsense"}, "there is no kind of part nonsense"),
        ({"part": "users", "password": "x"}, "wrong parameters: password is unknown, "),
        ({"part": "file", "path": "/x", "content": {"secret": "x"}}, "there is no secret x"),
    ],
)
def test_a_part_that_does_not_exist_so(part: dict[str, Any], said: str) -> None:
    with pytest.raises(PartError, match=said):
        host_apply.apply_part(part, {}, Run(), {})


def test_two_results_of_the_same_name(module: Any, tmp_path: Path) -> None:
    part = {"part": "directory", "path": str(tmp_path)}
    assert "two results of this section have the same name" in module(section("x", part, part))["msg"]


@pytest.mark.parametrize("changed", [True, False])
def test_a_part_that_is_applied_only_if_another_one_changed(module: Any, tmp_path: Path, changed: bool) -> None:
    if not changed:
        (tmp_path / "file").write_text("x")
    result = module(
        section(
            "x",
            {"part": "file", "path": str(tmp_path / "file"), "content": "x"},
            {"part": "command", "argv": ["touch", str(tmp_path / "ran")], "only_if": ["file"]},
        )
    )
    assert result["sections"]["x"]["command"]["ran"] is changed
    assert (tmp_path / "ran").exists() is changed


@pytest.mark.parametrize("changed", [True, False])
def test_a_part_that_is_applied_only_if_another_one_is_about_to_change(
    module: Any, tmp_path: Path, changed: bool
) -> None:
    """What it refuses is not applied, in this run and in the next."""
    if not changed:
        (tmp_path / "file").write_text("x")
    parts = (
        {"part": "command", "argv": ["false"], "only_if": ["file", "link"]},
        {"part": "file", "path": str(tmp_path / "file"), "content": {"secret": "x"}},
    )
    assert module(section("x", *parts), check=True, secrets={"x": "x"})["changed"] is changed
    for _ in range(2):
        result = module(section("x", *parts), secrets={"x": "x"})
        assert result.get("part") == ("command" if changed else None)
        assert (tmp_path / "file").exists() is not changed


def test_a_warning_of_a_part(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(params: Any, run: Run) -> dict[str, Any]:
        run.warn("look at this")
        return {"changed": False}

    warned: list[str] = []
    monkeypatch.setitem(host_apply.KINDS, "directory", part)
    # Ansible keeps warnings until its process ends.
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda _, text: warned.append(text))
    assert module(section("x", {"part": "directory"}))["changed"] is False
    assert warned == ["look at this"]


def test_the_trial_server_ends_with_the_module(
    module: Any, farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a part fails after it was started."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = farm.server("old")
    (tmp_path / "auth.conf").write_text('requirepass "wrong"\n')
    assert "WRONGPASS" in module(redis_section(server, tmp_path), secrets=SECRETS)["msg"]
    assert list(tmp_path.glob("redis-try-*")) == []


def test_ansible_takes_all_that_the_module_needs_to_the_host(farm: Farm, tmp_path: Path) -> None:
    server = farm.server("old")
    (tmp_path / "auth.conf").write_text('requirepass "old"\n')
    arguments = {"sections": [redis_section(server, tmp_path)], "secrets": SECRETS}
    program = str(Path(sys.executable).with_name("ansible"))
    command = [program, "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(
        [*command, "localhost", "-m", "host_apply", "-a", json.dumps(arguments), "-vvv"],
        env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "localhost | CHANGED" in done.stdout
    assert may(server, "admin", PASSWORD, "PING") == "PONG"
    for secret in SECRETS.values():
        assert secret not in done.stdout
