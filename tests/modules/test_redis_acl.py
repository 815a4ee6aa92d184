"""Who may do what: the rules by version, client and mode, and what a server makes of them."""

from __future__ import annotations

import hashlib
import itertools
import re
from pathlib import Path

import pytest
from ansible.module_utils.redis_acl import (
    ADMIN,
    OF_CLIENT,
    OF_SENTINELS,
    OF_USER,
    UNKNOWN,
    USERS,
    Version,
    app_rules,
    hashed,
    program_version,
    rules,
    sentinel_lines,
    sentinel_rules,
    user_lines,
    users,
    version_of,
)

from servers import Farm, RedisServer, RedisServerFactory, server_binary

APP = app_rules(["builtin"], False, ["dj/*"], [])
# With all that makes one of redis.conf's lines hard to write.
PASSWORDS = {name: f'{name} "its\\own # пароль' for name in USERS}
# By version: 6.0 brought users, 6.2 channels, 7.0 more figures, 7.2 a client that says what it is.
VERSIONS: list[Version] = [(6, 0), (6, 2), (7, 0), (7, 2), (8, 0), UNKNOWN]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("7.0.15", (7, 0)),
        ("v=6.2.14 sha=00000000:0 malloc=jemalloc-5.2.1", (6, 2)),
        ("9.1.2", (9, 1)),
        ("unstable", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_a_version(text: str, version: Version) -> None:
    assert version_of(text) == version


def test_the_version_of_a_program(tmp_path: Path) -> None:
    assert version_of("9") < program_version(str(server_binary()), {}) < UNKNOWN
    assert program_version(str(tmp_path / "absent"), {}) == UNKNOWN
    assert program_version("/bin/false", {}) == UNKNOWN


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_is_told_what_it_knows(version: Version) -> None:
    said = {name: rules(name, version, APP) for name in USERS}
    everything = set(itertools.chain(*said.values()))
    has_channels = any(rule == "resetchannels" or rule.startswith("&") for rule in everything)
    assert has_channels == (version >= (6, 2))
    assert ("+latency|histogram" in said["monitor"]) == (version >= (7, 0))
    # 7.0 alone refuses what it does not know; before, a client that says it would be denied.
    assert ("+client|setinfo" in said["app"]) == (version != (7, 0))
    # Nothing else depends on the version.
    whole = {rule for name in USERS for rule in rules(name, UNKNOWN, APP)}
    rest = {"resetchannels", "&*", "&__sentinel__:hello", "+latency|histogram", "+client|setinfo"}
    assert whole - everything <= rest


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["app", "replica", "sentinel", "monitor"])
def test_nobody_but_the_roles_has_more_than_is_listed(name: str, version: Version) -> None:
    said = rules(name, version, APP)
    granted = [rule for rule in said if rule.startswith("+")]
    assert said.index("-@all") < min(map(said.index, granted))
    assert not [rule for rule in granted if rule.startswith("+@")]
    keys = [rule for rule in said if rule.startswith(("~", "%", "allkeys"))]
    assert keys == (["~dj/*"] if name == "app" else [])


def test_the_roles_may_do_everything() -> None:
    assert rules(ADMIN, UNKNOWN) == ["~*", "&*", "+@all"]
    assert rules(ADMIN, (6, 0)) == ["~*", "+@all"]


def test_a_client_adds_what_it_says() -> None:
    base = set(app_rules([], False, [], []))
    for client, more in OF_CLIENT.items():
        said = app_rules([client], False, ["a/*", "b/*"], ["~queue:*", "+lpush"])
        assert said[:4] == ["~a/*", "~b/*", "resetchannels", "-@all"]
        assert said[-2:] == ["~queue:*", "+lpush"]
        assert set(said[4:-2]) == (base - {"resetchannels", "-@all"}) | set(more)
        assert len(set(said)) == len(said)
        assert ("+eval" in said) == (client == "django_redis")
    together = app_rules(["builtin", "resilient"], False, [], [])
    assert set(together) == base | set(OF_CLIENT["builtin"]) | set(OF_CLIENT["resilient"])
    assert len(set(together)) == len(together)


def test_a_cluster_adds_what_its_clients_say() -> None:
    alone, cluster = (set(app_rules(["resilient"], is_cluster, [], [])) for is_cluster in (False, True))
    assert cluster - alone == {"+cluster|slots", "+readonly", "+asking"}
    assert alone <= cluster


