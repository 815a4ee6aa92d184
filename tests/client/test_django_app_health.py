"""/healthz, /readyz and the front page, synchronous and asynchronous, with caches that answer and that do not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.core.cache.backends.locmem import LocMemCache
from django.test import AsyncClient, Client, override_settings

from servers import SERVICE, Farm, RedisServer, RedisServerFactory, free_port, wait_for

pytestmark = pytest.mark.usefixtures("django_project")

PASSWORD = "health-pa:ss/w@rd"
BUILTIN = "django.core.cache.backends.redis.RedisCache"
# Seconds: what a request may take whatever the servers do, and how soon everything works again.
PROMPT, HEALED = 1.0, 15.0

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
    """Ask for a path (and method) through Django's WSGI and its ASGI handler. The Host header is testserver.

    Whoever asks has a session.
    """

    def with_session(client: Any) -> Any:
        client.cookies["sessionid"] = "0123456789abcdef0123456789abcdef"
        return client

    def sync_get(path: str, method: str = "GET") -> Any:
        return with_session(Client()).generic(method, path)

    @async_to_sync
    async def async_get(path: str, method: str = "GET") -> Any:
        return await with_session(AsyncClient()).generic(method, path)

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


# What the rest of the world sees.

# As a client on another machine, and as one whose request the web server on this machine hands on.
REMOTE = [{"REMOTE_ADDR": "192.0.2.7"}, {"HTTP_X_FORWARDED_PROTO": "https"}, {"HTTP_X_FORWARDED_FOR": "127.0.0.1"}]


@pytest.mark.parametrize("remote", REMOTE)
def test_others_see_no_internals(leader: RedisServer, down: dict[str, Any], remote: dict[str, Any]) -> None:
    client = Client(**remote)
    with override_settings(DEBUG=False, CACHES={**caches(leader), "spare": down["default"]}):
        ready, page = client.get("/readyz"), client.get("/")
    assert (ready.status_code, ready.json()) == (503, {"status": "error"})
    assert page.status_code == 200
    assert "A cache does not answer." in page.content.decode()
    for text in ("locmem", "builtin", "spare", "dj_session", BUILTIN, "shop", "Error", "manage.py"):
        assert text not in page.content.decode()


def test_an_error_page_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_aliases: Any) -> None:
        raise redis.ConnectionError(f"redis://app:{PASSWORD}@192.0.2.1:6379")

    monkeypatch.setattr("frontpage.views.probe_all", fail)
    with override_settings(DEBUG=False):
        response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 500
    for text in (PASSWORD, "redis", "192.0.2.1", "Traceback"):
        assert text not in response.content.decode()


# The client that outlives its servers.


def resilient(location: Any, backend: str = "RedisCache", **options: Any) -> dict[str, Any]:
    """Two aliases, as a deployment has them: the one with the sessions waits ten seconds and raises."""
    entry = {"BACKEND": f"cachestack.resilient.{backend}", "LOCATION": location}
    return {
        "default": {**entry, "KEY_PREFIX": "shop", "OPTIONS": {**options, "on_error": "miss"}},
        "dj_session": {**entry, "OPTIONS": {**options, "on_error": "raise", "retry_deadline": 10.0}},
    }


@contextmanager
def deployed(caches: dict[str, Any]) -> Iterator[None]:
    """A deployment with these caches, where the sessions are in an alias."""
    engine = "django.contrib.sessions.backends.cache"
    with override_settings(CACHES=caches, SESSION_ENGINE=engine, SESSION_CACHE_ALIAS="dj_session"):
        yield


def states(get: Get) -> tuple[int, str, set[str]]:
    """What /readyz says: the status of the answer, of all and of the aliases."""
    response = get("/readyz")
    body = response.json()
    return response.status_code, body["status"], {entry["status"] for entry in body["aliases"].values()}


ALL_OK = 200, "ok", {"ok"}
ALL_DEGRADED = 200, "degraded", {"degraded"}


@pytest.mark.parametrize("path", ["/", "/readyz"])
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_pages_go_on_while_the_server_is_away(get: Get, farm: Farm, fault: str, path: str) -> None:
    """From the first request on, which is the one that finds it out."""
    server = farm.server(password=PASSWORD)
    with deployed(resilient([server.url], password=PASSWORD)):
        assert wait_for(lambda: states(get) == ALL_OK)
        server.stop() if fault == "killed" else server.freeze()
        for _ in range(3):
            begun = time.monotonic()
            response = get(path)
            assert time.monotonic() - begun < PROMPT
            assert response.status_code == 200
        if path == "/":
            assert response.content.decode().count("degraded, pages go on without it: ") == 2
        assert states(get) == ALL_DEGRADED
        server.start() if fault == "killed" else server.thaw()
        assert wait_for(lambda: states(get) == ALL_OK, HEALED)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_pages_go_on_during_a_failover(get: Get, farm: Farm, fault: str) -> None:
    leader, *_ = farm.replicated(password=PASSWORD)
    options = {"sentinels": farm.sentinels(leader), "password": PASSWORD}
    with deployed(resilient(f"redis://{SERVICE}", "SentinelRedisCache", **options)):
        assert wait_for(lambda: states(get) == ALL_OK)
        leader.stop() if fault == "killed" else leader.freeze()
        assert states(get) == ALL_DEGRADED
        _watch_until_ok(get)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_pages_go_on_while_a_primary_is_away(get: Get, farm: Farm, fault: str) -> None:
    nodes = farm.cluster()
    with deployed(resilient([node.url for node in nodes], "ClusterRedisCache")):
        assert wait_for(lambda: states(get) == ALL_OK)
        nodes[0].stop() if fault == "killed" else nodes[0].freeze()
        # A third of the keys are there.
        assert wait_for(lambda: states(get)[:2] == (200, "degraded"), 5)
        assert wait_for(lambda: nodes[3].client().info("replication")["role"] == "master")
        _watch_until_ok(get)


def _watch_until_ok(get: Get) -> None:
    """Ask for both pages, again until all is well several times in a row; each answers, and soon."""
    until = time.monotonic() + HEALED
    good = 0
    while good < 10:
        assert time.monotonic() < until
        for path in ("/", "/readyz"):
            begun = time.monotonic()
            response = get(path)
            assert (response.status_code, time.monotonic() - begun < PROMPT) == (200, True)
        good = good + 1 if response.json()["status"] == "ok" else 0


def test_an_alias_that_answers_is_ok_beside_one_that_hangs(get: Get, farm: Farm, leader: RedisServer) -> None:
    hanging = farm.server(password=PASSWORD)
    caches = resilient([hanging.url], password=PASSWORD)
    caches["dj_session"]["LOCATION"] = [leader.url]
    with deployed(caches):
        assert wait_for(lambda: states(get) == ALL_OK)
        hanging.freeze()
        body = get("/readyz").json()
        assert body["status"] == "degraded"
        assert {name: (entry["status"], entry["error"]) for name, entry in body["aliases"].items()} == {
            "default": ("degraded", "DeadlineError"),
            "dj_session": ("ok", None),
        }


def test_many_aliases_share_the_time(get: Get, farm: Farm) -> None:
    server = farm.server()
    default = resilient(server.url, retry_deadline=10.0)["default"]
    caches = {name: {**default, "KEY_PREFIX": name} for name in ("default", "a", "b", "c", "d", "e", "f", "g")}
    with override_settings(CACHES=caches):
        assert wait_for(lambda: states(get) == ALL_OK)
        server.freeze()
        begun = time.monotonic()
        assert states(get) == ALL_DEGRADED
        assert time.monotonic() - begun < PROMPT


def test_an_alias_that_was_given_up_is_asked_no_more(get: Get, farm: Farm) -> None:
    server = farm.server()
    with override_settings(CACHES={"default": resilient(server.url)["default"]}):
        assert wait_for(lambda: states(get) == ALL_OK)
        server.client().config_set("maxmemory", "1")
        server.client().config_resetstat()
        assert states(get) == (503, "error", {"error"})
    done = server.client().info("commandstats")
    assert "cmdstat_set" in done
    assert "cmdstat_get" not in done


@pytest.mark.parametrize("alias", ["default", "dj_session"])
@pytest.mark.parametrize(
    ("command", "status", "error"),
    [
        (["CONFIG SET", "min-replicas-to-write", "1"], "degraded", "ResponseError"),
        (["REPLICAOF", "127.0.0.1", "1"], "degraded", "ReadOnlyError"),
        (["CONFIG SET", "maxmemory", "1"], "error", "OutOfMemoryError"),
        (["ACL SETUSER", "default", "-set"], "error", "NoPermissionError"),
        (["CONFIG SET", "requirepass", "other"], "error", "AuthenticationError"),
    ],
)
def test_what_does_not_pass_is_no_failover(
    get: Get, farm: Farm, alias: str, command: list[str], status: str, error: str
) -> None:
    """Both for an alias that raises and for one that makes errors misses."""
    server = farm.server()
    admin: Any = redis.Redis(port=server.port, protocol=2, single_connection_client=True)
    with override_settings(CACHES={"default": resilient(server.url)[alias]}), admin:
        assert wait_for(lambda: states(get) == ALL_OK)
        admin.execute_command(*command)
        # So that a changed password is asked for.
        admin.client_kill_filter(_type="normal", skipme=True)
        code = 200 if status == "degraded" else 503
        assert wait_for(lambda: states(get) == (code, status, {status}), 5)
        entry = get("/readyz").json()["aliases"]["default"]
    assert (entry["status"], entry["error"]) == (status, error)


def test_an_error_is_worse_than_a_failover(get: Get, farm: Farm, leader: RedisServer) -> None:
    away = farm.server()
    away.stop()
    caches = {
        **resilient(away.url),
        "wrong": resilient(leader.url, password="wrong-secret")["default"],
        "database": resilient(leader.url, password=PASSWORD, db=99)["default"],
        "nonsense": resilient(leader.url, socket_timeout="5")["default"],
    }
    with override_settings(CACHES=caches):
        response = get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "error")
    assert {name: (entry["status"], entry["error"]) for name, entry in response.json()["aliases"].items()} == {
        "default": ("degraded", "ConnectionError"),
        "dj_session": ("degraded", "ConnectionError"),
        "wrong": ("error", "AuthenticationError"),
        "database": ("error", "LoginRefusedError"),
        "nonsense": ("error", "WrongOptionsError"),
    }


def test_a_project_without_the_resilient_client_needs_no_redis(django_project: Path) -> None:
    program = (
        "import sys, django; django.setup(); from django.conf import settings; settings.ALLOWED_HOSTS = ['*'];"
        "from django.test import Client;"
        "assert [Client().get(path).status_code for path in ('/', '/readyz')] == [200, 200];"
        "assert 'redis' not in sys.modules"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([sys.executable, "-c", program], cwd=django_project, env=environment, check=True)


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
