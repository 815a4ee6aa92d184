"""The plan for a cluster, made of what servers that do not exist say."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest
from ansible.module_utils.redis_cluster_plan import (
    SLOTS,
    Line,
    Move,
    Node,
    Plan,
    PlanError,
    UnsettledError,
    View,
    expand,
    listed,
    make_plan,
    parse_nodes,
    place,
    ranges,
    share,
)
from hypothesis import given, settings
from hypothesis import strategies as st

THIRDS = {"n1": range(5462), "n2": range(5462, 10923), "n3": range(10923, SLOTS)}


def inventory(machines: Iterable[str]) -> list[Node]:
    """Nodes n1, n2, ... on these machines."""
    return [Node(f"n{i}", f"10.0.0.{i}", 6379, machine) for i, machine in enumerate(machines, 1)]


SIX = inventory("abcdef")
EIGHT = inventory("abcdefgh")


class World:
    """Servers that know each other, and what they say. A node's id is its name with ``id-`` before it."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.knows = {name: {name} for name in self.names}
        self.slots: dict[str, set[int]] = {}
        self.follows: dict[str, str] = {}
        self.keys: dict[str, int] = {}
        self.flags: dict[str, str] = {}
        self.down: set[str] = set()
        self.epochs: dict[str, int] = {}
        self.migrating: dict[str, dict[int, str]] = {}
        self.importing: dict[str, dict[int, str]] = {}

    def meet(self, *names: str) -> None:
        """All that these know now know each other."""
        together = set().union(*(self.knows[name] for name in names))
        for name in together:
            self.knows[name] = set(together)

    def views(self, nodes: Sequence[Node]) -> dict[str, View]:
        views = {}
        for name in (node.name for node in nodes):
            lines = {f"id-{other}": self._line(name, other) for other in self.knows[name]}
            whole = len(set().union(*(self.slots.get(other, set()) for other in self.knows[name]))) == SLOTS
            link = ("down" if name in self.down else "up") if name in self.follows else ""
            own = lines[f"id-{name}"]
            views[name] = View("ok" if whole else "fail", self.keys.get(name, 0), link, own, lines)
        return views

    def _line(self, name: str, other: str) -> Line:
        own = name == other
        follows = self.follows.get(other, "")
        flags = {"slave" if follows else "master", *self.flags.get(other, "").split()} | ({"myself"} if own else set())
        return Line(
            id=f"id-{other}",
            ip=f"10.0.0.{other[1:]}",
            port=6379,
            bus=16379,
            flags=frozenset(flags),
            follows=f"id-{follows}" if follows else "",
            epoch=self.epochs.get(other, 0),
            slots=tuple(ranges(self.slots.get(other, ())).split(", ")) if self.slots.get(other) else (),
            migrating={s: f"id-{to}" for s, to in self.migrating.get(other, {}).items()} if own else {},
            importing={s: f"id-{to}" for s, to in self.importing.get(other, {}).items()} if own else {},
        )

    def steps(self, plan: Plan) -> list[tuple[str, ...]]:
        """The plan's steps, each of which can be the last one of a run."""
        return [
            *(("epoch", name, str(epoch)) for name, epoch in plan.epochs.items()),
            *(("take", name) for name in plan.takes),
            *(("forget", node) for node in plan.forgets),
            *(("meet", name) for name in plan.joins),
            *(("close", name, str(slot)) for name, slot in plan.closes),
            *(("move", m.source, m.target, str(slot)) for m in plan.resumes for slot in m.slots),
            *(("follow", name, primary) for name, primary in plan.follows.items()),
            *(("open", m.source, m.target, str(m.slots[-1])) for m in plan.moves),
            *(("move", m.source, m.target, str(slot)) for m in plan.moves for slot in m.slots),
        ]

    def take(self, plan: Plan, step: tuple[str, ...]) -> None:
        """Take one of them."""
        word, name, *rest = step
        if word == "epoch":
            self.epochs[name] = int(rest[0])
        elif word == "take":
            self.slots.setdefault(name, set()).update(plan.takes[name])
        elif word == "forget":
            for known in self.knows.values():
                known.discard(name[3:])
        elif word == "meet":
            self.meet(plan.hub, name)
        elif word == "follow":
            assert not self.slots.get(name)
            self.follows[name] = rest[0]
        else:
            slot = int(rest[-1])
            for opened in (self.migrating, self.importing):
                if word == "open":
                    opened.setdefault(name if opened is self.migrating else rest[0], {})[slot] = (
                        rest[0] if opened is self.migrating else name
                    )
                else:
                    for slots in opened.values():
                        slots.pop(slot, None)
            if word == "move":
                self.slots[name].remove(slot)
                self.slots.setdefault(rest[0], set()).add(slot)


