"""Which server of a cluster leads and which one follows, and who gets which slots."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from ansible.module_utils.redis_cluster_plan import (
    SLOTS,
    Node,
    PlanError,
    expand,
    listed,
    make_plan,
    parse_nodes,
    place,
    ranges,
    share,
)
from hypothesis import given
from hypothesis import strategies as st

from cluster_world import EIGHT, SIX, THIRDS, World, inventory

# CLUSTER NODES


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        # Redis 5, a node that knows nobody.
        ("07c3 :6379@16379 myself,master - 0 0 0 connected", ("07c3", "", 6379, 16379, "", 0, ())),
        (
            "07c3 10.0.0.1:7000@17000 master - 0 1 3 connected 0-5460",
            ("07c3", "10.0.0.1", 7000, 17000, "", 3, ("0-5460",)),
        ),
        # Redis 7 with a host name, Valkey 8 with more.
        ("a 10.0.0.1:1@2,redis-1 slave b 0 1 3 connected", ("a", "10.0.0.1", 1, 2, "b", 3, ())),
        ("a 10.0.0.1:1@2,,tls-port=0,shard-id=c slave b 0 1 3 connected", ("a", "10.0.0.1", 1, 2, "b", 3, ())),
        (
            "a 2001:db8::1:6379@16379 master - 0 1 3 connected 5 7-9",
            ("a", "2001:db8::1", 6379, 16379, "", 3, ("5", "7-9")),
        ),
        ("a :0@0 master,noaddr - 0 1 3 disconnected", ("a", "", 0, 0, "", 3, ())),
    ],
)
def test_lines(line: str, wanted: tuple[object, ...]) -> None:
    (parsed,) = parse_nodes(f"{line}\n\n")
    assert (parsed.id, parsed.ip, parsed.port, parsed.bus, parsed.follows, parsed.epoch, parsed.slots) == wanted
    assert parsed.is_replica is bool(parsed.follows)


def test_flags_and_open_slots_of_a_line() -> None:
    (line,) = parse_nodes("a :1@2 myself,master - 0 0 1 connected 0-5 [5->-b] [7-<-c] [8-<-c]")
    assert line.flags == {"myself", "master"}
    assert (line.slots, line.migrating, line.importing) == (("0-5",), {5: "b"}, {7: "c", 8: "c"})
    (line,) = parse_nodes("a 10.0.0.1:1@2 slave,fail? b 0 0 1 connected")
    assert line.flags == {"slave", "fail?"}


@pytest.mark.parametrize("text", ["ERR no", "a 10.0.0.1 master - 0 0 0 connected", "a b c d e f g h"])
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="no line of CLUSTER NODES"):
        parse_nodes(text)


@given(st.sets(st.integers(0, 60)))
def test_ranges(slots: set[int]) -> None:
    text = ranges(slots)
    assert expand(text.split(", ") if text else []) == sorted(slots)
    assert len(text.split(", ")) == max(1, sum(slot - 1 not in slots for slot in slots))


def test_listed() -> None:
    assert listed(["a", "b"]) == "a; b"
    assert listed([*"abcdefghijkl"]) == "a; b; c; d; e; f; g; h; i; j; and 2 more"


# Placing


def test_places_of_the_shipped_inventory() -> None:
    assert place(SIX, 1, [], {}) == (["n1", "n2", "n3"], {"n4": "n1", "n5": "n2", "n6": "n3"})


def test_two_nodes_on_each_of_three_machines() -> None:
    primaries, follows = place(inventory("aabbcc"), 1, [], {})
    assert primaries == ["n1", "n3", "n5"]
    assert follows == {"n2": "n3", "n4": "n1", "n6": "n1"} or sorted(follows.values()) == primaries


def test_two_replicas_of_a_primary_are_on_two_machines() -> None:
    primaries, follows = place(inventory("aaabbbccc"), 2, [], {})
    assert primaries == ["n1", "n4", "n7"]
    machines = {node.name: node.machine for node in inventory("aaabbbccc")}
    for primary in primaries:
        assert {machines[name] for name in follows if follows[name] == primary} == {*"abc"} - {machines[primary]}


def test_leftover_nodes_are_replicas() -> None:
    primaries, follows = place(inventory("abcdefg"), 1, [], {})
    assert primaries == ["n1", "n2", "n3"]
    assert Counter(follows.values()) == {"n1": 2, "n2": 1, "n3": 1}
    assert place(inventory("abcd"), 0, [], {}) == (["n1", "n2", "n3", "n4"], {})


def test_what_is_so_already_stays_so() -> None:
    primaries, follows = place(EIGHT, 1, ["n4", "n2", "n6"], {"n1": "n4", "n5": "n4", "n3": "n6"})
    assert primaries == ["n2", "n4", "n6", "n7"]
    assert follows == {"n1": "n4", "n5": "n4", "n3": "n6", "n8": "n2"}


def test_who_follows_what_becomes_no_primary_follows_another() -> None:
    followed = {"n4": "n1", "n5": "n2", "n6": "n3"}
    assert place(SIX, 1, ["n1", "n2", "n3"], {"n4": "n5"}) == (["n1", "n2", "n3"], followed)


def test_a_node_that_is_followed_but_has_no_slots_is_the_first_to_get_some() -> None:
    followers = {"n4": "n1", "n5": "n2", "n6": "n3", "n7": "n8"}
    assert place(EIGHT, 1, ["n1", "n2", "n3"], followers) == (["n1", "n2", "n3", "n8"], followers)


def test_a_new_primary_is_on_a_machine_that_has_none() -> None:
    nodes = inventory("abcdefac")
    followers = {"n4": "n1", "n5": "n2", "n6": "n3"}
    assert place(nodes, 1, ["n1", "n2", "n3"], followers)[0] == ["n1", "n2", "n3", "n7"]
    nodes = inventory("abcdefag")
    assert place(nodes, 1, ["n1", "n2", "n3"], followers)[0] == ["n1", "n2", "n3", "n8"]


def test_one_machine_is_refused() -> None:
    with pytest.raises(PlanError, match=r"^n7 can follow no primary, .* machine, a, "):
        place(inventory("abcdefa"), 6, ["n1"], {f"n{i}": "n1" for i in range(2, 7)})


def feasible(nodes: Sequence[Node], replicas: int) -> int:
    """On how many machines the primaries can be, found by trying everything; 0 where there is no way."""
    number = len(nodes) // (1 + replicas)
    best = 0
    for primaries in itertools.combinations(nodes, number):
        others = [node for node in nodes if node not in primaries]
        machines = len({node.machine for node in primaries})
        if machines > best and any(
            all(node.machine != primary.machine for node, primary in zip(others, chosen))
            and all(chosen.count(primary) >= replicas for primary in primaries)
            for chosen in itertools.product(primaries, repeat=len(others))
        ):
            best = machines
    return best


@given(st.lists(st.sampled_from("abcd"), min_size=6, max_size=7), st.just(1))
def test_forming_finds_the_best_way_where_there_is_one(machines: list[str], replicas: int) -> None:
    nodes = inventory(machines)
    best = feasible(nodes, replicas)
    try:
        plan = make_plan(nodes, World(node.name for node in nodes).views(nodes), replicas)
    except PlanError:
        assert best == 0
        return
    where = {node.name: node.machine for node in nodes}
    assert len({where[name] for name in plan.takes}) == best
    assert all(where[name] != where[primary] for name, primary in plan.after.follows.items())
    assert plan.takes.keys() | plan.after.follows.keys() == where.keys()


@given(st.lists(st.sampled_from("abcde"), min_size=3, max_size=24), st.integers(0, 4))
def test_places_are_even(machines: list[str], replicas: int) -> None:
    nodes = inventory(machines)
    where = {node.name: node.machine for node in nodes}
    try:
        plan = make_plan(nodes, World(where).views(nodes), replicas)
    except PlanError:
        return
    assert len(plan.takes) == len(nodes) // (1 + replicas) >= 3
    numbers = Counter(plan.after.follows.values())
    assert all(numbers[name] >= replicas for name in plan.takes)
    assert all(where[name] != where[primary] for name, primary in plan.after.follows.items())
    assert {len(slots) for slots in plan.takes.values()} <= {SLOTS // len(plan.takes), SLOTS // len(plan.takes) + 1}
    assert plan == make_plan(nodes, World(where).views(nodes), replicas)


def test_a_crowded_machine_leads_less_where_that_is_the_only_way() -> None:
    """Machine a's nodes can only be replicas: each primary on it would need two replicas on the other two."""
    primaries, follows = place(inventory("aaaaaabbc"), 2, [], {})
    assert primaries == ["n7", "n8", "n9"]
    assert Counter(follows.values()) == {"n7": 2, "n8": 2, "n9": 2}


