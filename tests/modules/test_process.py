"""Processes against their files, with real processes and real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from ansible.module_utils.host.process import is_replaced, is_taken, newer_files, started_at
from ansible.module_utils.listening import listening_inodes, main_pid, processes

from servers import free_port, wait_for


def test_started_at() -> None:
    before = time.time()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as started:
        after = time.time()
        moment = started_at(started.pid)
    # The kernel counts in hundredths of a second, and what is returned is the end of one.
    assert before <= moment <= after + 0.05
    assert started_at(os.getpid()) < before


def test_a_file_that_was_written_just_before_the_start_is_not_newer(tmp_path: Path) -> None:
    """Else a service would be restarted by the next run: the parts of one run follow each other within milliseconds."""
    file = tmp_path / "settings"
    for _ in range(30):
        file.write_text("x")
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as started:
            assert newer_files([str(file)], started_at(started.pid)) == []


def test_started_at_of_a_process_with_brackets_in_its_name(tmp_path: Path) -> None:
    script = tmp_path / "a) b 1 (c"
    script.write_text("#!/bin/sh\nread line\n")
    script.chmod(0o755)
    with subprocess.Popen([script], stdin=subprocess.PIPE) as started:
        assert abs(started_at(started.pid) - time.time()) < 30


def test_started_at_of_a_process_that_has_ended() -> None:
    with pytest.raises(FileNotFoundError):
        started_at(4194304)


def test_newer_files(tmp_path: Path) -> None:
    moment = 1_000_000.0
    for name, written in (("old", moment - 1), ("same", moment), ("new", moment + 1)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    for name, target, linked in (
        ("old link to old", "old", -1),
        ("new link to old", "old", 1),
        ("old link to new", "new", -1),
        ("new link to nothing", "absent", 1),
    ):
        (tmp_path / name).symlink_to(target)
        os.utime(tmp_path / name, (moment + linked, moment + linked), follow_symlinks=False)
    # Python writes caches into the directory of a release, which makes that newer but changes no release.
    (tmp_path / "old link to a new directory").symlink_to(tmp_path.parent)
    os.utime(tmp_path / "old link to a new directory", (moment - 1, moment - 1), follow_symlinks=False)
    paths = [str(path) for path in sorted(tmp_path.iterdir())] + [str(tmp_path / "absent")]
    newer = newer_files(paths, moment)
    assert [Path(path).name for path in newer] == ["new", "new link to old", "old link to new"]


def test_is_replaced(tmp_path: Path) -> None:
    program = tmp_path / "server"
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as started:
        assert wait_for(lambda: Path(f"/proc/{started.pid}/exe").readlink() == program)
        assert not is_replaced(started.pid)
        # As a package manager does.
        (tmp_path / "new").write_bytes(b"")
        (tmp_path / "new").rename(program)
        assert is_replaced(started.pid)
    assert not is_replaced(4194304)


def test_is_taken(listening: tuple[int, int]) -> None:
    port, _ = listening
    assert is_taken("127.0.0.1", port)
    assert is_taken("0.0.0.0", port)
    assert is_taken("*", port)
    assert is_taken("localhost", port)
    assert not is_taken("127.0.0.1", free_port())


@pytest.mark.parametrize("address", ["192.0.2.254", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_not_called_taken(address: str) -> None:
    """The service's own error is the right one then."""
    assert not is_taken(address, free_port())


def test_a_connection_that_lingers_does_not_take_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            # Closed by the server first, so its side stays in TIME_WAIT.
            listener.accept()[0].close()
    assert not is_taken("127.0.0.1", port)


def test_processes(listening: tuple[int, int]) -> None:
    port, pid = listening
    inodes = listening_inodes(port)
    assert len(inodes) == 1
    (name,) = processes(inodes)
    assert name.endswith(f" (process {pid})")
    assert listening_inodes(free_port()) == set()
    assert list(processes(set())) == []


@pytest.mark.parametrize(
    ("script", "pid"),
    [
        ("echo 4711", 4711),
        ("echo 0", 0),
        ("echo", 0),
        ("true", 0),
        ("echo 4711; exit 1", 0),
        ("echo no such process", 0),
    ],
)
def test_main_pid(script: str, pid: int) -> None:
    assert main_pid(["sh", "-c", script]) == pid


def test_main_pid_without_its_manager() -> None:
    assert main_pid(["/absent/supervisorctl", "pid", "x"]) == 0
