"""Parts of a host's state that are files: directories, files, links, and what must not be there.

Each function is a part: it takes its parameters and the run, applies what differs, in check mode only compares, and
returns at least ``changed``. Raises PartError.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked, text_on_disk

# The owner, the group and the mode of what is made; an empty one is left alone.
ATTRIBUTES = {"owner": "", "group": "", "mode": ""}


def directory(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Make a directory, and those above it, with these attributes. ``differs`` names what differed."""
    params = checked(params, path=REQUIRED, **ATTRIBUTES)
    path = params["path"]
    what = []
    if not os.path.isdir(path):
        if os.path.lexists(path):
            raise PartError(f"{path} is there, and it is no directory")
        what = ["missing"]
        run.add_diff("", "directory\n", path)
        if not run.check_mode:
            _make(path, params, run)
    what += run.attributes(path, **_attributes(params))
    return {"changed": bool(what), "differs": what, "path": path}


def _make(path: str, params: Mapping[str, Any], run: Run) -> None:
    """Make a directory; those above it that are missing get the same attributes."""
    above = os.path.dirname(path.rstrip("/"))
    if above and not os.path.isdir(above):
        _make(above, params, run)
    try:
        # With a mode of its own, open to nobody else until it has its owner.
        os.mkdir(path, 0o700 if params["mode"] else 0o777)
    except FileExistsError:
        # Another host of the same machine was faster.
        return
    except OSError as error:
        raise PartError(f"{path} cannot be made: {error.strerror}") from error
    Run().attributes(path, **_attributes(params))


def file(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Write a file, with its ``content`` or that of another file of the host (``copy_of``).

    ``differs`` names what differed: "missing", "content", "owner", "group" or "mode"; ``before`` is the former content
    where that differs and may be seen.
    """
    params = checked(params, path=REQUIRED, content="", copy_of="", force=True, diff=True, validate=(), **ATTRIBUTES)
    path, force = params["path"], params["force"]
    content = params["content"]
    if params["copy_of"]:
        source = run.text(params["copy_of"])
        if source is None and not run.check_mode:
            raise PartError(f"{path} is to be a copy of {params['copy_of']}, which does not exist")
        content = source or ""
    before = text_on_disk(path) if params["diff"] else None
    if params["validate"] and not run.check_mode and _is_other(path, content, force):
        _validate(path, content, params["validate"])
    differs = run.write(path, content, **_attributes(params), force=force, show=params["diff"])
    shown = {"before": before} if before is not None and "content" in differs else {}
    return {"changed": bool(differs), "differs": differs, "path": path, **shown}


def _is_other(path: str, content: str, force: bool) -> bool:
    """Whether the file is going to be written."""
    try:
        with open(path, "rb") as before:
            return bool(force) and before.read() != content.encode()
    except OSError:
        return True


def _validate(path: str, content: str, command: Sequence[str]) -> None:
    """Have a program judge the content, in a file of its own beside the real one."""
    try:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.") as aside:
            aside.write(content.encode())
            aside.flush()
            judge = [word.replace("%s", aside.name) for word in command]
            result = subprocess.run(judge, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise PartError(f"{path} was not written, it cannot be validated: {error}") from error
    if result.returncode:
        said = (result.stderr or result.stdout).strip()
        raise PartError(f"{path} was not written, {command[0]} refuses it: {said}")


def link(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Have a symbolic link point to ``target``; it changes in one step, so nobody sees it missing.

    ``before`` is where it pointed, "" where it did not exist.
    """
    params = checked(params, path=REQUIRED, target=REQUIRED)
    path, target = params["path"], params["target"]
    before = os.readlink(path) if os.path.islink(path) else ""
    if before == target:
        return {"changed": False, "differs": [], "path": path, "before": before}
    if os.path.isdir(path) and not before:
        raise PartError(f"{path} is there, and it is a directory and no link")
    run.planned[path] = target
    run.add_diff(f"{before}\n" if before else "", f"{target}\n", path)
    if not run.check_mode:
        aside = f"{path}.{os.getpid()}"
        try:
            os.symlink(target, aside)
            os.replace(aside, path)
        except OSError as error:
            raise PartError(f"{path} does not become a link to {target}: {error.strerror}") from error
    return {"changed": True, "differs": ["target"], "path": path, "before": before}


def absent(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Delete files and whole directories. ``removed`` are those that were there."""
    params = checked(params, paths=REQUIRED)
    removed = [path for path in params["paths"] if os.path.lexists(path)]
    for path in params["paths"]:
        # No wrong variable ever makes this a root directory, or one such as /etc.
        if not os.path.isabs(path) or "/" not in os.path.normpath(path).strip("/"):
            raise PartError(f"{path} is not deleted: this is no path of a file or directory of the deployment")
    for path in removed:
        run.add_diff("present\n", "absent\n", path)
        if not run.check_mode:
            try:
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
            except OSError as error:
                raise PartError(f"{path} cannot be deleted: {error.strerror}") from error
    return {"changed": bool(removed), "removed": removed}


def lines_absent(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Delete the lines of a file that do not match ``keep``; its diff is not shown, since they may hold secrets."""
    params = checked(params, path=REQUIRED, keep=REQUIRED)
    path = params["path"]
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as lines:
            before = lines.readlines()
    except FileNotFoundError:
        return {"changed": False}
    except OSError as error:
        raise PartError(f"{path} cannot be read: {error.strerror}") from error
    kept = [line for line in before if re.search(params["keep"], line)]
    if kept != before:
        run.write(path, "".join(kept), show=False)
    return {"changed": kept != before}


def _attributes(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(params[name] or "") for name in ATTRIBUTES}
