"""A cluster of servers that do not exist, which does what a plan for it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ansible.module_utils.redis_cluster_plan import (
    SLOTS,
    Line,
    Node,
    Plan,
    View,
    make_plan,
    ranges,
)

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