def formed(followers: Mapping[str, str] | None = None, slots: Mapping[str, Iterable[int]] = THIRDS) -> World:
    """A whole cluster of these."""
    followers = {"n4": "n1", "n5": "n2", "n6": "n3"} if followers is None else followers
    world = World([*slots, *followers])
    world.slots, world.follows = {name: set(part) for name, part in slots.items()}, dict(followers)
    world.meet(*world.names)
    return world


def run(world: World, nodes: Sequence[Node], replicas: int = 1, cut: int | None = None) -> Plan:
    """Plan, and take the steps, or only the first ``cut`` of them."""
    plan = make_plan(nodes, world.views(nodes), replicas)
    for step in world.steps(plan)[:cut]:
        world.take(plan, step)
    return plan


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


# Forming


def test_forming() -> None:
    plan = run(World(node.name for node in SIX), SIX)
    assert plan.actions == [
        "n1 takes slots 0-5461",
        "n2 takes slots 5462-10922",
        "n3 takes slots 10923-16383",
        *(f"n{i} joins" for i in (2, 3, 4, 5, 6)),
        "n4 follows n1",
        "n5 follows n2",
        "n6 follows n3",
    ]
    assert sorted(plan.epochs.values()) == [1, 2, 3, 4, 5, 6]
    names = [node.name for node in SIX]
    assert plan.before.text(names) == "".join(f"n{i}: in no cluster\n" for i in range(1, 7))
    led = "n1: slots 0-5461\nn2: slots 5462-10922\nn3: slots 10923-16383\n"
    assert plan.after.text(names) == f"{led}n4: follows n1\nn5: follows n2\nn6: follows n3\n"


@pytest.mark.parametrize("cut", range(20))
def test_forming_that_was_interrupted_goes_on(cut: int) -> None:
    """After each step in turn, the last of which is the end."""
    world, wanted = World(node.name for node in SIX), World(node.name for node in SIX)
    run(wanted, SIX)
    run(world, SIX, cut=cut)
    before = {name: set(slots) for name, slots in world.slots.items()}
    second = run(world, SIX)
    assert (world.slots, world.follows, world.knows) == (wanted.slots, wanted.follows, wanted.knows)
    assert all(slots <= world.slots[name] for name, slots in before.items())
    assert bool(second.actions) is (cut < 17)
    assert run(world, SIX).actions == []


@settings(max_examples=25)
@given(st.integers(0, 17), st.integers(0, 17), st.sampled_from(["abcdefgh", "aabbccdd", "abcabcab"]))
def test_forming_goes_on_with_another_inventory(first: int, second: int, machines: str) -> None:
    """Slots that are taken stay where they are, and everybody has a part in the end."""
    nodes = inventory(machines)
    world = World(node.name for node in nodes)
    run(world, nodes[:6], cut=first)
    run(world, nodes, cut=second)
    run(world, nodes)
    assert run(world, nodes).actions == []
    assert len(world.slots) == 4
    assert sum(map(len, world.slots.values())) == SLOTS
    assert len(world.follows) == 4


