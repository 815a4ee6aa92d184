"""Every operation of cachecheck can fail: caches that are each wrong in one way, and what notices it."""

from __future__ import annotations

import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import CommandError, call_command
from django.test import override_settings

from cachestack.aliases import get_aliases
from cachestack.cachecheck.operations import OPERATIONS
from cachestack.cachecheck.runner import CLEAN_UP, FAILED, OK, AliasRun, run_operations

pytestmark = pytest.mark.usefixtures("django_project")


class StoresNothing(LocMemCache):
    def set(self, *args: Any, **kwargs: Any) -> None:
        """Lose the value."""

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return True


class NeverExpires(LocMemCache):
    def get_backend_timeout(self, timeout: Any = None) -> None:
        return None


class ExpiresAtOnce(LocMemCache):
    def get_backend_timeout(self, timeout: Any = None) -> float:
        return time.time() - 1


class LosesTheTimeoutOfCounters(LocMemCache):
    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        value = super().incr(key, delta, version=version)
        self.touch(key, None, version=version)
        return value


class CountsByOne(LocMemCache):
    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return super().incr(key, 1 if delta > 0 else -1, version=version)


class CountsInFloats(LocMemCache):
    def incr(self, key: str, delta: int = 1, version: int | None = None) -> Any:
        return float(super().incr(key, delta, version=version))

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> Any:
        return float(await super().aincr(key, delta, version=version))


class CountsFromNothing(LocMemCache):
    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        self.add(key, 0, version=version)
        return super().incr(key, delta, version=version)


class FindsWhatIsMissing(LocMemCache):
    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        value = super().get(key, default, version=version)
        return "junk" if value is default else value

    def has_key(self, key: str, version: int | None = None) -> bool:
        return True


class KnowsNoVersions(LocMemCache):
    def make_key(self, key: str, version: int | None = None) -> str:
        return super().make_key(key, version=1)


class StaysAtItsVersion(LocMemCache):
    def incr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self.version if version is None else version

    async def aincr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self.version if version is None else version


class KeepsWhatIsDeleted(LocMemCache):
    def delete(self, key: str, version: int | None = None) -> bool:
        return True