@pytest.fixture(scope="module")
def server(redis_server: RedisServerFactory) -> RedisServer:
    """A server whose users were made by ACL SETUSER."""
    server = redis_server()
    version = version_of(str(server.client().info("server")["valkey_version"]))
    for name in USERS:
        server.ask("ACL", "SETUSER", name, "reset", "on", hashed(PASSWORDS[name]), *rules(name, version, APP))
    return server


def may(server: RedisServer, user: str, *command: str) -> bool:
    """Tell whether the server would let the user say that."""
    return bool(server.ask("ACL", "DRYRUN", user, *command) in (b"OK", True))


@pytest.mark.parametrize(
    "command",
    [
        "GET dj/builtin:1:x", "MGET dj/builtin:1:x dj/builtin:1:y", "SET dj/builtin:1:x 1 EX 9", "DEL dj/builtin:1:x",
        "INCRBY dj/builtin:1:x 1", "MSET dj/builtin:1:x 1", "EXPIRE dj/builtin:1:x 1", "PING", "SELECT 2", "FLUSHDB",
        "CLIENT SETINFO LIB-NAME redis-py",
    ],
)  # fmt: skip
def test_django_may(server: RedisServer, command: str) -> None:
    assert may(server, "app", *command.split())


@pytest.mark.parametrize(
    "command",
    [
        "KEYS *", "CONFIG GET *", "FLUSHALL", "EVAL return(1) 0", "MODULE LIST", "SHUTDOWN", "REPLICAOF NO ONE", "SAVE",
        "MONITOR", "ACL LIST", "GET other:1:x", "GET dj", "MGET dj/builtin:1:x other:1:x", "SCRIPT FLUSH", "INFO",
        "SCAN 0", "SUBSCRIBE x", "PUBLISH x y", "DEBUG SLEEP 1", "CLIENT KILL TYPE normal", "CLIENT LIST",
    ],
)  # fmt: skip
def test_django_may_not(server: RedisServer, command: str) -> None:
    assert not may(server, "app", *command.split())


@pytest.mark.parametrize(
    ("user", "can", "cannot"),
    [
        ("replica", ["PSYNC ? -1", "REPLCONF listening-port 1", "PING"], ["GET x", "INFO", "CONFIG GET *"]),
        ("sentinel", ["INFO", "SLAVEOF NO ONE", "PUBLISH __sentinel__:hello x"], ["GET x", "PUBLISH x y"]),
        ("monitor", ["INFO", "SLOWLOG GET 1", "LATENCY LATEST"], ["GET x", "CONFIG GET *", "SLOWLOG RESET"]),
        ("admin", ["CONFIG GET *", "GET x", "ACL LIST", "SHUTDOWN"], []),
    ],
)
def test_the_others_may(server: RedisServer, user: str, can: list[str], cannot: list[str]) -> None:
    assert [command for command in can if not may(server, user, *command.split())] == []
    assert [command for command in cannot if may(server, user, *command.split())] == []


def started(farm: Farm, folder: Path, lines: list[str]) -> RedisServer:
    """A server that starts with these lines, but for the one that takes the way in of this test."""
    assert lines[0] == "user default off"
    (folder / "users.conf").write_text("\n".join(lines[1:]), "ascii")
    return farm.server(include=str(folder / "users.conf"))


def test_lines_make_the_users_that_commands_make(server: RedisServer, farm: Farm, tmp_path: Path) -> None:
    version = program_version(str(server_binary()), {})
    other = started(farm, tmp_path, user_lines(PASSWORDS, version, APP))
    told, read = (listed(one) for one in (server, other))
    assert set(read) == {*USERS, "default"}
    assert {name: read[name] for name in USERS} == {name: told[name] for name in USERS}
    for name, password in PASSWORDS.items():
        assert hashed(password) in read[name]
        assert other.ask("AUTH", name, password)


def listed(server: RedisServer) -> dict[str, set[str]]:
    """The words of each user's rules."""
    return users(line.decode() if isinstance(line, bytes) else line for line in server.ask("ACL", "LIST"))


