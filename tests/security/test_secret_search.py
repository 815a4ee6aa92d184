"""Secrets in files, in processes, in the journal and in units: each is found however it is written."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
from ansible.module_utils import secret_search
from ansible.module_utils.redis_client import quote
from ansible.module_utils.secret_search import Needles, in_files, in_journal, in_processes, in_units

from parts import PASSWORD
from searching import ME, NEEDLES, SECRET, Programs


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path / "bin", monkeypatch)


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"redis://app:{urllib.parse.quote(SECRET)}@redis-1:6379/1",
        f"redis://app:{urllib.parse.quote(SECRET, safe='')}@redis-1:6379/1",
        json.dumps({"password": SECRET}),
        repr([SECRET]),
        f"requirepass {quote(SECRET)}",
        f"<p>{SECRET.replace('&', '&amp;')}</p>",
        base64.b64encode(SECRET.encode()).decode(),
        *(base64.b64encode(f"{'u' * size}:{SECRET}:x".encode()).decode() for size in range(3)),
        base64.urlsafe_b64encode(f"u:{SECRET}".encode()).decode(),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
    ],
)
def test_a_secret_is_found_however_it_is_written(text: str) -> None:
    assert NEEDLES.found(f"before {text} after".encode()) == ["password"]


def test_what_is_no_secret_is_not_found() -> None:
    assert NEEDLES.short == ["short"]
    assert NEEDLES.found(f"{SECRET[:-1]} 1234567 {SECRET[1:]}".encode()) == []
    assert not Needles({"none": ""})


@pytest.mark.parametrize("value", [PASSWORD, "ключ-от-кэша", "with 'quotes' and \\ and \""])
def test_a_secret_of_any_characters_is_found(value: str) -> None:
    needles = Needles({"it": value})
    for text in (value, json.dumps(value), quote(value), repr(value), urllib.parse.quote(value)):
        assert needles.found(text.encode()) == ["it"], text


@pytest.mark.parametrize("chunk", [7, 64])
def test_a_secret_is_found_across_the_pieces_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(secret_search, "CHUNK", chunk)
    for before in range(chunk):
        (tmp_path / "file").write_text("x" * before + SECRET)
        with (tmp_path / "file").open("rb") as file:
            assert NEEDLES.found_in(file) == ["password"], before


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every regular file, once: not links, not pipes, not what is too large for anything but a log."""
    monkeypatch.setattr(secret_search, "LARGEST", 1000)
    log, skipped = tmp_path / "log", tmp_path / "skipped"
    for folder in (log, skipped, tmp_path / ".hidden"):
        folder.mkdir()
    large = "x" * 1000 + SECRET
    texts = {"a.conf": SECRET, ".hidden/b": SECRET, "skipped/c": SECRET, "data.rdb": large, "log/redis": large}
    for name, text in {**texts, "clean": "nothing", "x.journal": SECRET}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "a.conf").chmod(0o604)
    (log / "old.log.1.gz").write_bytes(gzip.compress(SECRET.encode()))
    (log / "broken.gz").write_bytes(b"no archive")
    (tmp_path / "link").symlink_to(tmp_path / "a.conf")
    os.link(tmp_path / "a.conf", tmp_path / "twice")
    os.mkfifo(tmp_path / "pipe")
    found = in_files(NEEDLES, [str(tmp_path), str(tmp_path / "log"), "/absent"], [str(skipped)])
    files = {Path(file["path"]).name: file for file in found["files"]}
    assert sorted(set(files) - {"a.conf", "twice"}) == ["b", "old.log.1.gz", "redis"]
    assert len({"a.conf", "twice"} & set(files)) == 1
    one = files.get("a.conf") or files["twice"]
    assert (one["mode"], one["owner"], one["secrets"], one["is_log"]) == ("0604", ME, ["password"], False)
    assert files["redis"]["is_log"]
    assert SECRET not in str(found)


def test_processes() -> None:
    script = "import sys; sys.stdin.read()"
    environment = {"PASSWORD": SECRET}
    places = []
    for arguments, variables in (([SECRET], {}), ([], environment), (["harmless"], {})):
        command = [sys.executable, "-c", script, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **variables}) as process:
            mine = [one for one in in_processes(NEEDLES) if one["pid"] == process.pid]
            places.append([(one["in"], one["secrets"]) for one in mine])
            process.communicate()
    assert places == [[("cmdline", ["password"])], [("environ", ["password"])], []]


def test_journal(program: Programs) -> None:
    entries = (
        f"_SYSTEMD_UNIT=redis-6379.service\nMESSAGE=it is {SECRET}",
        "_SYSTEMD_UNIT=cron.service\nMESSAGE=nothing",
        f"MESSAGE=x\n_CMDLINE=redis-cli -a {SECRET}\nSYSLOG_IDENTIFIER=sudo",
        f"_SYSTEMD_UNIT=redis-6379.service\nMESSAGE={SECRET}",
    )
    program("journalctl", "\n\n".join(entries) + "\n\n")
    assert in_journal(NEEDLES) == [
        {"unit": "redis-6379.service", "entries": 2, "secrets": ["password"]},
        {"unit": "sudo", "entries": 1, "secrets": ["password"]},
    ]


def test_units(program: Programs) -> None:
    program("systemctl", f"Id=redis.service\nUser=redis\n\nEnvironment=PASSWORD={SECRET}\nId=app.service\n")
    assert {"unit": "app.service", "secrets": ["password"]} in in_units(NEEDLES)
    assert "redis.service" not in str(in_units(NEEDLES))


def test_a_host_without_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert in_journal(NEEDLES) == in_units(NEEDLES) == []
