"""The parts that are files, in real directories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.files import absent, directory, file, lines_absent, link
from ansible.module_utils.host.run import PartError, Run

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def both(part: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Compare, then apply, and then compare again: check mode says what a run does, and then nothing is left to do."""
    seen_run, run = Run(check_mode=True), Run()
    seen, result = part(params, seen_run), part(params, run)
    assert seen == result
    assert not part(params, Run(check_mode=True))["changed"]
    assert not part(params, Run())["changed"]
    return dict(result)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_directory(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    result = both(directory, {"path": str(path), "mode": "0750"})
    assert result == {"changed": True, "differs": ["missing"], "path": str(path)}
    assert (mode(path), mode(path.parent)) == (0o750, 0o750)
    path.chmod(0o777)
    assert both(directory, {"path": str(path), "mode": "0750"})["differs"] == ["mode"]
    assert mode(path) == 0o750


def test_a_directory_without_a_mode_gets_the_usual_one(tmp_path: Path) -> None:
    both(directory, {"path": str(tmp_path / "a")})
    (tmp_path / "usual").mkdir()
    assert mode(tmp_path / "a") == mode(tmp_path / "usual")
    # And keeps what it has.
    (tmp_path / "a").chmod(0o700)
    assert not directory({"path": str(tmp_path / "a")}, Run())["changed"]


@AS_ROOT
def test_a_directory_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "data"
    both(directory, {"path": str(path), "owner": "nobody", "group": "nogroup", "mode": "0700"})
    assert (path.owner(), path.group()) == ("nobody", "nogroup")
    os.chown(path, 0, 0)
    assert both(directory, {"path": str(path), "owner": "nobody"})["differs"] == ["owner"]


def test_a_directory_of_a_user_who_is_made_by_the_run(tmp_path: Path) -> None:
    params = {"path": str(tmp_path / "data"), "owner": "not-yet", "group": "not-yet", "mode": "0700"}
    assert directory(params, Run(check_mode=True))["differs"] == ["missing"]
    with pytest.raises(PartError, match="not-yet"):
        directory(params, Run())


def test_a_directory_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(PartError, match="it is no directory"):
        directory({"path": str(tmp_path / "data")}, Run(check_mode=True))
    with pytest.raises(PartError, match="cannot be made"):
        directory({"path": str(tmp_path / "data" / "b")}, Run())


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    params = {"path": str(path), "content": "DEBUG = False\n# é\n", "mode": "0640"}
    assert both(file, params) == {"changed": True, "differs": ["missing"], "path": str(path)}
    assert (path.read_text("utf-8"), mode(path)) == (params["content"], 0o640)
    path.write_text("DEBUG = True\n")
    path.chmod(0o666)
    # What was there is said as well, so that a plan can name what changes.
    result = both(file, params)
    assert (result["differs"], result["before"]) == (["content", "mode"], "DEBUG = True\n")
    path.chmod(0o666)
    assert both(file, params)["differs"] == ["mode"]
    # Nothing was left beside it.
    assert list(tmp_path.iterdir()) == [path]


@AS_ROOT
def test_a_file_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    params = {"path": str(path), "content": "{}", "owner": "root", "group": "nogroup", "mode": "0640"}
    both(file, params)
    assert (path.owner(), path.group()) == ("root", "nogroup")
    os.chown(path, 65534, 0)
    assert both(file, params)["differs"] == ["owner", "group"]


def test_a_file_below_a_directory_that_is_made_by_the_run(tmp_path: Path) -> None:
    params = {"path": str(tmp_path / "absent" / "file"), "content": "x"}
    assert file(params, Run(check_mode=True))["differs"] == ["missing"]
    with pytest.raises(PartError, match="cannot be written: No such file or directory"):
        file(params, Run())


def test_a_file_that_is_only_written_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "volatile.conf"
    path.write_text("the server's own\n")
    params = {"path": str(path), "content": "ours\n", "force": False, "mode": "0600"}
    assert both(file, params)["differs"] == ["mode"]
    assert path.read_text() == "the server's own\n"
    path.unlink()
    assert both(file, params)["differs"] == ["missing"]


@pytest.mark.parametrize("shown", [True, False])
def test_the_diff_of_a_file(tmp_path: Path, shown: bool) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("old password\n")
    for run in (Run(check_mode=True), Run()):
        file({"path": str(path), "content": "new password\n", "diff": shown}, run)
        assert ("password" in str(run.diffs)) == shown


def test_a_file_that_nobody_may_see_is_in_no_result(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("old password\n")
    for run in (Run(check_mode=True), Run()):
        result = file({"path": str(path), "content": "new password\n", "diff": False}, run)
        assert (result["differs"], "password" in str(result)) == (["content"], False)


def test_a_copy_of_another_file(tmp_path: Path) -> None:
    source, path = tmp_path / "ca.crt", tmp_path / "copy.crt"
    params = {"path": str(path), "copy_of": str(source)}
    # Check mode cannot know what a run has not brought yet.
    assert file(params, Run(check_mode=True))["changed"]
    with pytest.raises(PartError, match=r"is to be a copy of .*ca\.crt, which does not exist"):
        file(params, Run())
    source.write_text("the CA\n")
    both(file, params)
    assert path.read_text() == "the CA\n"
    source.write_text("another CA\n")
    assert both(file, params)["differs"] == ["content"]


def test_a_file_that_a_program_refuses_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "rules.nft"
    path.write_text("good\n")
    judge = ["sh", "-c", 'grep good "$1" || { echo "$1: no rule" >&2; exit 1; }', "sh", "%s"]
    params = {"path": str(path), "content": "bad\n", "validate": judge}
    # What it needs may not be there yet in check mode.
    assert file(params, Run(check_mode=True))["changed"]
    with pytest.raises(PartError, match=rf"^{path} was not written, sh refuses it: .*: no rule$"):
        file(params, Run())
    assert path.read_text() == "good\n"
    both(file, {**params, "content": "good indeed\n"})
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(PartError, match=r"cannot be validated: .*No such file"):
        file({**params, "validate": ["/absent/nft", "%s"]}, Run())


def test_link(tmp_path: Path) -> None:
    path = tmp_path / "current"
    result = both(link, {"path": str(path), "target": "releases/1"})
    assert result == {"changed": True, "differs": ["target"], "path": str(path), "before": ""}
    assert str(path.readlink()) == "releases/1"
    run = Run(check_mode=True)
    assert link({"path": str(path), "target": "releases/2"}, run)["changed"]
    # So that a service which uses it is known to be older.
    assert str(path) in run.planned
    # So that what still serves is kept until then.
    assert both(link, {"path": str(path), "target": "releases/2"})["before"] == "releases/1"
    assert str(path.readlink()) == "releases/2"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "current"
    path.write_text("a file\n")
    both(link, {"path": str(path), "target": "releases/1"})
    (tmp_path / "directory").mkdir()
    for run in (Run(check_mode=True), Run()):
        with pytest.raises(PartError, match="it is a directory and no link"):
            link({"path": str(tmp_path / "directory"), "target": "releases/1"}, run)
    # Where what it is to be in does not exist yet, nor in check mode is made.
    params = {"path": str(tmp_path / "absent" / "current"), "target": "releases/1"}
    assert link(params, Run(check_mode=True))["changed"]
    with pytest.raises(PartError, match="does not become a link"):
        link(params, Run())


def test_absent(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "file").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "file").touch()
    names = ("data", "link", "dangling", "file", "never there")
    result = both(absent, {"paths": [str(tmp_path / name) for name in names]})
    assert result == {"changed": True, "removed": [str(tmp_path / name) for name in names[:-1]]}
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").exists()


@pytest.mark.parametrize("path", ["/", "", "//", "/etc", "/etc/", "/etc/../usr", "relative/path", "."])
def test_what_is_never_deleted(path: str) -> None:
    with pytest.raises(PartError, match="is not deleted"):
        absent({"paths": ["/absent/first", path]}, Run(check_mode=True))


def test_lines_absent(tmp_path: Path) -> None:
    path = tmp_path / "volatile.conf"
    path.write_text("include /etc/redis/redis.conf\nreplicaof 10.0.0.1 6379\nmasterauth secret\nuser app on\n")
    path.chmod(0o600)
    run = Run()
    params = {"path": str(path), "keep": "^(include|replicaof) "}
    assert lines_absent(params, Run(check_mode=True)) == {"changed": True}
    assert lines_absent(params, run) == {"changed": True}
    assert path.read_text() == "include /etc/redis/redis.conf\nreplicaof 10.0.0.1 6379\n"
    assert mode(path) == 0o600
    assert "secret" not in str(run.diffs)
    assert lines_absent(params, Run()) == {"changed": False}
    assert lines_absent({**params, "path": str(tmp_path / "absent")}, Run()) == {"changed": False}


@pytest.mark.parametrize("part", [directory, file, link, absent, lines_absent])
def test_parameters_are_checked(part: Any) -> None:
    with pytest.raises(PartError, match=r"ownr is unknown.* is missing"):
        part({"ownr": "root"}, Run(check_mode=True))
