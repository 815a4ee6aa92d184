"""The resilient backends where everything works: Django's semantics, in every mode and with every serializer."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from hypothesis import strategies as st

from cachestack.aliases import get_aliases
from cachestack.cachecheck.runner import FAILED, AliasRun, run_operations
from cachestack.resilient import ClusterRedisCache, RedisCache
from conftest import Certificate
from servers import SERVICE, Farm

pytestmark = pytest.mark.usefixtures("django_project")

# How an alias can write its values.
FLAVOURS: dict[str, dict[str, Any]] = {
    "pickle": {"serializer": "pickle"},
    "json": {"serializer": "json"},
    "signed": {},
    "zlib": {"compressor": "zlib", "compress_from": 0},
    "lz4": {"serializer": "pickle", "compressor": "lz4", "compress_from": 10},
    "zstd": {"serializer": "pickle", "compressor": "zstd", "compress_from": 10},
}
MODES = ("tcp", "unix", "tls", "replication", "sentinel", "cluster")
# JSON has no words for these.
NOT_IN_JSON = ("datetime", "bytes")
# A machine that is busy with other tests answers late.
CALM = {"socket_timeout": 5, "socket_connect_timeout": 5, "retry_deadline": 20, "on_error": "raise"}


@pytest.fixture(scope="module")
def places(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate, tls_front: Callable[[int], int]
) -> Iterator[dict[str, dict[str, Any]]]:
    """What CACHES says about where the servers are, by mode."""
    socket = tmp_path_factory.mktemp("socket") / "redis.sock"
    with Farm(tmp_path_factory.mktemp) as farm:
        servers = farm.replicated()
        leader = servers[0]
        farm.server(unixsocket=str(socket))
        backend = "cachestack.resilient.RedisCache"
        yield {
            "tcp": {"BACKEND": backend, "LOCATION": leader.url, "OPTIONS": {"db": 1}},
            "unix": {"BACKEND": backend, "LOCATION": f"unix://{socket}", "OPTIONS": {"db": 2}},
            "tls": {
                "BACKEND": backend,
                "LOCATION": f"rediss://{certificate.name}:{tls_front(leader.port)}",
                "OPTIONS": {"db": 3, "ssl_ca_certs": str(certificate.ca_file)},
            },
            "replication": {
                "BACKEND": backend,
                "LOCATION": [server.url for server in servers],
                "OPTIONS": {"db": 4, "read_from": "replicas"},
            },
            "sentinel": {
                "BACKEND": "cachestack.resilient.SentinelRedisCache",
                "LOCATION": f"redis://{SERVICE}",
                "OPTIONS": {"db": 5, "sentinels": farm.sentinels(leader), "read_from": "replicas"},
            },
            "cluster": {
                "BACKEND": "cachestack.resilient.ClusterRedisCache",
                "LOCATION": [node.url for node in farm.cluster()],
                "OPTIONS": {"read_from": "replicas"},
            },
        }


@pytest.fixture(scope="module")
def runs(places: dict[str, dict[str, Any]]) -> dict[str, AliasRun]:
    """Every operation of cachecheck, synchronous and asynchronous, in every mode with every serializer, at once."""
    entries: dict[str, dict[str, Any]] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    for mode, flavour in itertools.product(MODES, FLAVOURS):
        options = {**places[mode]["OPTIONS"], **FLAVOURS[flavour], **CALM}
        entries[f"{mode} {flavour}"] = {**places[mode], "OPTIONS": options, "KEY_PREFIX": flavour}
    with override_settings(CACHES=entries):
        return {run.alias.name: run for run in run_operations(get_aliases()[1:])}


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("mode", MODES)
def test_every_operation(runs: dict[str, AliasRun], mode: str, flavour: str) -> None:
    results = runs[f"{mode} {flavour}"].results
    assert len(results) > 50
    failed = {result.name: result.error for result in results if result.state == FAILED}
    if flavour == "json":
        failed = {name: error for name, error in failed.items() if not any(word in name for word in NOT_IN_JSON)}
    assert failed == {}


# Random sequences of operations, with Django's LocMemCache as the model.

KEYS = st.sampled_from(["a", "b", "clé", "{tag}1"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.floats(allow_nan=False),
    st.lists(st.integers(0, 3), max_size=3),
)
TIMEOUTS = st.sampled_from([None, 60, 0, -1])
VERSIONS = st.sampled_from([None, 1, 2])
OPERATIONS = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES, TIMEOUTS, VERSIONS),
    st.tuples(st.just("add"), KEYS, VALUES, TIMEOUTS, VERSIONS),
    st.tuples(st.just("get_or_set"), KEYS, VALUES, TIMEOUTS, VERSIONS),
    st.tuples(st.just("get"), KEYS, st.just("default"), VERSIONS),
    st.tuples(st.just("touch"), KEYS, TIMEOUTS, VERSIONS),
    st.tuples(st.just("delete"), KEYS, VERSIONS),
    st.tuples(st.just("has_key"), KEYS, VERSIONS),
    st.tuples(st.just("get_many"), st.lists(KEYS), VERSIONS),
    st.tuples(st.just("set_many"), st.dictionaries(KEYS, VALUES), TIMEOUTS, VERSIONS),
    st.tuples(st.just("delete_many"), st.lists(KEYS), VERSIONS),
    st.tuples(st.just("incr_version"), KEYS, st.sampled_from([1, 2, -1]), VERSIONS),
    st.tuples(st.just("set"), KEYS, st.integers(-5, 5), TIMEOUTS, VERSIONS),
    st.tuples(st.just("incr"), KEYS, st.integers(-5, 5), VERSIONS),
    st.tuples(st.just("clear")),
)


def outcome(cache: Any, operation: tuple[Any, ...], *, asynchronous: bool) -> Any:
    """Return what the operation returns, or the class of what it raises."""
    name, *arguments = operation
    if name == "incr" and not isinstance(cache.get(*arguments[:1], version=arguments[-1]), (int, type(None))):
        return "not a number, and every backend says so in its own way"
    if name == "incr" and isinstance(cache.get(*arguments[:1], version=arguments[-1]), bool):
        return "as before"
    if name == "delete" and isinstance(cache, LocMemCache) and not cache.has_key(*arguments):
        # It says True of a key that is over.
        return False
    try:
        if asynchronous:
            return asyncio.run(getattr(cache, f"a{name}")(*arguments))
        return getattr(cache, name)(*arguments)
    except ValueError:
        return ValueError


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("mode", ["tcp", "replication", "cluster"])
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(operations=st.lists(OPERATIONS, max_size=25))
def test_any_sequence_does_what_locmem_does(
    places: dict[str, dict[str, Any]], mode: str, asynchronous: bool, operations: list[tuple[Any, ...]]
) -> None:
    backend: Any = ClusterRedisCache if mode == "cluster" else RedisCache
    options = {**places[mode]["OPTIONS"], **CALM}
    cache = backend(places[mode]["LOCATION"], {"OPTIONS": options, "KEY_PREFIX": "model"})
    model = LocMemCache("model", {})
    cache.clear()
    model.clear()
    for operation in operations:
        got = outcome(cache, operation, asynchronous=asynchronous)
        want = outcome(model, operation, asynchronous=False)
        if operation[0] == "clear":
            # LocMemCache returns None, Django's Redis backend whether it was done.
            got, want = got is True, True
        assert got == want, operation
        if isinstance(want, (int, bool, float)):
            assert type(got) is type(want), operation


# What is beyond Django's API.


@pytest.mark.parametrize("mode", MODES)
def test_ttl(places: dict[str, dict[str, Any]], mode: str) -> None:
    with override_settings(CACHES={"default": {**places[mode], "KEY_PREFIX": "ttl"}}):
        cache: Any = caches["default"]
        cache.set("key", "value", 60)
        cache.set("for-ever", "value", None)
        assert cache.ttl("key") in (59, 60)
        assert cache.ttl("for-ever") is None
        assert cache.ttl("none") == 0
        assert asyncio.run(cache.attl("key")) in (59, 60)


@pytest.mark.parametrize("mode", ["tcp", "sentinel", "cluster"])
def test_a_lock_lets_one_in_at_a_time(places: dict[str, dict[str, Any]], mode: str) -> None:
    inside, most, computed, alone_in_there = 0, 0, [], []

    def work() -> None:
        nonlocal inside, most
        cache: Any = caches["default"]
        with cache.lock("report", 30) as alone:
            alone_in_there.append(alone)
            inside += 1
            most = max(most, inside)
            if cache.get("report") is None:
                computed.append(threading.get_ident())
                cache.set("report", "made")
            inside -= 1

    with override_settings(CACHES={"default": {**places[mode], "KEY_PREFIX": f"lock {time.time()}".replace(" ", "")}}):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (most, len(computed), alone_in_there) == (1, 1, [True] * 8)


def test_a_lock_ends_by_itself_and_who_comes_late_frees_nobody_elses(places: dict[str, dict[str, Any]]) -> None:
    with override_settings(CACHES={"default": {**places["tcp"], "KEY_PREFIX": "late"}}):
        cache: Any = caches["default"]
        with cache.lock("key", 0.2) as first:
            assert first
            with cache.lock("key", 30, wait=2) as second:
                assert second, "the first one has held it for too long"
                with cache.lock("key", 1, wait=0) as third:
                    assert third is False
        with cache.lock("key", 1, wait=0) as again:
            assert again


def test_a_task_waits_for_a_lock_without_holding_up_the_others(
    places: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep, slept = time.sleep, []

    def watched(seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            slept.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", watched)

    async def work() -> list[str]:
        cache: Any = caches["default"]
        order = []

        async def hold() -> None:
            async with cache.alock("key", 30) as alone:
                assert alone
                order.append("held")
                await asyncio.sleep(0)
                order.append("freed")

        await asyncio.gather(hold(), hold())
        return order

    with override_settings(CACHES={"default": {**places["tcp"], "KEY_PREFIX": "task"}}):
        assert asyncio.run(work()) == ["held", "freed", "held", "freed"]
    assert slept == []


class Bomb:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("mode", ["tcp", "cluster"])
def test_what_somebody_else_wrote_is_a_miss_and_a_line(
    places: dict[str, dict[str, Any]], mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = {**places[mode], "KEY_PREFIX": "forged"}
    entry["OPTIONS"] = {**entry["OPTIONS"], "serializer": "signed", "read_from": "leader"}
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    with override_settings(CACHES={"default": entry}), caplog.at_level(logging.WARNING):
        cache: Any = caches["default"]
        cache.set("mine", "value")
        key = cache.make_key("key")
        client = cache._cache.get_client(key, write=True)
        mine = cache._cache.get_client(cache.make_key("mine"), write=True).get(cache.make_key("mine"))
        for forged in (bomb, b"h-" + bomb, b"p-" + bomb, b"h-" + bytes(32) + bomb, mine):
            client.set(key, forged)
            assert cache.get("key", "miss") == "miss"
            assert cache.get_many(["key"]) == {}
            assert cache.get_or_set("key", "new") == "new"
            assert cache.get("key") == "new"
    assert not (tmp_path / "exploded").exists()
    assert "a value was read as a miss" in caplog.text


def test_values_written_with_other_settings_are_misses(places: dict[str, dict[str, Any]]) -> None:
    def cache(flavour: str) -> Any:
        options = {**places["tcp"]["OPTIONS"], **FLAVOURS[flavour]}
        return RedisCache(places["tcp"]["LOCATION"], {"OPTIONS": options, "KEY_PREFIX": "mixed"})

    for written, read in itertools.permutations(FLAVOURS, 2):
        cache(written).set("key", "some text that is long enough to be compressed")
        # What was not compressed can be read whatever the compressor is.
        assert cache(read).get("key", "miss") in ("miss", "some text that is long enough to be compressed")
        cache(read).set("key", "other")
        assert cache(read).get("key") == "other"


# Processes, threads and event loops.


@pytest.mark.parametrize("mode", ["tcp", "replication", "sentinel", "cluster"])
def test_forked_processes_have_connections_of_their_own(places: dict[str, dict[str, Any]], mode: str) -> None:
    """As under gunicorn with preload: the parent has used its caches, and goes on while its children do."""

    def work(name: str, wrong: Any) -> None:
        cache: Any = caches["default"]
        for number in range(200):
            cache.set(name, f"{name} {number}")
            if cache.get(name) != f"{name} {number}":
                wrong.value += 1

    context = multiprocessing.get_context("fork")
    wrong = context.Value("i", 0)
    with override_settings(CACHES={"default": {**places[mode], "KEY_PREFIX": "fork"}}):
        caches["default"].set("before", "fork")
        children = [context.Process(target=work, args=(f"child-{number}", wrong)) for number in range(3)]
        for child in children:
            child.start()
        work("parent", wrong)
        for child in children:
            child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert wrong.value == 0


def test_no_forked_process_has_a_connection_of_its_parent(places: dict[str, dict[str, Any]]) -> None:
    """Also none to the node that was asked first, under another name than the cluster has for it."""

    def look(inherited: Any) -> None:
        cache: Any = caches["default"]
        known = cache._cache.topology.servers()
        inherited.value = sum(len(server._free) for server in known)

    entry = places["cluster"]
    location = [url.replace("127.0.0.1", "localhost") for url in entry["LOCATION"]]
    context = multiprocessing.get_context("fork")
    inherited = context.Value("i", -1)
    with override_settings(CACHES={"default": {**entry, "LOCATION": location, "KEY_PREFIX": "kin"}}):
        caches["default"].set_many({f"key{number}": number for number in range(50)})
        child = context.Process(target=look, args=(inherited,))
        child.start()
        child.join(60)
    assert inherited.value == 0


def test_threads_and_requests_share_their_connections(places: dict[str, dict[str, Any]]) -> None:
    def received() -> int:
        client = RedisCache(places["tcp"]["LOCATION"], {"OPTIONS": {"db": 9}})._cache.get_client()
        stats: Any = client.info("stats")
        return int(stats["total_connections_received"])

    async def request() -> None:
        # Django makes its cache objects anew for each.
        await caches["default"].aset("key", "value")
        assert await caches["default"].aget("key") == "value"

    async def requests() -> None:
        for _ in range(50):
            await asyncio.create_task(request())

    def thread() -> None:
        caches["default"].set("key", "value")

    with override_settings(CACHES={"default": {**places["tcp"], "KEY_PREFIX": "share"}}):
        caches["default"].set("key", "value")
        before = received()
        asyncio.run(requests())
        for _ in range(50):
            started = threading.Thread(target=thread)
            started.start()
            started.join()
        assert received() == before


def test_many_threads_count_right(places: dict[str, dict[str, Any]]) -> None:
    with override_settings(CACHES={"default": {**places["tcp"], "KEY_PREFIX": "count"}}):
        caches["default"].set("number", 0)
        threads = [
            threading.Thread(target=lambda: [caches["default"].incr("number") for _ in range(100)]) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert caches["default"].get("number") == 1600