def test_too_few_primaries() -> None:
    with pytest.raises(PlanError, match=r"at least 3 primaries, and 5 nodes with 1 .* make 2\. Use at least 6 nodes"):
        run(World(["n1", "n2", "n3", "n4", "n5"]), inventory("abcde"))
    run(World(["n1", "n2", "n3"]), inventory("abc"), replicas=0)


@pytest.mark.parametrize(
    ("machines", "text"),
    [
        ("aaaaaa", "a has 6 of the 6 nodes, where 3 are the most"),
        ("aaaabc", "a has 4 of the 6 nodes, where 3 are the most"),
    ],
)
def test_too_many_nodes_on_a_machine(machines: str, text: str) -> None:
    world = World(f"n{i}" for i in range(1, 7))
    with pytest.raises(PlanError, match=text):
        run(world, inventory(machines))
    assert world.slots == {}


def test_machines_that_no_replicas_fit() -> None:
    """No machine has too many nodes, but three primaries cannot be halved as the replicas are."""
    with pytest.raises(PlanError, match=r"would have \d replicas of 3 on other machines"):
        run(World(f"n{i}" for i in range(1, 13)), inventory("aaaaaabbbbbb"), replicas=3)


def test_keys_are_not_lost_to_a_cluster() -> None:
    world = World(node.name for node in SIX)
    world.keys = {"n2": 12}
    with pytest.raises(PlanError, match=r"n2 holds 12 keys\. Run FLUSHALL"):
        run(world, SIX)


def test_a_server_that_is_named_twice() -> None:
    views = World(["n1", "n2", "n3"]).views(SIX[:3])
    with pytest.raises(PlanError, match="n1 and n2 are the same server"):
        make_plan(SIX[:3], {**views, "n2": views["n1"]}, 0)


# Whole clusters


@pytest.mark.parametrize(
    "world",
    [
        formed(),
        formed({"n1": "n4", "n5": "n2", "n6": "n3"}, {"n4": THIRDS["n1"], "n2": THIRDS["n2"], "n3": THIRDS["n3"]}),
        formed({"n4": "n1", "n5": "n1", "n6": "n1"}),
        formed(
            {"n6": "n1"},
            {"n1": range(100), "n2": range(100, 200), "n3": range(200, 300), "n4": [300], "n5": range(301, SLOTS)},
        ),
        formed({"n2": "n1", "n3": "n1", "n4": "n1", "n5": "n1", "n6": "n1"}, {"n1": range(SLOTS)}),
    ],
)
def test_a_whole_cluster_is_left_as_it_is(world: World) -> None:
    world.keys = {"n1": 100}
    for machines in ("abcdef", "aaaaaa"):
        plan = run(world, inventory(machines))
        assert (plan.actions, plan.warnings, plan.undecided, plan.epochs) == ([], [], False, {})
        names = [node.name for node in SIX]
        assert plan.before.text(names) == plan.after.text(names)


def broken_slots(world: World) -> None:
    world.slots["n2"].remove(7000)


def broken_contested(world: World) -> None:
    world.slots["n1"].add(7000)


def broken_apart(world: World) -> None:
    world.knows["n3"].remove("n1")


def broken_link(world: World) -> None:
    world.down = {"n5"}


def broken_fail(world: World) -> None:
    world.flags["n2"] = "fail?"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (
            broken_slots,
            r"n1 says cluster_state:fail.*nobody has slots 7000\. n1, n2, .* say: .*n2 has 5462-6999, 7001-10922",
        ),
        (broken_contested, "n1 and n2 both say that they have slots 7000"),
        (broken_apart, "n3 does not know n1"),
        (broken_link, "the link of n5 to n2 is down"),
        (broken_fail, "n1 does not reach n2"),
    ],
)
def test_a_cluster_with_keys_that_is_not_whole_is_refused(damage: object, text: str) -> None:
    world = formed()
    world.keys = {"n1": 1}
    assert callable(damage)
    damage(world)
    with pytest.raises(UnsettledError, match=text):
        run(world, SIX)


