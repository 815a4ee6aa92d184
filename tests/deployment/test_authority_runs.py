"""The CA on the control node in runs that are cut short, or side by side."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from ansible.module_utils.certificates import certificate_state

from deployment.certificates import Authority

HOSTS = {"redis-1": ["10.0.0.1"], "redis-2": ["10.0.0.2"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "tls"


def authority(folder: Path) -> Authority:
    """The CA for HOSTS, as a run has it."""
    return Authority(str(folder), HOSTS)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("written", range(6))
def test_a_run_that_was_cut_short_is_gone_on_with(folder: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """Cut short at each of its six files, after half of it was written."""
    rename = os.replace
    done: list[Path] = []

    def cut(source: Path, target: Path) -> None:
        if len(done) == written:
            source.write_bytes(source.read_bytes()[:50])
            raise KeyboardInterrupt
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            authority(folder).issue()
    left = {name: text for name, text in content(folder).items() if name.endswith((".crt", ".key"))}
    assert len(left) == written
    assert all(text.endswith(b"-----\n") for text in left.values())
    authority(folder).issue()
    # What was whole is still in use, and nothing lies about.
    whole = {name for host in ("ca", "redis-1", "redis-2") if f"{host}.crt" in left for name in left if host in name}
    assert {name: content(folder)[name] for name in whole} == {name: left[name] for name in whole}
    assert len(content(folder)) == 7
    for host, names in HOSTS.items():
        cert, key, ca = (str(folder / file) for file in (f"{host}.crt", f"{host}.key", "ca.crt"))
        assert certificate_state(cert, key, ca, names[0])["faults"] == []
    assert authority(folder).issue() == {}


def test_a_run_waits_for_the_other(folder: Path) -> None:
    authority(folder).issue()
    began, ended = threading.Event(), threading.Event()
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Who only asks waits for nobody.
        assert authority(folder).reasons == {}

        def other() -> None:
            began.set()
            authority(folder).issue()
            ended.set()

        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        assert began.wait(30)
        assert not ended.wait(0.2)
    thread.join(30)
    assert ended.is_set()


def test_two_runs_at_once_have_one_ca(folder: Path) -> None:
    threads = [threading.Thread(target=authority(folder).issue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert authority(folder).reasons == {}
    assert len(content(folder)) == 7
