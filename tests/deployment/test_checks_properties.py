"""Whatever the preflight lets pass, Django accepts and a real server serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from conftest import forget_pools
from deployment.checks.problems import ERROR
from deployment.checks.rules import inventory_problems
from deployment.model import Inventory
from sample_caches import check_operations, loaded, node, rendered
from servers import RedisServer

pytestmark = pytest.mark.usefixtures("django_project")

KEY = "a key that has fifty characters or more and is not django's"
MISSING = object()


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    """One of these, or nothing."""
    return st.sampled_from([MISSING, *values])


# Right values and wrong ones, as people write both.
ALIAS = st.fixed_dictionaries(
    {
        "db": maybe(0, 1, 15, 16, "1", True, -1, None, 1.5),
        "timeout": maybe(None, 0, 60, 10**6, "60", "None", 0.5, -1, True, float("inf")),
        "key_prefix": st.one_of(st.just(MISSING), st.text(max_size=9), st.sampled_from([5, None, "магазин 🛒"])),
        "version": maybe(2, "2", None),
        "compressor": maybe("none", "zlib", "lz4", "gzip", True),
        "serializer": maybe("pickle", "json", "signed", "yaml"),
        "on_error": maybe("miss", "raise", "ignore"),
        "read_from": maybe("leader", "replicas", "replica"),
        "timout": maybe(*[MISSING] * 20, 3),
    }
).map(lambda words: {word: value for word, value in words.items() if value is not MISSING})
OPTIONS = st.dictionaries(
    st.sampled_from(["socket_timeout", "socket_connect_timeout", "max_connections", "health_check_interval"]),
    st.sampled_from([5, 5.5, "5", 0, None, True, 100, -1]),
    max_size=2,
)
PASSWORD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=60) | st.just(
    "".join(map(chr, range(32, 127)))
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    client=st.sampled_from(["builtin", "django_redis", "resilient"]),
    alias=ALIAS,
    options=OPTIONS,
    password=PASSWORD,
)
def test_what_passes_is_served(
    set_password: Callable[[str], RedisServer],
    client: str,
    alias: dict[str, Any],
    options: dict[str, Any],
    password: str,
) -> None:
    alias = {**alias, "options": options} if options else alias
    variables = {
        "cache_mode": "standalone",
        "cache_client": client,
        "redis_password": password,
        "django_app_secret_key": KEY,
        "django_app_session_alias": "",
        "django_app_cache_aliases": {"default": alias},
    }
    inventory = Inventory(
        {"redis-1": {**variables, "ansible_host": "192.0.2.1"}, "app-1": variables},
        {"all": ["redis-1", "app-1"], "redis": ["redis-1"], "redis_sentinel": [], "django_app": ["app-1"]},
    )
    refused = any(problem.severity == ERROR for problem in inventory_problems(inventory))
    event("refused" if refused else "served")
    if refused:
        return
    forget_pools()
    server = set_password(password)
    cache = loaded(rendered(alias, "standalone", client, [node(server)], password=password))
    if alias.get("timeout") == 0:
        cache.set("key", 1)
        assert cache.get("key") is None
    else:
        check_operations(cache)
        cache.clear()
