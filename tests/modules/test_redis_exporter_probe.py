"""The module redis_exporter_probe against exporters that behave, and that do not."""

from __future__ import annotations

import functools
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible.plugins.modules import redis_exporter_probe

from parts import ModuleRunner
from servers import free_port

UP = "# TYPE redis_up gauge\nredis_up 1\n"
DOWN = 'redis_exporter_last_scrape_error{err="NOAUTH"} 1\nredis_up 0\n'
INFO = b"*1\r\n$4\r\nINFO\r\n"
AUTH = b"*2\r\n$4\r\nauth\r\n$2\r\npw\r\n"
HELLO = b"*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$2\r\npw\r\n"
Exporter = Callable[..., str]
Runs = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs the module."""
    return functools.partial(ModuleRunner(capsys, monkeypatch), redis_exporter_probe)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """Serve `/metrics`, and say something to whatever `/scrape` names, or have no such page. Return the URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(metrics: str, says: bytes | None = INFO) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                if url.path == "/scrape" and says is None:
                    self.send_error(404)
                    return
                if url.path == "/scrape":
                    target = urllib.parse.parse_qs(url.query)["target"][0].removeprefix("redis://")
                    host, port = target.split(":")
                    with socket.create_connection((host, int(port)), 5) as server:
                        server.sendall(says or b"")
                        assert server.recv(100).startswith(b"-NOAUTH")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(metrics.encode())

            def log_message(self, *_: object) -> None:
                return

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("says", "heard"), [(INFO, 2 * len(INFO)), (None, 0)])
def test_an_exporter_that_keeps_its_password(run: Runs, exporter: Exporter, says: bytes | None, heard: int) -> None:
    result = run(url=exporter(UP, says))
    assert (result["changed"], result["heard"]) == (False, heard)


@pytest.mark.parametrize("says", [AUTH, HELLO])
def test_an_exporter_that_gives_its_password_away(run: Runs, exporter: Exporter, says: bytes) -> None:
    result = run(url=exporter(UP, says))
    assert result["failed"]
    assert "logs in to every server that /scrape names" in result["msg"]


def test_an_exporter_that_cannot_ask_its_server(run: Runs, exporter: Exporter) -> None:
    result = run(url=exporter(DOWN), wait=0)
    assert result["failed"]
    assert 'cannot ask its server: redis_exporter_last_scrape_error{err="NOAUTH"} 1' in result["msg"]


def test_an_exporter_that_is_not_there(run: Runs) -> None:
    result = run(url=f"http://127.0.0.1:{free_port()}", wait=0)
    assert result["failed"]
    assert "does not answer" in result["msg"]
