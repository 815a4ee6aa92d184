"""Who logs in with which password, and which keys Django may use."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache.backends.base import default_key_func
from hypothesis import assume, example, given
from hypothesis import strategies as st

from deployment.checks.rendered import django_caches
from deployment.model import Deployment
from deployment.users import derived_password, redis_access, redis_passwords
from servers import RedisServer, RedisServerFactory

BUILTIN, DJANGO_REDIS = "django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"
RESILIENT, LOCMEM = "cachestack.resilient.RedisCache", "django.core.cache.backends.locmem.LocMemCache"
CLIENTS = ["builtin", "django_redis", "resilient"]
NODES = [{"name": "redis-1", "address": "redis-1", "port": 6379, "role": "leader", "tls": False, "socket": None}]


def access(*hosts: dict[str, Any], mode: str = "standalone") -> dict[str, list[str]]:
    """What Django hosts with these variables come with."""
    variables = {f"app-{number}": {"cache_mode": mode, **own} for number, own in enumerate(hosts, 1)}
    return redis_access(Deployment("redis", "redis_sentinel", [], [], list(variables), variables))


def written(**entry: Any) -> dict[str, Any]:
    """A host whose CACHES is its user's own."""
    return {"django_app_caches": {"default": {"BACKEND": BUILTIN, **entry}}}


@pytest.mark.parametrize(
    ("variables", "keys"),
    [
        ({}, ["dj/*"]),
        ({"django_app_cache_aliases": {"default": {}, "other": None}}, ["dj/*"]),
        ({"django_app_cache_aliases": {"default": {}, "other": {"key_prefix": "shop"}}}, ["dj/*", "shop/*"]),
        ({"django_app_cache_aliases": {"default": {"key_prefix": ""}}}, ["/*"]),
        ({"django_app_cache_aliases": {"default": {"key_prefix": "a*b?c[d]e\\f"}}}, [r"a\*b\?c\[d\]e\\f/*"]),
        ({"django_app_cache_aliases": {"default": {"key_prefix": "two words\t"}}}, ["two?words?/*"]),
        ({"django_app_cache_aliases": {"default": {"key_prefix": "магазин"}}}, ["магазин/*"]),
        (written(), [":*"]),
        (written(KEY_PREFIX="shop"), ["shop:*"]),
        (written(KEY_PREFIX="a b*"), [r"a?b\*:*"]),
        (written(KEY_PREFIX="shop", KEY_FUNCTION="shop.cache.key"), ["*"]),
        ({"django_app_caches": {"default": {"BACKEND": LOCMEM, "KEY_PREFIX": "x"}}}, []),
        # The whole wins over the aliases.
        ({**written(KEY_PREFIX="x"), "django_app_cache_aliases": {"default": {"key_prefix": "y"}}}, ["x:*"]),
    ],
)
def test_the_keys(variables: dict[str, Any], keys: list[str]) -> None:
    assert access(variables)["keys"] == keys


def test_the_aliases_of_a_cluster_that_nobody_named() -> None:
    assert access({}, mode="cluster")["keys"] == ["dj/*", "session/*"]


@pytest.mark.parametrize(
    ("variables", "mode", "clients"),
    [
        ({}, "standalone", ["builtin"]),
        ({}, "sentinel", ["resilient"]),
        ({"django_app_django_version": "3.2"}, "replication", ["django_redis"]),
        ({"cache_client": "resilient"}, "standalone", ["resilient"]),
        (written(), "standalone", ["builtin"]),
        (
            {"django_app_caches": {"a": {"BACKEND": DJANGO_REDIS}, "b": {"BACKEND": RESILIENT}}},
            "standalone",
            CLIENTS[1:],
        ),
        ({"django_app_caches": {"default": {"BACKEND": LOCMEM}}}, "standalone", []),
        # Nobody knows what another one says.
        ({"django_app_caches": {"default": {"BACKEND": "shop.redis.Cache"}}}, "standalone", CLIENTS),
        # What the user wrote counts, not what is said of the aliases.
        ({**written(), "cache_client": "resilient"}, "standalone", ["builtin"]),
    ],
)
def test_the_clients(variables: dict[str, Any], mode: str, clients: list[str]) -> None:
    assert access(variables, mode=mode)["clients"] == clients


def test_hosts_that_differ_come_with_everything() -> None:
    one, other = {"cache_client": "builtin"}, {**written(BACKEND=DJANGO_REDIS, KEY_PREFIX="shop")}
    assert access(one, other) == {"clients": ["builtin", "django_redis"], "keys": ["dj/*", "shop:*"]}
    assert access() == {"clients": [], "keys": []}


# A server decides what matches.


@pytest.fixture(scope="module")
def asking(redis_server: RedisServerFactory) -> RedisServer:
    return redis_server()