def test_nodes_that_disagree_are_refused() -> None:
    world = formed()
    views = world.views(SIX)
    world.slots["n1"].remove(0)
    world.slots["n2"].add(0)
    views["n4"] = World.views(world, SIX)["n4"]
    with pytest.raises(UnsettledError, match=r"n1 and n4 disagree .*n1, n2, n3, n5, n6 say: .*\. n4 says: "):
        make_plan(SIX, views, 1)


def test_two_owners_of_a_slot_are_refused_without_keys_too() -> None:
    world = formed()
    broken_contested(world)
    with pytest.raises(UnsettledError, match="n1 and n2 both say that they have slots 7000"):
        run(world, SIX)
    broken_apart(world)
    with pytest.raises(UnsettledError, match="n3 does not know n1"):
        run(world, SIX)


def test_a_state_that_is_not_ok_is_refused() -> None:
    views = formed().views(SIX)
    views["n2"] = View("fail", 0, "", views["n2"].own, views["n2"].lines)
    with pytest.raises(UnsettledError, match="n2 says cluster_state:fail"):
        make_plan(SIX, views, 1)


# New nodes


def test_two_new_nodes() -> None:
    world = formed()
    world.names += ["n7", "n8"]
    world.knows |= {"n7": {"n7"}, "n8": {"n8"}}
    plan = run(world, EIGHT)
    assert plan.actions == [
        "n7 joins",
        "n8 joins",
        "n8 follows n7",
        "1366 slots move from n1 to n7",
        "1365 slots move from n2 to n7",
        "1365 slots move from n3 to n7",
    ]
    assert plan.epochs == {}
    assert {name: len(slots) for name, slots in world.slots.items()} == dict.fromkeys(("n1", "n2", "n3", "n7"), 4096)
    assert run(world, EIGHT).actions == []


@pytest.mark.parametrize("cut", [*range(8), 500, 1371, 1372, 1373, 2736, 2737, 4100, 4101, 4102])
def test_growth_that_was_interrupted_goes_on(cut: int) -> None:
    """Wherever that was, also between two moves, where a slot is open for each that is still to come."""
    world = formed()
    world.keys = {"n1": 1}
    world.names += ["n7", "n8"]
    world.knows |= {"n7": {"n7"}, "n8": {"n8"}}
    run(world, EIGHT, cut=cut)
    run(world, EIGHT)
    assert {name: len(slots) for name, slots in world.slots.items()} == dict.fromkeys(("n1", "n2", "n3", "n7"), 4096)
    assert world.follows["n8"] == "n7"
    assert run(world, EIGHT).actions == []


def test_a_new_node_follows_who_has_the_fewest_replicas_elsewhere() -> None:
    world = formed({"n4": "n1", "n5": "n2"})
    world.knows["n6"] = {"n6"}
    plan = run(world, inventory("abcdef"))
    assert plan.actions == ["n6 joins", "n6 follows n3"]
    world = formed({"n4": "n1", "n5": "n2"})
    world.knows["n6"] = {"n6"}
    assert run(world, inventory("abcdec")).actions == ["n6 joins", "n6 follows n1"]


@pytest.mark.parametrize("knows", [True, False])
def test_a_new_node_with_keys_is_refused(knows: bool) -> None:
    world = formed()
    world.knows["n7"] = {"n7"}
    if knows:
        world.meet("n1", "n7")
    world.keys = {"n1": 5, "n7": 2}
    with pytest.raises(PlanError, match=r"only an empty server can join, and n7 holds 2 keys\."):
        run(world, inventory("abcdefg"))


def test_a_node_of_another_cluster_is_refused() -> None:
    world = formed()
    world.knows |= {"n7": {"n7"}, "n8": {"n8"}}
    nodes = [*EIGHT[5:]]
    with pytest.raises(PlanError, match="n6 is in a cluster none of whose primaries is in the inventory"):
        run(world, nodes, replicas=0)