# Sharing


def test_a_new_primary_gets_a_part_of_each() -> None:
    moves = share({name: list(slots) for name, slots in THIRDS.items()}, ["n7"], 4)
    assert [(move.source, move.target, len(move.slots)) for move in moves] == [
        ("n1", "n7", 1366),
        ("n2", "n7", 1365),
        ("n3", "n7", 1365),
    ]
    assert moves[0].slots == range(4096, 5462) or list(moves[0].slots) == list(range(4096, 5462))


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.integers(1, 3), st.integers(0, 5000))
def test_shares(bounds: list[int], new: int, begun: int) -> None:
    names = [f"n{i}" for i in range(len(bounds) + 1)]
    edges = [0, *sorted(bounds), SLOTS - begun]
    owned = {name: set(range(first, last)) for name, first, last in zip(names, edges, edges[1:])}
    receivers = [f"new{i}" for i in range(new)]
    owned[receivers[0]] = set(range(SLOTS - begun, SLOTS))
    fair = SLOTS // (len(names) + new)
    for move in share(owned, receivers, len(names) + new):
        assert move.slots
        owned[move.source] -= set(move.slots)
        owned.setdefault(move.target, set()).update(move.slots)
        assert len(owned[move.source]) >= fair
    assert sum(map(len, owned.values())) == SLOTS == len(set().union(*owned.values()))
    assert all(len(owned.get(name, ())) >= fair for name in receivers)