def matches(server: RedisServer, patterns: list[str], *keys: str) -> list[bool]:
    """Tell for each key whether the patterns let a user get it."""
    server.ask("ACL", "SETUSER", "app", "reset", "+get", *(f"~{pattern}" for pattern in patterns))
    return [server.ask("ACL", "DRYRUN", "app", "GET", key) in (b"OK", True) for key in keys]


def key_of(prefix: str, client: str, key: str, version: int) -> str:
    """What Django names a key of an alias with this prefix."""
    cache = django_caches({"default": {"key_prefix": prefix}}, "standalone", client, NODES)["default"]
    return str(default_key_func(key, cache["KEY_PREFIX"], version))


# Everything that a pattern or a command's end is made of, and whatever else there is.
PREFIXES = st.text(st.one_of(st.sampled_from("*?[]^-\\!/: \t\n\"'ab"), st.characters(exclude_categories=["Cs"])))
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(PREFIXES, KEYS, st.integers(1, 3), st.sampled_from(CLIENTS))
@example("a\u2003b\x85c\x1cd", "x", 1, "builtin")
@example("[a-c]", "x", 1, "builtin")
@example("a\\", "x", 1, "resilient")
@example("", "*", 1, "django_redis")
def test_keys_match_their_alias(asking: RedisServer, prefix: str, key: str, version: int, client: str) -> None:
    patterns = access({"django_app_cache_aliases": {"default": {"key_prefix": prefix}}})["keys"]
    assert matches(asking, patterns, key_of(prefix, client, key, version)) == [True]
    patterns = access(written(KEY_PREFIX=prefix))["keys"]
    assert matches(asking, patterns, default_key_func(key, prefix, version)) == [True]


@given(PREFIXES, PREFIXES, KEYS, st.sampled_from(CLIENTS))
@example("a*", "ab", "x", "builtin")
@example("a?", "ab", "x", "builtin")
@example("[ab]", "a", "x", "builtin")
@example("a", "ab", "x", "builtin")
@example("", "a", "x", "builtin")
def test_keys_of_others_do_not(asking: RedisServer, prefix: str, other: str, key: str, client: str) -> None:
    # A blank stands for any character, and who has a prefix has all that begin with it and a slash.
    assume(not any(character.isspace() for character in prefix))
    assume(not f"{other}/".startswith(f"{prefix}/"))
    patterns = access({"django_app_cache_aliases": {"default": {"key_prefix": prefix}}})["keys"]
    assert matches(asking, patterns, key_of(other, client, key, 1)) == [False]


# Passwords


PASSWORD, ADMIN = "of Django", "of the roles"


@pytest.mark.parametrize(
    ("mode", "users"),
    [
        ("standalone", {"admin", "app", "monitor"}),
        ("replication", {"admin", "app", "monitor", "replica"}),
        ("sentinel", {"admin", "app", "monitor", "replica", "sentinel"}),
        ("cluster", {"admin", "app", "monitor", "replica"}),
    ],
)
def test_every_user_has_a_password_of_its_own(mode: str, users: set[str]) -> None:
    passwords = redis_passwords(PASSWORD, ADMIN, mode)
    assert set(passwords) == users
    assert len(set(passwords.values())) == len(users)
    assert (passwords["app"], passwords["admin"]) == (PASSWORD, ADMIN)
    assert redis_passwords(PASSWORD, ADMIN, mode) == passwords


def test_without_users_there_is_one_password() -> None:
    assert redis_passwords(PASSWORD, "", "sentinel") == {"default": PASSWORD}


def test_what_django_knows_says_nothing_of_the_others() -> None:
    one, other = (redis_passwords(password, ADMIN, "sentinel") for password in (PASSWORD, "another"))
    assert {name for name in one if one[name] != other[name]} == {"app"}
    renewed = redis_passwords(PASSWORD, "another", "sentinel")
    assert {name for name in one if one[name] != renewed[name]} == set(one) - {"app"}


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["monitor", "replica", "sentinel"]))
def test_a_derived_password(secret: str, other: str, user: str) -> None:
    assume(secret != other)
    derived = derived_password(secret, user)
    assert derived == derived_password(secret, user)
    assert derived not in (derived_password(other, user), derived_password(secret, f"{user} among sentinels"))
    # As long as what `make secret` makes is strong, and without a character that a file would have to quote.
    assert len(derived) == 43
    assert derived.replace("-", "a").replace("_", "a").isalnum()
    assert derived.isascii()


def test_a_derived_password_stays_the_same() -> None:
    """A running deployment has it, and a new version of this bundle must not lock its servers out."""
    assert derived_password("secret", "monitor") == "K0Jh_Az7wz3blw6VzYWYUY5y2ppvtqgekP7qAaLA4kc"
