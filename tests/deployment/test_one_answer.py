"""What an option of CACHES may be has one answer: of the check of an inventory, of the renderer and of the client."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from cachestack.entries import BACKENDS
from cachestack.option_rules import COMPRESSORS, SERIALIZERS
from cachestack.resilient.codecs import COMPRESSORS as CODEC_COMPRESSORS
from cachestack.resilient.codecs import SERIALIZERS as CODEC_SERIALIZERS
from cachestack.resilient.options import WrongOptionsError, parse
from deployment.checks.caches import alias_faults, caches_faults
from deployment.checks.problems import ERROR
from deployment.checks.rendered import django_caches
from deployment.render.caches import CacheSettingsError
from sample_inventories import changed, found, given

pytestmark = pytest.mark.usefixtures("django_project")

NODE = {"name": "redis-1", "address": "10.0.0.1", "port": 6379, "socket": None, "tls": False}
SENTINELS = [{"name": f"redis-{number}", "address": f"10.0.0.{number}", "port": 26379} for number in (1, 2, 3)]
LOCATIONS = {"sentinel": "redis://shop", "standalone": "redis://10.0.0.1:6379", "cluster": "redis://10.0.0.1:6379"}
# A mode, options, and whether they are right.
CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("standalone", {"client_name": "my app"}, False),
    ("standalone", {"client_name": "my-app"}, True),
    ("standalone", {"socket_keepalive_options": {4: 60}}, True),
    ("standalone", {"socket_keepalive_options": {"4": 60}}, False),
    ("standalone", {"socket_timeout": None}, False),
    ("standalone", {"socket_timeout": 10**10}, False),
    ("standalone", {"serializer": "jsn"}, False),
    ("standalone", {"serializer": "json"}, True),
    ("standalone", {"serializer": "a serializer.of mine"}, False),
    ("standalone", {"compressor": "gzip"}, False),
    ("standalone", {"on_error": "raise", "read_your_writes": 0, "max_lag": 0.5}, True),
    ("standalone", {"sentinels": [["10.0.0.9", 26379]]}, False),
    ("standalone", {"ssl_ca_certs": "/ca.pem"}, False),
    ("sentinel", {"sentinels": [["10.0.0.9", 26379], ["10.0.0.9", 26379]]}, False),
    ("sentinel", {"sentinels": [["10.0.0.8", 26379], ["10.0.0.9", 26379]]}, True),
    ("sentinel", {"sentinels": [["10.0.0.8", 26379, 1]]}, False),
    ("sentinel", {"sentinel_kwargs": {"socket_timeout": "1"}}, False),
    ("sentinel", {"sentinel_kwargs": {"socket_timeout": 1}}, True),
    ("cluster", {"socket_keepalive": True, "retry_deadline": 3}, True),
    ("cluster", {"retry_dedline": 3}, False),
]


def kind_of(mode: str) -> str:
    return mode if mode in BACKENDS else "server"


def is_rendered(mode: str, options: Mapping[str, Any]) -> bool:
    aliases = {"default": {"options": options}}
    with suppress(CacheSettingsError):
        return bool(django_caches(aliases, mode, "resilient", [NODE], sentinels=SENTINELS, service="shop"))
    return False


def is_taken(kind: str, entry: Mapping[str, Any]) -> bool:
    """Whether the client takes an entry of CACHES."""
    with suppress(WrongOptionsError):
        return bool(parse(kind, entry["LOCATION"], entry, "default"))
    return False


@pytest.mark.parametrize(("mode", "options", "is_right"), CASES, ids=[str(case[:2]) for case in CASES])
def test_an_option_of_the_client(mode: str, options: dict[str, Any], is_right: bool) -> None:
    kind = kind_of(mode)
    written = {"sentinels": [["10.0.0.1", 26379]], **options} if kind == "sentinel" else options
    entry = {"BACKEND": BACKENDS[kind], "LOCATION": LOCATIONS[mode], "OPTIONS": written}
    assert is_taken(kind, entry) is is_right
    assert is_rendered(mode, options) is is_right
    assert (list(caches_faults({"default": entry})) == []) is is_right
    one = given(
        mode,
        6 if mode == "cluster" else 1 if mode == "standalone" else 3,
        3 if mode == "sentinel" else 0,
        cache_client="resilient",
    )
    changed(one, "app-1", django_app_cache_aliases={"default": {"options": options}, "dj_session": {}})
    assert ([str(problem) for problem in found(one) if problem.severity == ERROR] == []) is is_right


@pytest.mark.parametrize("client", ["builtin", "django_redis"])
@pytest.mark.parametrize(("options", "is_right"), [case[1:] for case in CASES[:4]])
def test_an_option_of_every_client(client: str, options: dict[str, Any], is_right: bool) -> None:
    aliases = {"default": {"options": options}}
    assert (list(alias_faults(aliases, "standalone", client)) == []) is is_right
    rendered = None
    with suppress(CacheSettingsError):
        rendered = django_caches(aliases, "standalone", client, [NODE])
    assert (rendered is not None) is is_right
    assert rendered is None or list(caches_faults(rendered)) == []


def test_the_words_are_those_of_the_client() -> None:
    assert sorted(COMPRESSORS) == sorted(CODEC_COMPRESSORS)
    assert sorted(SERIALIZERS) == sorted(CODEC_SERIALIZERS)
