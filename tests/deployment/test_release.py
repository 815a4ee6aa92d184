"""A release of the Django project: what is packed, and the name that the content gives it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deployment.release import Release


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with everything that is special."""
    root = tmp_path / "shop"
    for name in ("manage.py", "shop/settings.py", "shop/static/стиль.css", "assets/logo.svg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "manage.py").chmod(0o755)
    (root / "link.py").symlink_to("shop/settings.py")
    (root / "dangling").symlink_to("absent")
    (root / "public").symlink_to("assets")
    for name in (".git/HEAD", "venv/bin/python", "shop/__pycache__/x.pyc", "shop/y.pyc", "shop/node_modules/z/z.js"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("left out")
    return root


def members(archive: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive) as opened:
        return {entry.name: entry for entry in opened}


def release(directory: Path, **files: str) -> Release:
    return Release({"project": str(directory)}, files)


def digest(directory: Path, **files: str) -> str:
    return release(directory, **files).digest()


def test_what_is_packed(project: Path, tmp_path: Path) -> None:
    files = {"manage": "#!/bin/sh\n", "lib/requirements.txt": "x"}
    entries = members(Release({"project": str(project)}, files).pack(tmp_path / "archives"))
    directories = [entry for entry in entries.values() if entry.isdir()]
    assert {entry.name for entry in directories} >= {"lib", "project", "project/shop"}
    assert {entry.mode for entry in directories} == {0o755}
    assert sorted(name for name, entry in entries.items() if not entry.isdir()) == [
        "lib/requirements.txt",
        "manage",
        "project/assets/logo.svg",
        "project/dangling",
        "project/link.py",
        "project/manage.py",
        "project/public",
        "project/shop/settings.py",
        "project/shop/static/стиль.css",
    ]
    links = {name: entry.linkname for name, entry in entries.items() if entry.issym()}
    assert links == {"project/dangling": "absent", "project/link.py": "shop/settings.py", "project/public": "assets"}
    assert {name for name, entry in entries.items() if entry.isfile() and entry.mode & 0o100} == {
        "manage",
        "project/manage.py",
    }
    # Nothing of the machine that packed.
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries.values()} == {
        (0, 0, "", "", 0)
    }


def test_the_unpacked_project_is_the_packed_one(project: Path, tmp_path: Path) -> None:
    archive = release(project).pack(tmp_path / "archives")
    (tmp_path / "there").mkdir()
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path / "there"], check=True)
    there = tmp_path / "there" / "project"
    assert (there / "shop/static/стиль.css").read_text() == "shop/static/стиль.css"
    assert (there / "public" / "logo.svg").read_text() == "assets/logo.svg"
    assert os.access(there / "manage.py", os.X_OK)
    assert not os.access(there / "shop/settings.py", os.X_OK)


def test_the_same_content_has_the_same_name_wherever_it_is(project: Path, tmp_path: Path) -> None:
    before = digest(project)
    (project / "shop" / "y.pyc").write_text("changed")
    (project / ".git" / "HEAD").write_text("changed")
    (project / "shop" / "settings.py").touch()
    os.utime(project / "manage.py", (1, 1))
    (project / "shop" / "settings.py").chmod(0o600)
    moved = project.rename(tmp_path / "moved")
    assert digest(moved) == before
    assert len(before) == 16


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "manage.py").write_text("changed"),
    "a new file": lambda root: (root / "new").touch(),
    "a lost file": lambda root: (root / "manage.py").unlink(),
    "a new name": lambda root: (root / "manage.py").rename(root / "managed.py"),
    "executable": lambda root: (root / "shop/settings.py").chmod(0o755),
    "not executable": lambda root: (root / "manage.py").chmod(0o644),
    "a link's target": lambda root: relink(root / "link.py", "manage.py"),
    "a folder link's target": lambda root: relink(root / "public", "shop"),
    "a link instead of a file": lambda root: relink(root / "manage.py", "x"),
    "the border of two files": lambda root: (
        (root / "shop/settings.py").write_text("shop/settings.pyx"),
        (root / "manage.py").write_text("manage.p"),
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_content_has_another_name(project: Path, change: Callable[[Path], object]) -> None:
    before = digest(project)
    change(project)
    assert digest(project) != before


def test_further_files_are_a_part_of_the_name(project: Path) -> None:
    assert len({digest(project), digest(project, a="x"), digest(project, a="y"), digest(project, b="x")}) == 4


def test_an_archive_is_packed_once(project: Path, tmp_path: Path) -> None:
    dest = tmp_path / "cache" / "archives"
    path = release(project).pack(dest)
    assert path == dest / f"{digest(project)}.tar.gz"
    assert dest.stat().st_mode & 0o777 == 0o700
    assert "project/manage.py" in members(path)
    written = path.stat().st_mtime_ns
    assert release(project).pack(dest) == path
    assert path.stat().st_mtime_ns == written
    assert list(dest.iterdir()) == [path]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert Release({"project": str(absent), "lib": str(tmp_path)}).missing() == [str(absent)]
    # A file is no project.
    (tmp_path / "file").touch()
    assert release(tmp_path / "file").missing() == [str(tmp_path / "file")]
