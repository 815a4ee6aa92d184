"""Commands on the host, and Django's readiness, which a small HTTP server stands for."""

from __future__ import annotations

import http.server
import json
import os
import pwd
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.commands import ask_ready, command, ready
from ansible.module_utils.host.run import PartError, Run

from servers import free_port

Serve = Callable[..., str]


def test_a_command_runs(tmp_path: Path) -> None:
    result = command({"argv": ["sh", "-c", 'pwd > "$1/out"', "sh", str(tmp_path)]}, Run())
    assert result == {"changed": False, "ran": True, "rc": 0}
    assert (tmp_path / "out").read_text() == "/\n"


def test_a_command_never_runs_in_check_mode(tmp_path: Path) -> None:
    params = {"argv": ["touch", str(tmp_path / "out")], "user": "not-yet"}
    assert command(params, Run(check_mode=True)) == {"changed": False, "ran": False, "rc": 0}
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_fails_says_its_last_lines() -> None:
    script = "for i in $(seq 100); do echo line $i; done; echo 'CACHES is wrong' >&2; exit 3"
    with pytest.raises(PartError) as failure:
        command({"argv": ["sh", "-c", script, "check"]}, Run())
    text = str(failure.value)
    assert text.startswith("`sh -c ")
    assert "check` failed with exit status 3: line 82\n" in text
    assert text.endswith("line 100\nCACHES is wrong")


def aside(folder: Path) -> list[dict[str, str]]:
    """A directory and a file in it, as the control side has them."""
    return [
        {"part": "directory", "name": "aside", "path": str(folder), "mode": "0750"},
        {"part": "file", "name": "new", "path": str(folder / "new"), "content": "new\n", "mode": "0640"},
    ]


@pytest.mark.parametrize("status", [0, 3])
def test_what_is_there_for_a_command_alone(tmp_path: Path, status: int) -> None:
    folder = tmp_path / "aside"
    # Of a run that was killed.
    folder.mkdir()
    (folder / "former").touch()
    script = f'find "$1" -printf "%P %m\\n" > "$WHERE"; exit {status}'
    environment = {"WHERE": str(tmp_path / "seen")}
    params = {"argv": ["sh", "-c", script, "sh", str(folder)], "environment": environment, "aside": aside(folder)}
    run = Run()
    if status:
        with pytest.raises(PartError, match="failed with exit status 3"):
            command(params, run)
    else:
        assert command(params, run)["ran"]
    assert (tmp_path / "seen").read_text().splitlines() == [" 750", "new 640"]
    assert os.listdir(tmp_path) == ["seen"]
    # What is put in place afterwards has these diffs.
    assert (run.diffs, run.planned) == ([], {})


def test_nothing_is_put_aside_in_check_mode(tmp_path: Path) -> None:
    command({"argv": ["true"], "aside": aside(tmp_path / "aside")}, Run(check_mode=True))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"argv": ["/absent/manage.py"]}, "/absent/manage.py does not start: No such file or directory"),
        ({"argv": ["true"], "user": "no-such-user"}, "there is no user no-such-user"),
        ({"argv": ["true"], "usr": "x"}, "wrong parameters: usr is unknown"),
        ({}, "wrong parameters: argv is missing"),
    ],
)
def test_a_command_that_does_not_start(params: dict[str, Any], text: str) -> None:
    with pytest.raises(PartError) as failure:
        command(params, Run())
    assert str(failure.value) == text


WHO = ["sh", "-c", 'test "$(id -un):$(id -gn):$HOME:$USER" = "$1" || { id; exit 1; }', "sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_command_of_another_user() -> None:
    home = pwd.getpwnam("nobody").pw_dir
    assert command({"argv": [*WHO, f"nobody:nogroup:{home}:nobody"], "user": "nobody"}, Run())["ran"]


def test_a_command_of_our_own_user() -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    assert command({"argv": ["sh", "-c", f'test "$(id -un)" = {name}'], "user": name}, Run())["ran"]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer requests with one of these answers after the other, the last one again and again; return the URL."""
    servers = []

    def start(*answers: tuple[int, str]) -> str:
        left = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # The name is that of the base class.
                status, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status if self.path == "/readyz" else 404)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


OK = (200, json.dumps({"status": "ok", "caches": {"default": "ok"}}))
DEGRADED = (503, json.dumps({"status": "degraded"}))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (OK, {"status": 200, "json": {"status": "ok", "caches": {"default": "ok"}}}),
        (DEGRADED, {"status": 503, "json": {"status": "degraded"}}),
        ((500, "<h1>Server Error</h1>"), {"status": 500, "json": {}}),
        ((200, "[]"), {"status": 200, "json": {}}),
    ],
)
def test_ask_ready(serve: Serve, answer: tuple[int, str], found: dict[str, Any]) -> None:
    assert ask_ready(serve(answer)) == found


def test_a_proxy_is_not_asked(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert ask_ready(serve(OK))["status"] == 200


def test_nobody_there() -> None:
    assert ask_ready(f"http://127.0.0.1:{free_port()}") == {"error": "Connection refused"}
    assert "error" in ask_ready("http://no-such-host.invalid")
    assert "error" in ask_ready("no URL")


def test_ready_waits_until_all_is_well(serve: Serve) -> None:
    url = serve((500, "x"), DEGRADED, DEGRADED, OK)
    result = ready({"url": url, "wait": 20}, Run())
    assert result == {"changed": False, "status": 200, "json": json.loads(OK[1])}


def test_ready_fails_with_what_was_said_last(serve: Serve) -> None:
    url = serve(DEGRADED)
    text = rf'^{url}/readyz does not say after 0 seconds that all is well: 503 {{"status": "degraded"}}$'
    with pytest.raises(PartError, match=text):
        ready({"url": url, "wait": 0}, Run())
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(PartError, match="Connection refused"):
        ready({"url": url, "wait": 0}, Run())


def test_ready_asks_once_in_check_mode(serve: Serve) -> None:
    url = serve(DEGRADED, OK)
    assert ready({"url": url}, Run(check_mode=True))["json"] == {"status": "degraded"}
    assert ready({"url": url}, Run(check_mode=True))["json"]["status"] == "ok"
    assert ready({"url": f"http://127.0.0.1:{free_port()}"}, Run(check_mode=True)) == {
        "changed": False,
        "error": "Connection refused",
    }