# Open slots


@pytest.mark.parametrize(("migrating", "importing"), [(True, False), (False, True), (True, True)])
def test_an_open_slot_is_moved_on(migrating: bool, importing: bool) -> None:
    world = formed()
    world.keys = {"n1": 10, "n2": 1}
    if migrating:
        world.migrating["n1"] = {5000: "n2"}
    if importing:
        world.importing["n2"] = {5000: "n1"}
    plan = run(world, SIX)
    assert plan.resumes == [Move("n1", "n2", [5000])]
    assert plan.actions == ["1 open slot moves from n1 to n2"]
    assert run(world, SIX).actions == []


def test_an_open_slot_is_moved_on_to_who_took_over() -> None:
    """The replica that was promoted has the keys that were already moved, and no open slot."""
    world = formed({"n4": "n1", "n2": "n5", "n6": "n3"}, {"n1": THIRDS["n1"], "n5": THIRDS["n2"], "n3": THIRDS["n3"]})
    world.migrating["n1"] = {5000: "n2"}
    assert run(world, SIX).resumes == [Move("n1", "n5", [5000])]


def test_open_slots_that_lead_nowhere_are_closed() -> None:
    world = formed()
    world.knows["n1"].add("n9")
    world.migrating = {"n1": {10: "n9"}, "n2": {11: "n3"}}
    world.importing = {"n3": {11000: "n1"}, "n2": {5000: "n1"}, "n1": {5001: "n2"}}
    world.migrating["n1"][5000] = "n3"
    world.importing["n5"] = {12: "n1"}
    plan = make_plan(SIX, world.views(SIX), 1)
    assert sorted(plan.closes) == [("n1", 10), ("n1", 5001), ("n2", 11), ("n2", 5000), ("n3", 11000)]
    assert plan.resumes == [Move("n1", "n3", [5000])]
    assert "slot 10 is closed on n1" in plan.actions


# Nodes that the inventory does not have


@pytest.mark.parametrize("flag", ["fail", "noaddr"])
def test_a_dead_node_is_forgotten(flag: str) -> None:
    world = formed()
    world.flags["n6"] = flag
    plan = run(world, SIX[:5])
    assert plan.actions == ["forgot 10.0.0.6:6379"]
    assert (plan.warnings, plan.undecided) == ([], False)
    assert run(world, SIX[:5]).actions == []


def test_a_live_node_is_left_alone() -> None:
    plan = run(formed(), SIX[:5])
    assert (plan.actions, plan.undecided) == ([], False)
    assert plan.warnings == [
        "10.0.0.6:6379 is in the cluster, but not in the inventory; it is alive, so it was left alone."
    ]


def test_a_node_that_may_be_dead_is_undecided() -> None:
    world = formed()
    world.flags["n6"] = "fail?"
    plan = run(world, SIX[:5])
    assert (plan.actions, plan.undecided) == ([], True)


def test_a_node_that_some_call_dead_is_undecided() -> None:
    world = formed()
    views = world.views(SIX[:5])
    world.flags["n6"] = "fail"
    views["n4"] = world.views(SIX[:5])["n4"]
    plan = make_plan(SIX[:5], views, 1)
    assert (plan.forgets, plan.undecided) == ({}, True)


@pytest.mark.parametrize("flag", ["fail", ""])
def test_a_node_with_slots_is_left_alone(flag: str) -> None:
    world = formed({"n4": "n2", "n5": "n2", "n6": "n2"})
    world.flags["n1"] = flag
    plan = run(world, SIX[1:])
    assert plan.actions == []
    assert plan.warnings == [
        "10.0.0.1:6379 is in the cluster, but not in the inventory; it has slots, so it was left alone."
    ]
    assert plan.after.text(["n4"]).startswith("n4: follows n2\n10.0.0.1:6379: slots 0-5461\n")
