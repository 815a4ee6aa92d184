"""The firewall, with programs of the test for nft, unshare and systemctl."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.firewall import firewall_load, is_loaded
from ansible.module_utils.host.run import PartError, Run

# The rules of a network are in a file: `live`, or `empty` for what runs in one of its own. nft prints them in words of
# its own, here in capitals.
NFT = """#!/bin/sh
rules={directory}/${{NETWORK:-live}}
case "$1" in
-f) grep -q wrong "$2" && exit 1; tr a-z A-Z < "$2" > "$rules" ;;
list) cat "$rules" ;;
esac
"""
UNSHARE = """#!/bin/sh
[ -e {directory}/forbidden ] && {{ echo "Operation not permitted" >&2; exit 1; }}
[ "$1" = --net ] || exit 1
shift
NETWORK=empty exec "$@"
"""
SYSTEMCTL = """#!/bin/sh
cd {directory}
echo "$1" >> calls
case "$1" in
show)
    echo MainPID=0
    [ -e active ] && echo ActiveState=active || echo ActiveState=inactive
    [ -e enabled ] && echo UnitFileState=enabled || echo UnitFileState=disabled
    [ -e stale ] && echo NeedDaemonReload=yes || echo NeedDaemonReload=no ;;
daemon-reload) rm -f stale ;;
enable) touch enabled ;;
start) nft -f rules.nft && touch active ;;
reload) nft -f rules.nft ;;
esac
"""


class Fake:
    def __init__(self, directory: Path) -> None:
        self.directory, self.rules = directory, directory / "rules.nft"
        self.params = {"name": "cachestack-firewall", "file": str(self.rules)}

    def load(self, check: bool = False) -> dict[str, Any]:
        return firewall_load(self.params, Run(check))

    def calls(self) -> list[str]:
        path = self.directory / "calls"
        lines = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, text in (("nft", NFT), ("unshare", UNSHARE), ("systemctl", SYSTEMCTL)):
        (tmp_path / name).write_text(text.format(directory=tmp_path))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "rules.nft").write_text("tcp dport 6379 drop\n")
    return Fake(tmp_path)


def test_rules_are_loaded_once(fake: Fake) -> None:
    assert fake.load(check=True) == {"changed": True, "same": False}
    assert not (fake.directory / "live").exists()
    assert fake.calls() == ["show"]
    assert fake.load() == {"changed": True, "same": False}
    assert (fake.directory / "live").read_text() == "TCP DPORT 6379 DROP\n"
    assert fake.calls() == ["show", "daemon-reload", "enable", "start"]
    for check in (True, False):
        assert fake.load(check) == {"changed": False, "same": True}
        assert fake.calls() == ["show"]


@pytest.mark.parametrize("where", ["file", "live"])
def test_other_rules_are_loaded_again(fake: Fake, where: str) -> None:
    """Be it that the file is a new one, or that somebody has changed what runs."""
    fake.load()
    path = fake.rules if where == "file" else fake.directory / "live"
    path.write_text("tcp dport 6380 drop\n")
    fake.calls()
    assert fake.load(check=True) == {"changed": True, "same": False}
    assert fake.load() == {"changed": True, "same": False}
    assert fake.calls() == ["show", "show", "reload"]
    assert not fake.load()["changed"]


def test_a_file_that_check_mode_does_not_write(fake: Fake) -> None:
    fake.load()
    run = Run(check_mode=True)
    run.write(str(fake.rules), "tcp dport 6380 drop\n")
    assert firewall_load(fake.params, run)["changed"]


@pytest.mark.parametrize("lost", ["active", "enabled"])
def test_a_unit_that_does_not_run_or_does_not_start_with_the_machine(fake: Fake, lost: str) -> None:
    fake.load()
    (fake.directory / lost).unlink()
    assert fake.load(check=True) == {"changed": True, "same": True}
    assert fake.load()["changed"]
    assert not fake.load()["changed"]


def test_a_unit_that_was_not_read(fake: Fake) -> None:
    fake.load()
    (fake.directory / "stale").touch()
    fake.calls()
    assert not fake.load()["changed"]
    assert fake.calls() == ["show", "daemon-reload"]


@pytest.mark.parametrize("reason", ["no file", "a wrong file", "no network of its own", "no rules"])
def test_what_cannot_be_compared_is_not_the_same(fake: Fake, reason: str) -> None:
    fake.load()
    assert is_loaded(str(fake.rules))
    if reason == "no file":
        fake.rules.unlink()
    elif reason == "a wrong file":
        fake.rules.write_text("wrong\n")
    elif reason == "no network of its own":
        (fake.directory / "forbidden").touch()
    else:
        fake.rules.write_text("")
        (fake.directory / "live").write_text("")
    assert not is_loaded(str(fake.rules))
    assert fake.load(check=True)["changed"]


def test_an_empty_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/absent")
    params = {"name": "cachestack-firewall", "file": "/absent/cachestack-firewall.nft"}
    assert firewall_load(params, Run(check_mode=True)) == {"changed": True, "same": False}
    with pytest.raises(PartError, match="there is no systemd on this host"):
        firewall_load(params, Run())
