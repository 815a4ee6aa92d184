"""The part cluster against real clusters, whole, growing, interrupted and broken."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from ansible.module_utils.host.cluster import NodeClient, cluster
from ansible.module_utils.host.run import PartError
from ansible.module_utils.redis_client import RedisError, quote
from ansible.module_utils.redis_cluster_plan import expand, parse_nodes

from parts import PASSWORD, apply
from servers import Farm, RedisServer, wait_for

# Milliseconds, of silence until a node counts as dead.
NODE_TIMEOUT = 500

RunCluster = Callable[..., dict[str, Any]]


@pytest.fixture
def auth_file(tmp_path: Path) -> str:
    path = tmp_path / "auth.conf"
    path.write_text(f"requirepass {quote(PASSWORD)}\n")
    return str(path)


@pytest.fixture
def make(auth_file: str) -> RunCluster:
    """Apply the part for these servers, each on a machine of its own; where it fails, its text is ``msg``."""

    def make(servers: Sequence[RedisServer], machines: str = "", check: bool = False, **more: Any) -> dict[str, Any]:
        here = {"auth_file": more.pop("auth_file", auth_file)}
        nodes = inventory(servers, machines)
        try:
            return apply(cluster, {"nodes": nodes, "connection": here, "wait": 20, **more}, check)
        except PartError as error:
            return {"msg": str(error)}

    return make


def inventory(servers: Sequence[RedisServer], machines: str = "") -> list[dict[str, Any]]:
    return [
        {
            "name": f"redis-{place}",
            "address": server.host,
            "port": server.port,
            "machine": (machines or "abcdefgh")[place - 1],
        }
        for place, server in enumerate(servers, 1)
    ]


def start(farm: Farm, number: int) -> list[RedisServer]:
    return [farm.cluster_node(NODE_TIMEOUT, PASSWORD) for _ in range(number)]


def says(server: RedisServer) -> str:
    """What the server answers to CLUSTER NODES, as it is."""
    return "".join(f"{line}\n" for line in raw(server, "CLUSTER", "NODES").splitlines())


def raw(server: RedisServer, *words: str | int) -> Any:
    """The answer to a command as the server gives it, which redis-py shapes."""
    with NodeClient(server.host, server.port) as client:
        if server.password:
            client.command("AUTH", server.password)
        return client.command(*words)


def picture(servers: Sequence[RedisServer]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """All that the servers know and that does not change by itself."""
    seen = []
    for server in servers:
        lines = parse_nodes(says(server))
        known = [
            (line.id, sorted(line.flags), line.follows, line.slots, line.migrating, line.importing) for line in lines
        ]
        state = raw(server, "CLUSTER", "INFO").splitlines()[0]
        seen.append((state, sorted(known, key=lambda line: str(line[0]))))
    return seen


def roles(servers: Sequence[RedisServer]) -> dict[str, str]:
    """Each server's slots, or the name of whom it follows."""
    own = {}
    for place, server in enumerate(servers, 1):
        (line,) = [line for line in parse_nodes(says(server)) if "myself" in line.flags]
        own[line.id] = (f"redis-{place}", line)
    return {
        name: f"redis {own[line.follows][0]}" if line.follows else " ".join(line.slots) for name, line in own.values()
    }


def clients_view(servers: Sequence[RedisServer]) -> redis.RedisCluster:
    return redis.RedisCluster(servers[0].host, servers[0].port, password=PASSWORD, protocol=2)


class _CutError(OSError):
    """Ends a run, as a lost connection would."""


def cut(monkeypatch: pytest.MonkeyPatch, word: str, after: int) -> None:
    """End the run at a command that has this word, after so many of them."""
    method = "migrate" if word == "MIGRATE" else "command"
    genuine, seen = getattr(NodeClient, method), [0]

    def command(self: NodeClient, *words: Any) -> Any:
        if method == "migrate" or word in words:
            seen[0] += 1
            if seen[0] > after:
                raise _CutError("cut")
        return genuine(self, *words)

    monkeypatch.setattr(NodeClient, method, command)


def test_nodes_that_are_not_there_yet_are_foretold_as_new_ones(farm: Farm, make: RunCluster, tmp_path: Path) -> None:
    servers = start(farm, 8)
    names = [f"redis-{number}" for number in range(1, 9)]
    # Where nothing was deployed there is no password either.
    foretold = make(servers[:6], check=True, absent=names[:6], auth_file=str(tmp_path / "nothing"))
    assert foretold["actions"] == make(servers[:6])["actions"] != []
    growth = make(servers, check=True, absent=names[6:])["actions"]
    assert growth == make(servers, check=True)["actions"] != []
    assert "only check mode" in make(servers, absent=names[6:])["msg"]


