"""`manage.py check` and the resilient backends: it tells what Django alone would stumble over, and asks each server."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import CacheHandler, InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import override_settings

from cachestack.resilient import ClusterRedisCache
from entries_of_caches import (
    LOCMEM,
    PACKAGE,
    SECRET,
    SENTINELS,
    SESSIONS,
    URL,
    assert_says,
    check,
    cluster,
    entry,
    sentinel,
)
from servers import SERVICE, Farm, free_port

pytestmark = pytest.mark.usefixtures("django_project")


class Subclass(ClusterRedisCache):
    """Somebody's own backend."""


def test_check_tells_what_django_alone_would_stumble_over() -> None:
    caches = {"default": entry(OPTIONS=None, KEY_FUNCTION="no.such"), "web": entry(db="1", password=5)}
    with override_settings(CACHES=caches), pytest.raises(CommandError) as raised:
        call_command("check", stdout=io.StringIO(), stderr=io.StringIO())
    text = str(raised.value)
    assert text.count("cachestack.E001") == 4
    assert "CACHES['web']: OPTIONS['password'] must be text" in text


def test_check_is_silent_about_what_is_right_and_about_other_backends() -> None:
    assert check(web=entry(), other={**LOCMEM, "OPTIONS": {"db": "1"}}) == []
    django_redis = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": URL, "OPTIONS": {"db": "1"}}
    assert check(web=django_redis) == []


def test_check_knows_subclasses() -> None:
    [error] = check(web={**cluster(db=1), "BACKEND": f"{__name__}.Subclass"})
    assert_says(error.msg, "'db' database 0")


def test_a_backend_that_cannot_be_imported_is_left_to_django() -> None:
    with pytest.raises(InvalidCacheBackendError):
        check(web={**entry(), "BACKEND": "no.such.Backend"})


def test_the_first_operation_says_it_too_for_wsgi_never_checks() -> None:
    caches: Any = CacheHandler({"default": entry(db="1")})
    with pytest.raises(ImproperlyConfigured, match=r"OPTIONS\['db'\] '1'"):
        caches["default"].get("key")
    with pytest.raises(ImproperlyConfigured, match=r"OPTIONS\['db'\] '1'"):
        caches["default"].incr("key")


def test_the_app_does_without_redis_py_where_no_alias_needs_it(django_project: Path) -> None:
    script = (
        "import sys; sys.modules['redis'] = None; import django; from django.core.management import call_command;"
        "django.setup(); call_command('check'); assert 'cachestack.resilient' not in sys.modules"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(django_project)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True)


def test_sessions_that_are_lost_without_a_word_are_warned_about() -> None:
    with override_settings(SESSION_ENGINE=SESSIONS, SESSION_CACHE_ALIAS="web"):
        [warning] = check(web=entry(on_error="miss"), other=entry(location="redis://other", on_error="miss"))
        assert (warning.id, warning.is_serious()) == ("cachestack.W001", False)
        assert_says(warning.msg, "OPTIONS['on_error'] SESSION_ENGINE")
        assert "'raise'" in warning.hint
        assert check(web=entry(on_error="raise")) == []
        assert check(web=entry()) == []
    with override_settings(SESSION_ENGINE=f"{SESSIONS}d_db", SESSION_CACHE_ALIAS="web"):
        assert check(web=entry(on_error="miss")) == []


SAME: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    (entry(), entry(serializer="json"), True),
    (entry(location="redis://LOCALHOST"), entry(location="redis://localhost:6379/0", compressor="zlib"), True),
    (entry(location=["redis://a", "redis://b"]), entry(location="redis://a", serializer="pickle"), True),
    (sentinel(), sentinel(sentinels=[*SENTINELS, ("10.0.0.2", 26379)], compressor="lz4"), True),
    (cluster(["redis://a", "redis://b"]), cluster(["redis://b"], serializer="json"), True),
    (entry(location=["redis://a", "redis://b"]), entry(location="redis://b", serializer="json"), False),
    (entry(), entry(), False),
    (entry(serializer="json", compressor="zlib"), entry(serializer="json", compressor="zlib", db=0), False),
    (entry(), entry(serializer="json", db=1), False),
    (entry(), entry(serializer="json", KEY_PREFIX="x"), False),
    (entry(), entry(serializer="json", VERSION=2), False),
    (entry(), entry(serializer="json", KEY_FUNCTION="os.path.join"), False),
    (entry(), entry(serializer="json", location="redis://127.0.0.1:6380"), False),
    (sentinel(), sentinel(location="redis://other", serializer="json"), False),
]


@pytest.mark.parametrize(("one", "other", "warned"), SAME)
def test_two_ways_to_write_the_same_key_are_warned_about(
    one: dict[str, Any], other: dict[str, Any], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody is at these addresses.
    monkeypatch.setattr(f"{PACKAGE}.checks._questions", lambda alias: [])
    found = check(web=one, zoo=other)
    assert [message.id for message in found] == ["cachestack.W002"] * warned
    for message in found:
        assert "CACHES['web'] and CACHES['zoo']" in message.msg
        assert "KEY_PREFIX" in message.hint


def found_at(setting: Mapping[str, Any], expected: str, words: str) -> None:
    """Check that our check says one thing about the alias, with these words."""
    [error] = check(web=setting)
    assert error.id == f"cachestack.{expected}"
    assert error.is_serious()
    assert_says(f"{error.msg} {error.hint}", words)


def test_check_asks_each_sentinel(farm: Farm) -> None:
    leader = farm.server()
    addresses = farm.sentinels(leader, password=SECRET)
    credentials = {"password": SECRET}
    good = sentinel(sentinels=addresses, sentinel_kwargs=credentials)
    assert check(web=good) == []
    data_node = (leader.host, leader.port)
    mixed = sentinel(sentinels=[*addresses, data_node], sentinel_kwargs={})
    codes = [(error.id, f":{leader.port}" in error.msg) for error in check(web=mixed)]
    assert codes == [*[("cachestack.E004", False)] * 3, ("cachestack.E002", True)]
    host, port = addresses[0]
    found_at(sentinel(sentinels=[data_node]), "E002", f"{leader.host}:{leader.port} data node Sentinels 26379")
    found_at(
        sentinel(sentinels=addresses[:1], sentinel_kwargs=credentials, location="redis://MyMaster"),
        "E003",
        f"'MyMaster' {host}:{port} '{SERVICE}'",
    )
    wrong = {"username": "me", "password": f"{SECRET}!"}
    found_at(sentinel(sentinels=addresses[:1], sentinel_kwargs=wrong), "E004", f"{host}:{port} sentinel_kwargs")
    found_at(sentinel(sentinels=addresses[:1]), "E004", f"{host}:{port} sentinel_kwargs")


def test_check_says_nothing_about_who_is_away(farm: Farm) -> None:
    hanging = farm.server()
    hanging.freeze()
    away = [("127.0.0.1", hanging.port), ("127.0.0.1", free_port()), ("no-such-host.invalid", 26379)]
    assert check(web=sentinel(sentinels=away), zoo=cluster([hanging.url, "redis://127.0.0.1:1"])) == []
    hanging.thaw()


def test_check_asks_each_node_of_a_cluster(farm: Farm) -> None:
    node, standalone, locked = farm.cluster_node(), farm.server(), farm.server(password=SECRET)
    assert check(web=cluster(node.url), other=entry(location=node.url)) == []
    found_at(cluster([node.url, standalone.url]), "E005", f"{standalone.host}:{standalone.port} RedisCache'")
    found_at(cluster(locked.url, password=f"{SECRET}!"), "E004", f"{locked.host}:{locked.port} password OPTIONS")
