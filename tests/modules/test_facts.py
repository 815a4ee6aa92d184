"""The facts of this machine are those of Ansible's own module setup."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host import facts as module
from ansible.module_utils.host.facts import facts, own_address

from conftest import PROJECT

PREFIX = "ansible_"


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Ansible's setup says, without the prefix of its facts."""
    program = str(Path(sys.executable).with_name("ansible"))
    home = tmp_path_factory.mktemp("home")
    # Nothing of the user's own configuration, nor of the project's.
    (home / "ansible.cfg").touch()
    environment = {**os.environ, "ANSIBLE_HOME": str(home), "ANSIBLE_CONFIG": str(home / "ansible.cfg")}
    subsets = "gather_subset=!all,network,platform,hardware"
    command = [program, "localhost", "-i", "localhost,", "-c", "local", "-m", "ansible.builtin.setup", "-a", subsets]
    command += ["-e", f"ansible_python_interpreter={sys.executable}"]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.partition("=>")[2])["ansible_facts"]
    return {name.removeprefix(PREFIX): value for name, value in found.items()}


@pytest.mark.parametrize(
    "name",
    ["nodename", "machine_id", "memtotal_mb"],
)
def test_facts(setup: dict[str, Any], name: str) -> None:
    assert setup.get(name, "") == facts()[name]


def test_every_fact_is_read() -> None:
    """What nobody reads costs a look on every host. An inventory that names other facts gets those of setup."""
    folders = ("deployment", "ansible/module_utils", "ansible/plugins")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*.py") if path.name != "facts.py"]
    text = "\n".join(path.read_text("utf-8") for path in files)
    unread = [name for name in facts() if not re.search(rf'(get\(|\[)"{name}"', text)]
    assert unread == []


def test_python(setup: dict[str, Any]) -> None:
    version = facts()["python"]["version"]
    assert version == {name: setup["python"]["version"][name] for name in version}


@pytest.mark.skipif(not shutil.which("ip"), reason="without it Ansible knows no addresses")
def test_addresses(setup: dict[str, Any]) -> None:
    found = facts()
    for name in ("all_ipv4_addresses", "all_ipv6_addresses"):
        assert set(found[name]) == set(setup[name])
        assert len(found[name]) == len(set(found[name]))
    for name in ("default_ipv4", "default_ipv6"):
        assert found[name].get("address") == setup[name].get("address")


def test_no_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _place: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = facts()
    assert (found["default_ipv4"], found["default_ipv6"]) == ({}, {})


def test_a_host_of_which_little_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a container without os-release, machine-id and IPv6."""
    monkeypatch.setattr(module, "text_of", lambda _: "")
    found = facts()
    assert [found[name] for name in ("machine_id", "all_ipv6_addresses", "memtotal_mb")] == ["", [], 0]


FOUND = {
    "all_ipv4_addresses": ["10.0.0.1", "172.17.0.1"],
    "all_ipv6_addresses": ["2001:db8::1"],
    "default_ipv4": {"address": "10.0.0.1"},
    "default_ipv6": {"address": "2001:db8::1"},
}


@pytest.mark.parametrize(
    ("announced", "changes", "address"),
    [
        ("172.17.0.1", {}, "172.17.0.1"),
        ("2001:db8::1", {}, "2001:db8::1"),
        ("127.0.0.1", {}, "127.0.0.1"),
        ("127.0.0.2", {}, "127.0.0.2"),
        ("::1", {}, "::1"),
        ("localhost", {}, "localhost"),
        # Behind address translation, and a name.
        ("198.51.100.7", {}, "10.0.0.1"),
        ("redis-1.example", {}, "10.0.0.1"),
        ("198.51.100.7", {"default_ipv4": {}}, "2001:db8::1"),
        ("198.51.100.7", {"default_ipv4": {}, "default_ipv6": {}}, "198.51.100.7"),
    ],
)
def test_own_address(announced: str, changes: dict[str, Any], address: str) -> None:
    assert own_address({**FOUND, **changes}, announced) == address