def test_forming(farm: Farm, make: RunCluster) -> None:
    servers = start(farm, 6)
    before = picture(servers)
    foretold = make(servers, "aabbcc", check=True)
    assert picture(servers) == before

    assert "the cluster is not as it should be: redis-1 takes slots" in make(servers, "aabbcc", verify=True)["msg"]
    assert picture(servers) == before

    result = make(servers, "aabbcc")
    assert result["changed"] is foretold["changed"] is True
    assert result == foretold
    assert result["actions"][0] == "redis-1 takes slots 0-5461"
    assert result["primaries"] == ["redis-1", "redis-3", "redis-5"]
    wanted = roles(servers)
    assert [wanted[name] for name in result["primaries"]] == ["0-5461", "5462-10922", "10923-16383"]
    assert sorted(wanted[f"redis-{i}"] for i in (2, 4, 6)) == ["redis redis-1", "redis redis-3", "redis redis-5"]
    assert all(wanted[f"redis-{i}"] != f"redis redis-{i - 1}" for i in (2, 4, 6))
    (diff,) = result["diff"]
    assert diff["before"].splitlines()[0] == "redis-1: in no cluster"
    assert diff["after"].splitlines()[0] == "redis-1: slots 0-5461"
    assert diff["after"].splitlines()[1] == f"redis-2: {wanted['redis-2'].replace('redis ', 'follows ', 1)}"

    # At once, without a wait: the module returned when all agreed.
    client = clients_view(servers)
    for number in range(100):
        client.set(f"key {number}", number)
    for check in (False, True):
        again = make(servers, "aabbcc", check=check, verify=not check)
        assert (again["changed"], again["actions"], again["primaries"]) == (False, [], result["primaries"])
        assert again["diff"] == []

    # Whoever leads then.
    raw(servers[1], "CLUSTER", "FAILOVER")
    assert wait_for(lambda: roles(servers)["redis-2"][:1].isdigit())
    after = make(servers, "aabbcc")
    assert (after["changed"], "redis-2" in after["primaries"]) == (False, True)


@pytest.mark.parametrize(
    ("word", "after"),
    [("ADDSLOTS", 4), ("MEET", 2), ("REPLICATE", 1)],
)
def test_forming_that_was_interrupted_goes_on(
    farm: Farm, make: RunCluster, monkeypatch: pytest.MonkeyPatch, word: str, after: int
) -> None:
    servers = start(farm, 6)
    with monkeypatch.context() as patch:
        cut(patch, word, after)
        result = make(servers)
    assert result["msg"] == "cut. The next run goes on from here."
    assert make(servers)["changed"] is True
    assert roles(servers) == {
        "redis-1": "0-5461",
        "redis-2": "5462-10922",
        "redis-3": "10923-16383",
        "redis-4": "redis redis-1",
        "redis-5": "redis redis-2",
        "redis-6": "redis redis-3",
    }
    assert make(servers)["changed"] is False