def test_a_line_has_any_pattern(farm: Farm, tmp_path: Path) -> None:
    patterns = ['"магазин" 🛒/*'.replace(" ", "?"), r"back\\slash/*", "#hash/*", "'/*", r"\[a\]/*", "$(id)/*"]
    lines = user_lines({"app": "x"}, UNKNOWN, app_rules(["builtin"], False, patterns, ["~queue:*"]))
    assert all(line.isascii() for line in lines)
    server = started(farm, tmp_path, lines)
    granted = server.ask("ACL GETUSER", "app")
    assert set(granted["keys"]) == {f"~{pattern}" for pattern in [*patterns, "queue:*"]}


def test_what_needs_no_quotes_has_none() -> None:
    (_, line) = user_lines({"app": "x"}, UNKNOWN, app_rules(["resilient"], True, ["dj/*", "a b*"], ["%R~x:*"]))
    assert '"~a b*"' in line
    assert [word for word in re.findall(r'"[^"]*"', line) if word not in ('"~a b*"', '"%R~x:*"')] == []


def test_the_passwords_of_others_are_not_in_the_lines() -> None:
    lines = user_lines(PASSWORDS, UNKNOWN, APP)
    assert lines[0] == "user default off"
    assert len(lines) == 1 + len(USERS)
    for name, line in zip(USERS, lines[1:]):
        assert line.startswith(f"user {name} on ")
        assert (f"#{hashlib.sha256(PASSWORDS[name].encode()).hexdigest()}" in line) == (name != ADMIN)
    with_password = [line for line in lines if ">" in line]
    assert [line.split()[1] for line in with_password] == [ADMIN]


def test_every_user_has_rules() -> None:
    assert {*OF_USER, "app"} == {*USERS, "default"}
    assert users(["user app on sanitize-payload #ab ~* +get"]) == {"app": {"on", "#ab", "~*", "+get"}}


# On Sentinels


CLIENTS = "clients'"
OTHERS = {"admin": 'the "admin\'s" own', "sentinel": "among \\ sentinels"}


def test_sentinels_without_users_have_one_password() -> None:
    whole = ['requirepass "a\\"b"']
    assert sentinel_lines('a"b', OTHERS, (6, 0)) == whole
    assert sentinel_lines('a"b', {}, UNKNOWN) == whole


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_sentinels_with_users(version: Version) -> None:
    default, admin, sentinel, user, password = sentinel_lines(CLIENTS, OTHERS, version)
    assert default.startswith(f"user default on {hashed(CLIENTS)} ")
    assert admin.split()[:3] == ["user", "admin", "on"]
    assert sentinel.startswith(f"user sentinel on {hashed(OTHERS['sentinel'])} ")
    assert (user, password) == ("sentinel sentinel-user sentinel", 'sentinel sentinel-pass "among \\\\ sentinels"')
    assert ("+client|setinfo" in default) == (version != (7, 0))


def test_whoever_asks_a_sentinel_commands_nothing() -> None:
    for name in ("default", "sentinel"):
        said = sentinel_rules(name, UNKNOWN)
        granted = {rule for rule in said if rule.startswith("+")}
        assert said.index("-@all") < min(map(said.index, granted))
        harmful = ("set", "failover", "monitor", "remove", "reset", "config")
        assert not granted & {"+@all", "+sentinel", "+acl", "+shutdown", *(f"+sentinel|{word}" for word in harmful)}
    assert set(OF_SENTINELS) == {"default", *OTHERS}


@pytest.mark.parametrize(
    ("keys", "more", "patterns"),
    [
        (["*", "dj:*"], [], ["~*"]),
        (["dj/*"], ["~queue:*", "%R~log:*"], ["~dj/*", "~queue:*", "%R~log:*"]),
        (["*"], ["~queue:*", "%R~log:*"], ["~*"]),
        (["dj/*"], ["allkeys"], ["allkeys"]),
        (["dj/*"], ["&news", "&*"], ["~dj/*", "&*"]),
        (["dj/*"], ["allchannels", "&news"], ["~dj/*", "allchannels"]),
    ],
)
def test_no_pattern_beside_the_one_for_everything(keys: list[str], more: list[str], patterns: list[str]) -> None:
    rules = app_rules([], False, keys, more)
    assert [rule for rule in rules if rule[0] in "~%&" or rule.startswith("all")] == patterns
