"""/healthz, /readyz and the front page, synchronous and asynchronous, with caches that answer and that do not."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.locmem import LocMemCache
from django.test import AsyncClient, Client, override_settings

from servers import RedisServer, RedisServerFactory, free_port

pytestmark = pytest.mark.usefixtures("django_project")

PASSWORD = "health-pa:ss/w@rd"
BUILTIN = "django.core.cache.backends.redis.RedisCache"

Get = Callable[..., Any]


class Untouchable(LocMemCache):
    """A cache that must not be asked."""

    def __init__(self, *args: Any) -> None:
        raise AssertionError("the cache was asked")


class Forgetful(LocMemCache):
    """A cache that takes a value and does not have it."""

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return default


@pytest.fixture(autouse=True)
def _test_host() -> Iterator[None]:
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        yield


@pytest.fixture(params=["sync", "async"])
def get(request: pytest.FixtureRequest) -> Get:
    """Ask for a path (and method) through Django's WSGI and its ASGI handler. The Host header is testserver."""

    def sync_get(path: str, method: str = "GET") -> Any:
        return Client().generic(method, path)

    @async_to_sync
    async def async_get(path: str, method: str = "GET") -> Any:
        return await AsyncClient().generic(method, path)

    return sync_get if request.param == "sync" else async_get


@pytest.fixture(scope="module")
def leader(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server(password=PASSWORD)


@pytest.fixture(scope="module")
def replica(redis_server: RedisServerFactory, leader: RedisServer) -> RedisServer:
    return redis_server(password=PASSWORD, replicaof=leader)


def caches(*servers: RedisServer, password: str = PASSWORD) -> dict[str, Any]:
    location = [server.url for server in servers]
    options = {"password": password, "protocol": 2}
    return {
        "default": {"BACKEND": BUILTIN, "LOCATION": location, "KEY_PREFIX": "shop", "OPTIONS": {**options, "db": 1}},
        "dj_session": {"BACKEND": BUILTIN, "LOCATION": location, "OPTIONS": {**options, "db": 2}},
    }


@pytest.fixture(scope="module")
def down(redis_server: RedisServerFactory) -> dict[str, Any]:
    server = redis_server(password=PASSWORD)
    server.stop()
    return caches(server)


def test_healthz(get: Get) -> None:
    response = get("/healthz")
    assert (response.status_code, response.content) == (200, b'{"status": "ok"}')
    assert (response["Content-Type"], response["Cache-Control"]) == ("application/json", "no-store")


def test_healthz_touches_no_cache(get: Get) -> None:
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.Untouchable"}}):
        assert get("/healthz").status_code == 200
        assert get("/readyz").status_code == 503


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_nothing_of_the_project_stands_before(get: Get, path: str) -> None:
    with override_settings(
        DEBUG=False, ALLOWED_HOSTS=["shop.example"], SECURE_SSL_REDIRECT=True, ROOT_URLCONF="no.such.module"
    ):
        assert get(path).status_code == 200


def test_the_rest_of_the_project_keeps_its_rules(get: Get) -> None:
    with override_settings(DEBUG=False, ALLOWED_HOSTS=["shop.example"]):
        assert get("/").status_code == 400
    with override_settings(SECURE_SSL_REDIRECT=True):
        assert get("/").status_code == 301


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/healthz"), ("HEAD", "/readyz"), ("GET", "/healthz/"), ("GET", "/readyz/x")]
)
def test_other_methods_and_paths_pass_through(get: Get, method: str, path: str) -> None:
    assert get(path, method=method).status_code == 404


def test_readyz(get: Get, leader: RedisServer, replica: RedisServer) -> None:
    with override_settings(CACHES=caches(leader, replica)):
        response = get("/readyz")
    assert (response.status_code, response["Cache-Control"]) == (200, "no-store")
    body = response.json()
    assert body["status"] == "ok"
    assert {name: (entry["status"], entry["error"]) for name, entry in body["aliases"].items()} == {
        "default": ("ok", None),
        "dj_session": ("ok", None),
    }
    assert [leader.client(db).dbsize() for db in (1, 2)] == [0, 0]


def test_readyz_names_alias_and_error_class(get: Get, leader: RedisServer, down: dict[str, Any]) -> None:
    wrong = caches(leader, password="wrong-secret")["default"]
    forgetful = {"BACKEND": f"{__name__}.Forgetful"}
    with override_settings(CACHES={**caches(leader), "wrong": wrong, "down": down["default"], "forgetful": forgetful}):
        response = get("/readyz")
    assert (response.status_code, response["Cache-Control"]) == (503, "no-store")
    body = response.json()
    assert body["status"] == "error"
    assert {name: entry["error"] for name, entry in body["aliases"].items()} == {
        "default": None,
        "dj_session": None,
        "wrong": "AuthenticationError",
        "down": "ConnectionError",
        "forgetful": "WrongValueError",
    }
    assert all(set(entry) == {"status", "error", "ms"} for entry in body["aliases"].values())


def test_readyz_waits_for_a_replica_but_not_for_ever(get: Get, leader: RedisServer, redis_server: Any) -> None:
    stranger = redis_server(password=PASSWORD)
    with override_settings(CACHES={"default": caches(leader, stranger)["default"]}):
        start = time.monotonic()
        response = get("/readyz")
    assert response.json()["aliases"]["default"]["error"] == "WrongValueError"
    assert 1 <= time.monotonic() - start < 3


def test_front_page(get: Get, leader: RedisServer, replica: RedisServer) -> None:
    deployment = {"mode": "replication", "client": "builtin"}
    with override_settings(CACHES=caches(leader, replica), CACHESTACK=deployment):
        response = get("/")
    page = response.content.decode()
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    for text in ("replication", "builtin", "default", "dj_session", BUILTIN, "shop"):
        assert text in page
    assert page.count(">answers (") == 2
    assert "does not answer" not in page


def test_front_page_with_the_cache_down(get: Get, down: dict[str, Any]) -> None:
    engine = "django.contrib.sessions.backends.cache"
    with override_settings(DEBUG=False, CACHES=down, SESSION_ENGINE=engine):
        response = get("/")
    assert response.status_code == 200
    assert response.content.decode().count("does not answer: ConnectionError") == 2


def test_no_password_in_any_answer(get: Get, leader: RedisServer, down: dict[str, Any]) -> None:
    in_url = {"BACKEND": BUILTIN, "LOCATION": f"redis://:{PASSWORD}@127.0.0.1:6379"}
    everything = {**caches(leader), "down": down["default"], "in_url": in_url}
    with override_settings(DEBUG=True, CACHES=everything):
        pages = [get(path).content.decode() for path in ("/", "/readyz", "/healthz")]
    for page in pages:
        assert "health-pa" not in page
        assert "redis://" not in page


def test_runserver_needs_no_database_and_no_redis(django_project: Path) -> None:
    port = free_port()
    command = [sys.executable, "-W", "error", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=django_project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        page = _read_when_up(f"http://127.0.0.1:{port}/", process)
    finally:
        process.terminate()
        process.communicate()
    assert "Mode <strong>locmem</strong>, client <strong>builtin</strong>" in page
    assert page.count(">answers (") == 2


def _read_when_up(url: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url) as response:
                content: bytes = response.read()
                return content.decode()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