class ReturnsTheOpposite(LocMemCache):
    def add(self, *args: Any, **kwargs: Any) -> bool:
        return not super().add(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        return not super().delete(*args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return not super().touch(*args, **kwargs)


class TouchesNothing(LocMemCache):
    def touch(self, key: str, timeout: Any = None, version: int | None = None) -> bool:
        return self.has_key(key, version=version)


class LeavesOutNone(LocMemCache):
    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        return {key: value for key in keys if (value := self.get(key, version=version)) is not None}

    async def aget_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        return self.get_many(keys, version=version)


class FillsInNone(LocMemCache):
    def get_many(self, keys: Any, version: int | None = None) -> dict[str, Any]:
        return {key: self.get(key, version=version) for key in keys}


class OverwritesOnAdd(LocMemCache):
    def add(self, key: str, *args: Any, **kwargs: Any) -> bool:
        added = not self.has_key(key)
        self.set(key, *args, **kwargs)
        return added


class StoresOnce(LocMemCache):
    def set(self, *args: Any, **kwargs: Any) -> None:
        self.add(*args, **kwargs)


class StoresTextOnly(LocMemCache):
    def get(self, *args: Any, **kwargs: Any) -> Any:
        return str(super().get(*args, **kwargs))


class StoresAsciiOnly(LocMemCache):
    def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        text = value.encode("ascii", "ignore").decode() if isinstance(value, str) else value
        super().set(key, text, *args, **kwargs)


class CutsLongValues(LocMemCache):
    def set(self, key: str, value: Any, *args: Any, **kwargs: Any) -> None:
        super().set(key, value[:1000] if isinstance(value, str) else value, *args, **kwargs)


class ReadsAnotherServerNowAndThen(LocMemCache):
    reads = 0

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        self.reads += 1
        return default if self.reads % 12 == 0 else super().get(key, default, version=version)


class DoesNotCall(LocMemCache):
    def get_or_set(self, key: str, default: Any, *args: Any, **kwargs: Any) -> Any:
        return super().get_or_set(key, lambda: default, *args, **kwargs)


class CannotDelete(LocMemCache):
    def delete_many(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no delete_many for you")

    async def adelete_many(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no adelete_many for you")


class Lags(LocMemCache):
    """Reads see a write only after LAG seconds, as those of a replica do."""

    LAG = 0.005

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        super().__init__(name, params)
        self.replica = LocMemCache(f"{name}-replica", params)
        self.log: list[tuple[float, str, tuple[Any, ...], dict[str, Any]]] = []

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._write("set", *args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._write("add", *args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> Any:
        return self._write("touch", *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._write("delete", *args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        return self._write("incr", *args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._catch_up().get(*args, **kwargs)

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return self._catch_up().has_key(*args, **kwargs)

    def _write(self, name: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(super(), name)(*args, **kwargs)
        self.log.append((time.monotonic() + self.LAG, name, args, kwargs))
        return result

    def _catch_up(self) -> LocMemCache:
        while self.log and self.log[0][0] <= time.monotonic():
            _, name, args, kwargs = self.log.pop(0)
            getattr(self.replica, name)(*args, **kwargs)
        return self.replica


# The wrong cache, and one operation (the one that is there for it) that has to notice.
WRONG: dict[type[LocMemCache], str] = {
    StoresNothing: "set, get: int",
    NeverExpires: "set: timeout 1 expires",
    ExpiresAtOnce: "set: timeout 60 stays",
    LosesTheTimeoutOfCounters: "incr: the timeout stays",
    CountsByOne: "incr: by 10",
    CountsInFloats: "decr: below zero",
    CountsFromNothing: "incr: a missing key is a ValueError",
    FindsWhatIsMissing: "get: a missing key is None",
    KnowsNoVersions: "version: each has its own value",
    StaysAtItsVersion: "incr_version",
    KeepsWhatIsDeleted: "session: delete",
    ReturnsTheOpposite: "delete: a missing key",
    TouchesNothing: "touch: timeout 1 expires",
    LeavesOutNone: "set_many, get_many",
    FillsInNone: "get_many: missing keys are left out",
    OverwritesOnAdd: "add: an existing key stays as it is",
    StoresOnce: "set: an existing key",
    StoresTextOnly: "set, get: datetime, Decimal, tuple, set",
    StoresAsciiOnly: "set, get: Unicode key and value",
    CutsLongValues: "set, get: 100 kB",
    ReadsAnotherServerNowAndThen: "get: the same value from every server",
    DoesNotCall: "get_or_set: a callable",
    CannotDelete: CLEAN_UP,
    # With one server there is no excuse for a read that does not see the write before it.
    Lags: "set, get: int",
}


@pytest.fixture(scope="module")
def runs(django_project: Path) -> dict[str, AliasRun]:
    """One run over all of them: they share the second that an expiry takes."""
    caches = {
        wrong.__name__: {"BACKEND": f"{__name__}.{wrong.__name__}", "LOCATION": wrong.__name__} for wrong in WRONG
    }
    caches["default"] = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "right"}
    caches["replicas"] = {"BACKEND": f"{__name__}.Lags", "LOCATION": "leader;replica"}
    with override_settings(CACHES=caches):
        return {run.alias.name: run for run in run_operations(get_aliases())}


def failed(run: AliasRun) -> set[str]:
    return {result.name for result in run.results if result.state == FAILED}


@pytest.mark.parametrize("alias", ["default", "replicas"])
def test_a_right_cache_passes(runs: dict[str, AliasRun], alias: str) -> None:
    """Replicas that lag are right too."""
    assert [(result.name, result.error) for result in runs[alias].results if result.state != OK] == []


@pytest.mark.parametrize(("wrong", "operation"), WRONG.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_cache_is_noticed(runs: dict[str, AliasRun], wrong: type[LocMemCache], operation: str) -> None:
    assert operation in failed(runs[wrong.__name__])


def test_every_operation_can_fail(runs: dict[str, AliasRun]) -> None:
    noticed = set().union(*(failed(run) for run in runs.values()))
    assert {operation.name for operation in OPERATIONS} - noticed == set()


def test_names_are_unique() -> None:
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


def test_unknown_alias() -> None:
    with pytest.raises(CommandError, match=r"^CACHES has no alias nosuch; it has default, dj_session\.$"):
        call_command("cachecheck", "--alias", "nosuch", stdout=StringIO())