class Traffic:
    """Clients that increase counters all the while; what they miss is in `errors`."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self._client, self._ended = clients_view(servers), threading.Event()
        self.errors: list[str] = []
        self.counts = dict.fromkeys((f"counter {i}" for i in range(300)), 0)
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        choose = random.Random(7)
        while not self._ended.is_set():
            key = choose.choice(list(self.counts))
            try:
                self.counts[key] += 1
                if self._client.incr(key) != self.counts[key]:
                    self.errors.append(f"{key} was lost")
            except redis.RedisError as error:
                self.errors.append(repr(error))
            except AttributeError:
                # redis-py stumbles, before it sends anything, where a server sends it to one that it has not met.
                self.counts[key] -= 1
                self._client.nodes_manager.initialize()


def test_growing(farm: Farm, make: RunCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """With keys, large ones and such as are no text, clients that go on meanwhile, and an interruption."""
    servers = start(farm, 8)
    make(servers[:6])
    client = clients_view(servers)
    values = {f"key {i}".encode(): b"value %d" % i for i in range(2000)}
    values |= {b"\x80\xff\r\n%d" % i: bytes([i]) * 1000 for i in range(50)}
    values |= {b"large %d" % i: bytes([i]) * 3_000_000 for i in range(8)}
    for key, value in values.items():
        client.set(key, value)
    client.set("mortal", "x", px=1)
    assert make(servers, check=True)["actions"] == [
        "redis-7 joins",
        "redis-8 joins",
        "redis-8 follows redis-7",
        "1366 slots move from redis-1 to redis-7",
        "1365 slots move from redis-2 to redis-7",
        "1365 slots move from redis-3 to redis-7",
    ]
    with Traffic(servers[:6]) as traffic:
        with monkeypatch.context() as patch:
            cut(patch, "MIGRATE", 250)
            assert "The next run goes on from here" in make(servers)["msg"]
        # Somewhere in the middle; where depends on what the traffic has written.
        assert 0 < len(expand(roles(servers)["redis-7"].split())) < 4096
        result = make(servers)
    assert result["changed"] is True
    assert any(re.search(r"\d open slots? moves? from redis-\d to redis-7", action) for action in result["actions"])
    assert result["primaries"] == ["redis-1", "redis-2", "redis-3", "redis-7"]
    if roles(servers)["redis-8"] != "redis redis-7":
        # The cluster itself gives a replica to another primary now and then, and the next run takes it back.
        make(servers)
    assert roles(servers)["redis-8"] == "redis redis-7"
    assert [len(expand(roles(servers)[name].split())) for name in result["primaries"]] == [4096] * 4
    assert traffic.errors == []
    client = clients_view(servers)
    for key, value in {**values, **{name.encode(): b"%d" % n for name, n in traffic.counts.items() if n}}.items():
        assert client.get(key) == value, key[:40]
    # None is at its old place, too.
    held = [raw(server, "DBSIZE") for server in (*servers[:3], servers[6])]
    assert sum(held) == len(values) + sum(number > 0 for number in traffic.counts.values())
    assert make(servers)["changed"] is False


def test_keys_in_another_database_move_too(farm: Farm, make: RunCluster) -> None:
    """Valkey 9 has them, and counts each database by itself."""
    servers = [farm.cluster_node(NODE_TIMEOUT, PASSWORD, cluster_databases="3") for _ in range(4)]
    make(servers[:3], replicas=0)
    keys = [f"key {number}" for number in range(50)]
    for database in (0, 2):
        for key in keys:
            assert [say(server, database, "SET", key, database) for server in servers].count("OK") == 1
    make(servers, replicas=0)
    for database in (0, 2):
        moved = [say(servers[3], database, "GET", key) for key in keys].count(str(database))
        assert 0 < moved < len(keys)
        for key in keys:
            assert [say(server, database, "GET", key) for server in servers].count(str(database)) == 1


def say(server: RedisServer, database: int, *words: str | int) -> str:
    """The answer in this database, also where that is an error."""
    with NodeClient(server.host, server.port) as client:
        client.command("AUTH", PASSWORD)
        client.command("SELECT", database)
        try:
            return str(client.command(*words))
        except RedisError as error:
            return str(error)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Servers that are no cluster yet; the first test that has them makes one of them."""
    with Farm(tmp_path_factory.mktemp) as farm:
        yield start(farm, 3)


