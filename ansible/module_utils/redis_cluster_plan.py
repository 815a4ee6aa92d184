"""What has to be done so that servers become, or stay, one Redis Cluster: pure functions of what the servers say.

Reads CLUSTER NODES as https://redis.io/docs/latest/commands/cluster-nodes/ has it, in the formats of Redis 4 and later.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SLOTS = 16384
# Fewer cannot decide by majority that one of them has failed.
LEAST_PRIMARIES = 3


class PlanError(Exception):
    """What the inventory asks for cannot be done, or must not be; the text says why and what helps."""


class UnsettledError(PlanError):
    """The cluster is not whole at this moment, and may be a little later; the text says what is wrong."""


@dataclass(frozen=True)
class Node:
    """A server of the inventory. Nodes of the same ``machine`` are lost together."""

    name: str
    address: str
    port: int
    machine: str
    tls: bool = False


@dataclass(frozen=True)
class Line:
    """What one node says of another, or of itself. ``ip`` is empty where it does not know its own.

    ``follows`` is the id of a replica's primary, else empty; ``slots`` are ranges as they were said, ``0-5460`` or
    ``7``. ``migrating`` and ``importing`` are the open slots, which a node tells of itself alone: to whom they go and
    from whom they come.
    """

    id: str
    ip: str
    port: int
    bus: int
    flags: frozenset[str]
    follows: str
    epoch: int
    slots: tuple[str, ...]
    migrating: Mapping[int, str]
    importing: Mapping[int, str]

    @property
    def is_replica(self) -> bool:
        """Whether it follows another node."""
        return "slave" in self.flags


@dataclass(frozen=True)
class View:
    """What one inventory node says: its ``cluster_state``, how many keys it holds, its link, and whom it knows.

    ``link`` is a replica's ``master_link_status``, else empty. ``lines`` is by id, without unfinished handshakes.
    """

    state: str
    keys: int
    link: str
    own: Line
    lines: Mapping[str, Line]


@dataclass(frozen=True)
class Move:
    """Slots that go from one primary to another."""

    source: str
    target: str
    slots: Sequence[int]


@dataclass(frozen=True)
class Layout:
    """Who has which slots and who follows whom, by name; nodes that the inventory does not have are ``ip:port``."""

    slots: Mapping[str, frozenset[int]]
    follows: Mapping[str, str]
    apart: frozenset[str] = frozenset()

    def text(self, names: Iterable[str]) -> str:
        """A line for each of these nodes, and for each other node that has slots."""
        lines = []
        for name in dict.fromkeys([*names, *sorted(self.slots)]):
            if name in self.follows:
                says = f"follows {self.follows[name]}"
            elif self.slots.get(name):
                says = f"slots {ranges(self.slots[name])}"
            else:
                says = "in no cluster" if name in self.apart else "no slots"
            lines.append(f"{name}: {says}\n")
        return "".join(lines)


@dataclass
class Plan:
    """The steps, in the order in which they are taken; all empty where nothing has to be done.

    ``epochs`` to set; slots that nobody has and who ``takes`` them; ``forgets``, ids and labels; ``hub``, whom the
    nodes in ``joins`` have to meet; ``closes``, open slots that lead nowhere; ``resumes``, moves that were begun;
    ``follows``, replicas and their primaries; ``moves``, new ones. ``undecided`` where a node that is not in the
    inventory may be about to fail or to recover.
    """

    before: Layout
    after: Layout
    hub: str
    epochs: dict[str, int] = field(default_factory=dict)
    takes: dict[str, list[int]] = field(default_factory=dict)
    forgets: dict[str, str] = field(default_factory=dict)
    joins: list[str] = field(default_factory=list)
    closes: list[tuple[str, int]] = field(default_factory=list)
    resumes: list[Move] = field(default_factory=list)
    follows: dict[str, str] = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    undecided: bool = False

    @property
    def actions(self) -> list[str]:
        """A sentence for each step."""
        return [
            *(f"{name} takes slots {ranges(slots)}" for name, slots in self.takes.items()),
            *(f"forgot {label}" for label in self.forgets.values()),
            *(f"{name} joins" for name in self.joins),
            *(f"slot {slot} is closed on {name}" for name, slot in self.closes),
            *(_sentence(move, "open slot") for move in self.resumes),
            *(f"{name} follows {primary}" for name, primary in self.follows.items()),
            *(_sentence(move, "slot") for move in self.moves),
        ]


def _sentence(move: Move, what: str) -> str:
    number = len(move.slots)
    moved = f"1 {what} moves" if number == 1 else f"{number} {what}s move"
    return f"{moved} from {move.source} to {move.target}"


def parse_nodes(text: str) -> list[Line]:
    """The lines of an answer to CLUSTER NODES. Raises PlanError for a line that is none."""
    return [_parse_line(line) for line in text.splitlines() if line]


def _parse_line(text: str) -> Line:
    try:
        name, place, flags, follows, _, _, epoch, _, *slots = text.split()
        # ip:port@bus, then from Redis 7 on a host name and more.
        ip, _, ports = place.split(",")[0].rpartition(":")
        port, _, bus = ports.partition("@")
        opened = [re.fullmatch(r"\[(\d+)-([<>])-(\w+)\]", slot) for slot in slots]
        return Line(
            id=name,
            ip=ip,
            port=int(port),
            bus=int(bus),
            flags=frozenset(flags.split(",")),
            follows="" if follows == "-" else follows,
            epoch=int(epoch),
            slots=tuple(slot for slot in slots if not slot.startswith("[")),
            migrating={int(slot[1]): slot[3] for slot in opened if slot and slot[2] == ">"},
            importing={int(slot[1]): slot[3] for slot in opened if slot and slot[2] == "<"},
        )
    except ValueError:
        raise PlanError(f"this is no line of CLUSTER NODES: {text!r}") from None


def expand(slots: Iterable[str]) -> list[int]:
    """The numbers in ranges such as ``0-5460`` and ``7``."""
    numbers: list[int] = []
    for part in slots:
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def ranges(slots: Iterable[int]) -> str:
    """Slot numbers for people: ``0-5460, 7000``."""
    found: list[list[int]] = []
    for slot in sorted(slots):
        if found and slot == found[-1][1] + 1:
            found[-1][1] = slot
        else:
            found.append([slot, slot])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def listed(items: Sequence[str]) -> str:
    """The first of these sentences, and how many more there are: each node can say something of each other."""
    more = [f"and {len(items) - 10} more"] if len(items) > 10 else []
    return "; ".join([*items[:10], *more])


# Who is to be what


def place(
    nodes: Sequence[Node], replicas: int, primaries: Collection[str], follows: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Primaries in inventory order, and whom each other node follows; always the same for the same input.

    ``primaries`` stay what they are, and so do the replicas in ``follows``, but for those of a node that becomes no
    primary. One of ``1 + replicas`` nodes is a primary, on as many machines as possible; the others follow the
    primaries with the fewest replicas that are on other machines.

    Raises PlanError where a node would have to follow a primary on its own machine.
    """
    names = [node.name for node in nodes]
    chosen = set(_choose_primaries(nodes, replicas, primaries, follows))
    kept = {name: primary for name, primary in follows.items() if primary in chosen or primary not in names}
    seats = _Seats({node.name: node.machine for node in nodes}, [name for name in names if name in chosen], kept)
    waiting = [name for name in names if name not in chosen and name not in kept]
    # Nobody gets a second replica while another could get a first one.
    for most in range(1, len(nodes)):
        waiting = [name for name in waiting if not seats.seat(name, most, set())]
    if waiting:
        machine = next(node.machine for node in nodes if node.name == waiting[0])
        raise PlanError(
            f"{waiting[0]} can follow no primary, since each of them is on its own machine, {machine}, and both would "
            f"be lost together. Put nodes on another machine."
        )
    return seats.primaries, seats.follows


