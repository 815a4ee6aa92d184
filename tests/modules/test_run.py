"""What the parts of a run share: files and their attributes, diffs, secrets, and the parameters of a part."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked, with_secrets
from ansible.module_utils.host.trial import ConfigError, Setup

from servers import server_binary

IS_ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_whole_and_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for check, there in ((True, False), (False, True)):
        run = Run(check)
        assert run.write(str(path), "text\n", mode="0640") == ["missing"]
        assert path.exists() is there
        assert [(diff["before"], diff["after"], diff["after_header"]) for diff in run.diffs] == [
            ("", "text\n", str(path))
        ]
    assert mode(path) == 0o640
    for check in (True, False):
        run = Run(check)
        assert (run.write(str(path), "text\n", mode="0640"), run.diffs) == ([], [])
    assert os.listdir(tmp_path) == ["file"]


def test_the_whole_text_is_there_or_the_former_one(tmp_path: Path) -> None:
    """Somebody who has it open goes on reading the former file, and hard links keep it."""
    path = tmp_path / "file"
    path.write_text("before\n")
    os.link(path, tmp_path / "link")
    Run().write(str(path), "after\n")
    assert ((tmp_path / "link").read_text(), path.read_text()) == ("before\n", "after\n")


def test_what_is_not_named_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before\n")
    path.chmod(0o604)
    assert Run().write(str(path), "after\n") == ["content"]
    assert mode(path) == 0o604
    umask = os.umask(0o027)
    try:
        Run().write(str(tmp_path / "new"), "x")
    finally:
        os.umask(umask)
    assert mode(tmp_path / "new") == 0o640


@pytest.mark.parametrize("check", [True, False])
def test_attributes_that_differ(tmp_path: Path, check: bool) -> None:
    path = tmp_path / "file"
    path.write_text("text\n")
    path.chmod(0o644)
    run = Run(check)
    assert run.write(str(path), "text\n", mode="0600") == ["mode"]
    assert mode(path) == (0o644 if check else 0o600)
    assert "mode 0644" in run.diffs[0]["before"]
    assert "mode 0600" in run.diffs[0]["after"]
    path.chmod(0o644)
    assert Run(check).write(str(path), "other\n", mode="0600") == ["content", "mode"]
    assert mode(path) == (0o644 if check else 0o600)


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert Run().write(str(path), "text\n", owner="nobody", group="12345", mode="0600") == ["missing"]
    assert (path.owner(), path.stat().st_gid, mode(path)) == ("nobody", 12345, 0o600)
    assert Run(check_mode=True).attributes(str(path), "root", "root") == ["owner", "group"]
    assert Run().write(str(path), "other\n", owner="root") == ["content", "owner"]
    assert (path.owner(), path.stat().st_gid) == ("root", 12345)


def test_a_user_who_is_made_by_the_run(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text\n")
    assert Run(check_mode=True).attributes(str(path), "nobody-yet", "nobody-yet") == ["owner", "group"]
    with pytest.raises(PartError, match="there is no user nobody-yet"):
        Run().write(str(path), "text\n", owner="nobody-yet")
    with pytest.raises(PartError, match="there is no group nobody-yet"):
        Run().write(str(path), "text\n", group="nobody-yet")


def test_a_file_that_is_only_written_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert Run().write(str(path), "ours", force=False) == ["missing"]
    path.write_text("theirs")
    assert Run().write(str(path), "ours", force=False) == []
    assert path.read_text() == "theirs"


def test_what_cannot_be_written(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent" / "file")
    assert Run(check_mode=True).write(absent, "x") == ["missing"]
    with pytest.raises(PartError, match=r"absent/file cannot be written: No such file or directory"):
        Run().write(absent, "x")
    with pytest.raises(PartError, match="cannot be read: Is a directory"):
        Run().write(str(tmp_path), "x")
    with pytest.raises(PartError, match="u=rw is no octal mode"):
        Run().write(str(tmp_path / "file"), "x", mode="u=rw")
    assert Run(check_mode=True).attributes(absent, mode="0600") == []
    with pytest.raises(PartError, match="No such file or directory"):
        Run().attributes(absent, mode="0600")
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_in_no_diff(tmp_path: Path) -> None:
    run = Run()
    run.write(str(tmp_path / "file"), "opensesame", show=False)
    assert run.diffs == []


def test_the_text_of_a_file_is_the_one_that_the_run_writes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    run = Run(check_mode=True)
    assert run.text(str(path)) is None
    path.write_text("before")
    assert run.text(str(path)) == "before"
    run.write(str(path), "after")
    assert run.text(str(path)) == "after"


def test_secrets_are_put_in_their_places() -> None:
    value = {"content": {"secret": "a"}, "list": [{"secret": "b"}, 1], "passwords": {"admin": {"secret": "a"}}}
    assert with_secrets(value, {"a": "A", "b": "B"}) == {
        "content": "A",
        "list": ["B", 1],
        "passwords": {"admin": "A"},
    }
    with pytest.raises(PartError, match="there is no secret c"):
        with_secrets([{"secret": "c"}], {})


@pytest.mark.parametrize(
    ("params", "said"),
    [({"a": 1, "c": 2}, None), ({}, "a is missing, c is missing"), ({"a": 1, "c": 2, "d": 1}, "d is unknown")],
)
def test_parameters(params: dict[str, Any], said: str | None) -> None:
    options = {"a": REQUIRED, "b": [], "c": REQUIRED}
    if said is None:
        assert checked(params, **options) == {"a": 1, "b": [], "c": 2}
    else:
        with pytest.raises(PartError, match=f"wrong parameters: {said}"):
            checked(params, **options)


def test_the_trial_server_is_kept_until_another_one_is_asked_for() -> None:
    run = Run()
    setup = Setup(str(server_binary()), "maxmemory 1mb\n")
    try:
        first = run.trial(setup)
        assert run.trial(Setup(str(server_binary()), "maxmemory 1mb\n")) is first
        assert first.redis.command("CONFIG", "GET", "maxmemory") == ["maxmemory", "1048576"]
        second = run.trial(Setup(str(server_binary()), "maxmemory 2mb\n"))
        assert second is not first
        with pytest.raises(ConfigError, match="nonsense"):
            run.trial(Setup(str(server_binary()), "nonsense 1\n"))
        # Nothing is left of the former one that could be taken for it.
        assert run.trial(setup).redis.command("PING") == "PONG"
    finally:
        run.close()


@pytest.mark.skipif(not IS_ROOT, reason="only root runs programs as somebody else")
def test_the_trial_server_runs_as_another_user(tmp_path: Path) -> None:
    run = Run()
    auth = 'user default off\nuser admin on ">x y" ~* &* +@all\n'
    try:
        trial = run.trial(Setup(str(server_binary()), "include /absent\n", "/absent", auth, run_as="nobody"))
        pid = trial.redis.info("server")["process_id"]
        assert Path(f"/proc/{pid}").owner() == "nobody"
        assert trial.redis.command("ACL", "WHOAMI") == "admin"
    finally:
        run.close()