# The tag's slot is the first server's.
@pytest.mark.parametrize(
    ("halves", "tag"),
    [
        ("migrating", "bar"),
        ("importing", "b"),
        ("both", "hello"),
        ("both and some keys moved", "f"),
        ("both and one that leads nowhere", "user1000"),
    ],
)
def test_a_move_that_somebody_began_is_finished(
    three: list[RedisServer], make: RunCluster, halves: str, tag: str
) -> None:
    make(three, replicas=0)
    first, second, third = three
    slot = raw(first, "CLUSTER", "KEYSLOT", tag)
    for number in range(25):
        raw(first, "SET", f"{{{tag}}} {number}", number)
    ids = [raw(server, "CLUSTER", "MYID") for server in three]
    if halves != "migrating":
        raw(second, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    if halves != "importing":
        raw(first, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    if "some keys moved" in halves:
        keys = raw(first, "CLUSTER", "GETKEYSINSLOT", slot, 10)
        raw(first, "MIGRATE", second.host, second.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys)
    if "nowhere" in halves:
        raw(third, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    result = make(three, replicas=0)
    assert "1 open slot moves from redis-1 to redis-2" in result["actions"]
    assert (f"slot {slot} is closed on redis-3" in result["actions"]) is ("nowhere" in halves)
    assert not [line for server in three for line in parse_nodes(says(server)) if line.migrating or line.importing]
    assert raw(second, "CLUSTER", "COUNTKEYSINSLOT", slot) == 25
    assert all(raw(second, "GET", f"{{{tag}}} {number}") == str(number) for number in range(25))
    assert make(three, replicas=0)["changed"] is False


def test_a_dead_node_that_the_inventory_no_longer_has_is_forgotten(farm: Farm, make: RunCluster) -> None:
    servers = start(farm, 6)
    make(servers)
    alive = make(servers[:5])
    assert (alive["changed"], alive["actions"]) == (False, [])
    gone = f"127.0.0.1:{servers[5].port}"
    assert f"{gone} is in the cluster, but not in the inventory; it is alive" in str(alive["warnings"])
    servers[5].stop()
    # From the first doubt on, the module waits until they are sure.
    assert wait_for(lambda: "fail" in says(servers[0]))
    result = make(servers[:5])
    assert (result["changed"], result["actions"]) == (True, [f"forgot {gone}"])
    for server in servers[:5]:
        assert len(parse_nodes(says(server))) == 5
    assert make(servers[:5])["changed"] is False
    # A dead node that the inventory still has is no node to forget.
    servers[4].stop()
    refused = make(servers[:5], wait=1)
    assert f"redis-5 at 127.0.0.1:{servers[4].port} does not answer: " in refused["msg"]
    assert refused["msg"].endswith("Nothing was changed.")


def test_a_broken_cluster_is_refused(three: list[RedisServer], make: RunCluster) -> None:
    make(three, replicas=0)
    raw(three[2], "SET", "foo", "x")
    for server in three:
        raw(server, "CLUSTER", "DELSLOTS", 7000)
    assert wait_for(lambda: all("cluster_state:fail" in raw(server, "CLUSTER", "INFO") for server in three))
    before = picture(three)
    for check in (False, True):
        result = make(three, replicas=0, wait=1, check=check)
        assert "redis-1 says cluster_state:fail" in result["msg"]
        assert "nobody has slots 7000. redis-1, redis-2, redis-3 say: " in result["msg"]
        assert "-6999, 7001-10922" in result["msg"]
        assert picture(three) == before
    # As soon as it is whole, within the wait, there is nothing to do.
    timer = threading.Timer(0.5, raw, (three[1], "CLUSTER", "ADDSLOTS", 7000))
    timer.start()
    assert make(three, replicas=0)["changed"] is False
    timer.join()


def test_what_cannot_become_a_cluster_is_refused(farm: Farm, make: RunCluster) -> None:
    servers = start(farm, 6)
    before = picture(servers)

    def refused(text: str, *arguments: Any, **more: Any) -> None:
        result = make(*arguments, **more)
        assert text in result["msg"]
        assert result["msg"].endswith(". Nothing was changed.")

    refused("5 nodes with 1 replicas for each primary make 2", servers[:5])
    refused("a has 4 of the 6 nodes, where 3 are the most", servers, "aaaabc")
    refused("a has 6 of the 6 nodes", servers, "aaaaaa", check=True)
    refused("redis-1 and redis-2 are the same server", [servers[0], *servers], "abcdefg")
    refused("replicas is negative", servers, replicas=-1)
    refused("each node needs a name, an address and a port", servers, nodes=[{"name": "x", "port": 1}])
    refused("has a name twice", servers, nodes=inventory(servers) * 2)
    refused("WRONGPASS", servers, auth_file=wrong_password(servers[0]))
    refused("NOAUTH", servers, auth_file=None)
    refused("does not exist, so these servers were never deployed", servers, auth_file="/nonexistent/auth.conf")
    plain = farm.server(PASSWORD)
    refused("ERR This instance has cluster support disabled. Set cluster-enabled to yes", [*servers[:5], plain])
    assert [known for _, known in picture(servers)] == [known for _, known in before]


def test_check_mode_leaves_nodes_with_different_passwords_alone(farm: Farm, make: RunCluster) -> None:
    """A run that changes the password was cut short; the next one begins with a comparison."""
    servers = start(farm, 3)
    raw(servers[2], "CONFIG", "SET", "requirepass", "the new one")
    result = make(servers, replicas=0, check=True)
    assert result["changed"] is False
    assert "WRONGPASS" in result["error"]
    assert "WRONGPASS" in make(servers, replicas=0)["msg"]


def test_a_server_with_keys_is_refused(farm: Farm, make: RunCluster) -> None:
    """Whether there is a cluster that it could join or not."""
    servers = start(farm, 4)
    holder = servers[3]
    raw(holder, "CLUSTER", "ADDSLOTS", 5061)
    raw(holder, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    assert wait_for(lambda: not _error(holder, "SET", "bar", "x"))
    raw(holder, "CLUSTER", "DELSLOTS", 5061)
    before = picture(servers)
    for check in (False, True):
        result = make(servers, replicas=0, check=check)
        assert "a cluster is formed of empty servers, and redis-4 holds 1 keys. Run FLUSHALL" in result["msg"]
    assert picture(servers) == before
    make(servers[:3], replicas=0)
    before = picture(servers)
    result = make(servers, replicas=0)
    assert "only an empty server can join, and redis-4 holds 1 keys. Run FLUSHALL" in result["msg"]
    assert picture(servers) == before
    raw(holder, "FLUSHALL")
    assert make(servers, replicas=0)["primaries"] == ["redis-1", "redis-2", "redis-3", "redis-4"]


def _error(server: RedisServer, *words: str) -> str:
    try:
        raw(server, *words)
    except RedisError as error:
        return str(error)
    return ""


def wrong_password(server: RedisServer) -> str:
    path = server.config.parent / "wrong.conf"
    path.write_text('requirepass "wrong"\n')
    return str(path)