def _choose_primaries(
    nodes: Sequence[Node], replicas: int, primaries: Collection[str], follows: Mapping[str, str]
) -> list[str]:
    chosen = [node for node in nodes if node.name in primaries]
    wanted = len(nodes) // (1 + replicas)
    others = len(nodes) - wanted
    on_machine = Counter(node.machine for node in nodes)
    # A replica never stops being one.
    free = [node for node in nodes if node.name not in primaries and node.name not in follows]
    while free and len(chosen) < wanted:
        used = Counter(node.machine for node in chosen)

        def rank(node: Node, used: Counter[str] = used) -> tuple[bool, bool, int]:
            # With one more primary there, do the machine's replicas and those that its primaries need, none of which
            # can be the other, exceed the replicas that there are? Where this never happens, all find their place.
            crowd = on_machine[node.machine] + (replicas - 1) * (used[node.machine] + 1)
            return node.name not in follows.values(), crowd > others, used[node.machine]

        chosen.append(min(free, key=rank))
        free.remove(chosen[-1])
    return [node.name for node in chosen]


class _Seats:
    """Finds each replica a primary on another machine, by augmenting paths, so that none is left out needlessly."""

    def __init__(self, machines: Mapping[str, str], primaries: list[str], follows: Mapping[str, str]) -> None:
        self.primaries, self.follows = primaries, dict(follows)
        self._machines, self._fixed = machines, frozenset(follows)

    def seat(self, name: str, most: int, tried: set[str]) -> bool:
        """Have the node follow a primary that has fewer than ``most`` replicas, or one that others can leave."""
        machine = self._machines[name]

        def rank(primary: str) -> tuple[int, int]:
            followers = self._followers(primary)
            return sum(self._machines.get(other) == machine for other in followers), len(followers)

        options = [primary for primary in self.primaries if self._machines[primary] != machine and primary not in tried]
        options.sort(key=rank)
        for primary in options:
            if len(self._followers(primary)) < most:
                self.follows[name] = primary
                return True
        for primary in options:
            tried.add(primary)
            for other in self._followers(primary):
                if other not in self._fixed and self.seat(other, most, tried):
                    self.follows[name] = primary
                    return True
        return False

    def _followers(self, primary: str) -> list[str]:
        return [name for name, followed in self.follows.items() if followed == primary]


