"""The plan for a cluster, made of what servers that do not exist say."""

from __future__ import annotations

import pytest
from ansible.module_utils.redis_cluster_plan import (
    SLOTS,
    Move,
    PlanError,
    UnsettledError,
    View,
    make_plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster_world import EIGHT, SIX, THIRDS, World, formed, inventory, run

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