def _place_all(
    nodes: Sequence[Node], replicas: int, primaries: Collection[str], follows: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """As ``place``, for a cluster that is formed: with enough primaries, and with ``replicas`` for each of them."""
    wanted = len(nodes) // (1 + replicas)
    if wanted < LEAST_PRIMARIES:
        raise PlanError(
            f"a cluster needs at least {LEAST_PRIMARIES} primaries, and {len(nodes)} nodes with {replicas} replicas "
            f"for each primary make {wanted}. Use at least {LEAST_PRIMARIES * (1 + replicas)} nodes, or fewer replicas."
        )
    most = len(nodes) - wanted
    for machine, number in Counter(node.machine for node in nodes).items():
        if replicas and number > most:
            raise PlanError(
                f"a replica must not be on its primary's machine, and {machine} has {number} of the {len(nodes)} "
                f"nodes, where {most} are the most that one machine may have. Put nodes on other machines."
            )
    chosen, followed = place(nodes, replicas, primaries, follows)
    numbers = Counter(followed.values())
    for name in chosen:
        if numbers[name] < replicas:
            raise PlanError(
                f"{name} would have {numbers[name]} replicas of {replicas} on other machines than its own: the "
                f"machines have too different numbers of nodes. Put nodes on other machines."
            )
    return chosen, followed


def share(owned: Mapping[str, Collection[int]], receivers: Sequence[str], primaries: int) -> list[Move]:
    """The moves after which each of ``receivers`` has its share of the slots, taken from those that have the most.

    ``owned`` is who has which slots, ``primaries`` how many will have some. The giver's highest slots are taken.
    """
    left = {name: sorted(slots) for name, slots in owned.items() if name not in receivers}
    moves = []
    for receiver in receivers:
        taken: dict[str, list[int]] = {}
        for _ in range(SLOTS // primaries - len(owned.get(receiver, ()))):
            giver = max(left, key=lambda name: len(left[name]), default=None)
            if giver is None or len(left[giver]) <= SLOTS // primaries:
                break
            taken.setdefault(giver, []).append(left[giver].pop())
        moves += [Move(giver, receiver, sorted(slots)) for giver, slots in taken.items()]
    return moves


# What the servers say


class Survey:
    """Everything that the inventory's nodes say, put together.

    ``owners`` says who has which slots, each inventory node asked about itself alone; ``outside`` is the nodes that
    the inventory does not have, by id, each as everybody sees it; ``members`` are the nodes that know another or have
    slots, ``strangers`` those that do not.
    """

    def __init__(self, nodes: Sequence[Node], views: Mapping[str, View]) -> None:
        self.nodes, self.views = nodes, views
        self.names: dict[str, str] = {}
        for node in nodes:
            other = self.names.setdefault(views[node.name].own.id, node.name)
            if other != node.name:
                raise PlanError(f"{other} and {node.name} are the same server: give each its own address and port.")
        self.outside: dict[str, list[Line]] = {}
        for view in views.values():
            for line in view.lines.values():
                if line.id not in self.names:
                    self.outside.setdefault(line.id, []).append(line)
        self.strangers = [node.name for node in nodes if _is_stranger(views[node.name])]
        self.members = [node.name for node in nodes if node.name not in self.strangers]
        self.owned = {name: frozenset(expand(view.own.slots)) for name, view in views.items() if view.own.slots}
        self.owners: dict[int, str] = {}
        self.contested: dict[int, tuple[str, str]] = {}
        for name, slots in self.owned.items():
            for slot in slots:
                if self.owners.setdefault(slot, name) != name:
                    self.contested[slot] = (self.owners[slot], name)
        self.owned_outside = {
            self.label(name): frozenset(slot for line in lines for slot in expand(line.slots))
            for name, lines in self.outside.items()
            if any(line.slots for line in lines)
        }
        self.missing = sorted(set(range(SLOTS)).difference(self.owners, *self.owned_outside.values()))
        self.follows = {name: self.label(view.own.follows) for name, view in views.items() if view.own.is_replica}
        self.keys = {name: view.keys for name, view in views.items() if view.keys}

    def label(self, node: str) -> str:
        """The name of the node with this id, ``ip:port`` where the inventory does not have it."""
        if node in self.names:
            return self.names[node]
        lines = self.outside.get(node)
        return f"{lines[0].ip}:{lines[0].port}" if lines else node

    def layout(self) -> Layout:
        """Who has which slots and who follows whom, each inventory node asked about itself."""
        return Layout({**self.owned, **self.owned_outside}, self.follows, frozenset(self.strangers))

    def are_apart(self, names: Collection[str]) -> bool:
        """Whether one of these nodes does not know another."""
        ids = {self.views[name].own.id for name in names}
        return any(not ids <= self.views[name].lines.keys() for name in names)

    def faults(self) -> list[str]:
        """Why the cluster of the nodes that are in it is not whole, a sentence each; empty where it is."""
        found = []
        for name in self.members:
            view = self.views[name]
            if view.state != "ok":
                found.append(f"{name} says cluster_state:{view.state}")
            for other in self.members:
                line = view.lines.get(self.views[other].own.id)
                if line is None:
                    found.append(f"{name} does not know {other}")
                elif line.flags & {"fail", "fail?", "noaddr"}:
                    found.append(f"{name} does not reach {other}")
            if view.own.is_replica and view.link != "up":
                found.append(f"the link of {name} to {self.follows[name]} is {view.link or 'down'}")
        if self.missing:
            found.append(f"nobody has slots {ranges(self.missing)}")
        for pair in sorted(set(self.contested.values())):
            both = ranges(slot for slot, names in self.contested.items() if names == pair)
            found.append(f"{pair[0]} and {pair[1]} both say that they have slots {both}")
        said = [(name, self._said(self.views[name])) for name in self.members]
        found += [
            f"{said[0][0]} and {name} disagree about who has which slots or who follows whom"
            for name, says in said[1:]
            if says != said[0][1]
        ]
        return found

    def _said(self, view: View) -> dict[str, tuple[tuple[str, ...], str]]:
        return {
            self.label(line.id): (line.slots, self.label(line.follows) if line.follows else "")
            for line in view.lines.values()
            if line.slots or line.id in self.names
        }

    def picture(self) -> str:
        """Who says what about the slots, for people; nodes that say the same are named together."""
        told: dict[str, list[str]] = {}
        for name in self.members:
            says = [
                f"{label} has {', '.join(slots)}" for label, (slots, _) in self._said(self.views[name]).items() if slots
            ]
            told.setdefault("; ".join(sorted(says)) or "nobody has slots", []).append(name)
        return ". ".join(
            f"{', '.join(names)} {'says' if len(names) == 1 else 'say'}: {says}" for says, names in told.items()
        )


def _is_stranger(view: View) -> bool:
    return not view.own.slots and view.lines.keys() <= {view.own.id}


def unplaced(survey: Survey) -> list[str]:
    """The nodes that neither have slots nor follow another."""
    return [node.name for node in survey.nodes if node.name not in survey.owned and node.name not in survey.follows]


# What has to be done


def make_plan(nodes: Sequence[Node], views: Mapping[str, View], replicas: int) -> Plan:
    """What to do so that all ``nodes`` are one cluster with ``replicas`` for each primary; ``views`` is by name.

    A whole cluster in which every node has its part is left as it is, whoever leads. Raises PlanError where that
    cannot be reached, or not without a loss, and UnsettledError where it may be otherwise a little later.
    """
    survey = Survey(nodes, views)
    apart = survey.are_apart(list(survey.owned))
    forming = bool((survey.missing or apart) and not survey.owned_outside and not survey.contested)
    if forming and survey.keys and not survey.owned:
        raise PlanError(
            f"a cluster is formed of empty servers, and {_holders(survey.keys)}. Run FLUSHALL there if these can go."
        )
    forming = forming and not survey.keys
    faults = [] if forming else survey.faults()
    if faults:
        raise UnsettledError(f"the cluster is not whole: {listed(faults)}. {survey.picture()}.")

    if not forming and not survey.owned:
        raise PlanError(f"{', '.join(survey.members)} is in a cluster none of whose primaries is in the inventory.")

    opened, closes = _open_slots(survey)
    keys = {
        name: survey.keys[name]
        for name in unplaced(survey)
        if name in survey.keys and name not in [move.target for move in opened]
    }
    if keys:
        raise PlanError(f"only an empty server can join, and {_holders(keys)}. Run FLUSHALL there if these can go.")

    primaries = {*survey.owned, *(move.target for move in opened)}
    chosen, follows = (_place_all if forming else place)(nodes, replicas, primaries, survey.follows)
    owned = {name: set(slots) for name, slots in survey.owned.items()}
    takes: dict[str, list[int]] = {}
    for slot in survey.missing if forming else []:
        takes.setdefault(chosen[slot * len(chosen) // SLOTS], []).append(slot)
    for name, slots in takes.items():
        owned.setdefault(name, set()).update(slots)
    for move in opened:
        _carry(owned, move)
    # Who was in the middle of getting slots gets the rest of its share too: a run was interrupted.
    receivers = [name for name in chosen if name not in owned or name in [move.target for move in opened]]
    moves = share(owned, receivers, len(chosen) + len(survey.owned_outside))
    for move in moves:
        _carry(owned, move)

    hub = next((name for name in chosen if name in survey.owned), chosen[0])
    known = views[hub].lines
    before = survey.layout()
    plan = Plan(
        before, Layout({**{name: frozenset(owned[name]) for name in owned}, **survey.owned_outside}, follows), hub
    )
    plan.takes, plan.closes, plan.resumes, plan.moves = takes, closes, opened, moves
    if forming:
        # Where nobody has one yet, so that the primaries need not find out by collisions.
        plan.epochs = {
            node.name: number
            for number, node in enumerate(nodes, 1)
            if views[node.name].own.epoch == 0 and len(views[node.name].lines) == 1
        }
    plan.joins = [
        node.name
        for node in nodes
        if node.name != hub and (views[node.name].own.id not in known or node.name in survey.strangers)
    ]
    plan.follows = {name: primary for name, primary in follows.items() if survey.follows.get(name) != primary}
    for node, lines in survey.outside.items():
        label = survey.label(node)
        flags = [line.flags for line in lines]
        dead = [bool(seen & {"fail", "noaddr"}) for seen in flags]
        if any("fail?" in seen for seen in flags) or any(dead) != all(dead):
            plan.undecided = True
        if all(dead) and label not in survey.owned_outside:
            plan.forgets[node] = label
        else:
            what = "has slots" if label in survey.owned_outside else "is alive"
            plan.warnings.append(
                f"{label} is in the cluster, but not in the inventory; it {what}, so it was left alone."
            )
    return plan


def _holders(keys: Mapping[str, int]) -> str:
    return ", ".join(f"{name} holds {number} keys" for name, number in keys.items())


def _carry(owned: dict[str, set[int]], move: Move) -> None:
    owned[move.source].difference_update(move.slots)
    owned.setdefault(move.target, set()).update(move.slots)


def _open_slots(survey: Survey) -> tuple[list[Move], list[tuple[str, int]]]:
    """The moves that were begun, and the open slots that lead nowhere, as node and slot."""
    going: dict[int, str] = {}
    closes = []
    leading = [name for name in survey.views if name not in survey.follows]
    for name in leading:
        for slot, wanted in survey.views[name].own.migrating.items():
            # A replica that took over has the keys that were already there.
            target = survey.label(wanted)
            target = survey.follows.get(target, target)
            if survey.owners.get(slot) == name and target in leading and target != name:
                going[slot] = target
            else:
                closes.append((name, slot))
    for name in leading:
        for slot in survey.views[name].own.importing:
            # The owner may have lost its half in a failover.
            if survey.owners.get(slot, name) == name or going.setdefault(slot, name) != name:
                closes.append((name, slot))
    moves: dict[tuple[str, str], list[int]] = {}
    for slot in sorted(going):
        moves.setdefault((survey.owners[slot], going[slot]), []).append(slot)
    return [Move(source, target, slots) for (source, target), slots in moves.items()], closes
