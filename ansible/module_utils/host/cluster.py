"""The part ``cluster``: form a Redis Cluster, let new nodes in, and forget dead ones."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked
from ansible.module_utils.redis_client import LOOPBACK, RedisClient, RedisError, credentials, login
from ansible.module_utils.redis_cluster_plan import (
    Line,
    Move,
    Node,
    Plan,
    PlanError,
    Survey,
    UnsettledError,
    View,
    expand,
    listed,
    make_plan,
    parse_nodes,
    unplaced,
)

# Seconds between two looks.
PAUSE = 0.1
# Slots that are open at the same time, and the keys in them. Many are quick, and while they are open, clients have to
# ask twice for what has moved or was never there.
BATCH, BATCH_KEYS = 256, 200
# Connections to a node for these.
LANES = 16
# Seconds. Both servers serve nobody while keys move, so more keys move at once only while that is short.
SHORT, LONG = 0.01, 0.05
# Seconds that one step of moving keys may take, since one key can be large.
PATIENCE = 60.0


class NodeClient(RedisClient):
    """A connection with what a move of slots needs beside single commands: many at once, and keys that are no text."""

    def __enter__(self) -> NodeClient:
        return self

    def send(self, *requests: Sequence[str | int | bytes]) -> None:
        """Send these commands, and leave their replies to `receive`."""
        self._socket.sendall(b"".join(map(_pack, requests)))

    def receive(self) -> Any:
        """The reply to the oldest command that has none yet. Raises OSError or RedisError."""
        return self._reply()

    def keys_in_slot(self, slot: int, most: int) -> list[bytes]:
        """Some of the slot's keys, as the bytes that they are."""
        self.send(("CLUSTER", "GETKEYSINSLOT", slot, most))
        return [self._replies.read(self._number() + 2)[:-2] for _ in range(self._number())]

    def migrate(self, target: tuple[str, int], database: int, own: tuple[str, str], keys: Sequence[bytes]) -> None:
        """Move these keys to another server, over what an interrupted move may have left there.

        ``own`` is the user and the password with which to log in there.
        Raises RedisError, never with the password in it.
        """
        words: list[str | int | bytes] = ["MIGRATE", *target, "", database, int(PATIENCE * 1000) // 2, "REPLACE"]
        user, password = own
        if password:
            words += ["AUTH2", user, password] if user else ["AUTH", password]
        self.send([*words, "KEYS", *keys])
        try:
            self.receive()
        except RedisError as error:
            # A server that does not know a command repeats its arguments.
            text = str(error).partition(", with args")[0]
            raise RedisError(f"keys do not move to {target[0]}:{target[1]}: {text}") from None

    def _number(self) -> int:
        line = self._replies.readline()
        if line.startswith(b"-"):
            raise RedisError(line[1:-2].decode("utf-8", "replace"))
        if not re.fullmatch(rb"[*$]\d+\r\n", line):
            raise ConnectionError("the server closed the connection")
        return int(line[1:])


def _pack(words: Sequence[str | int | bytes]) -> bytes:
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


class Lanes:
    """Several connections to one node, over which many commands are sent before the first reply is read.

    Each round of a server's work ends with its cluster state on disk, so many commands a round are quicker. Valkey
    does one a round and connection: it answers SETSLOT when its replicas have it too.
    """

    def __init__(self, clients: Sequence[NodeClient]) -> None:
        self.clients = clients
        self._sent: list[int] = []

    def send(self, slots: Sequence[int], *words: str | int) -> None:
        """Say CLUSTER with the first word, the slot and the other words for each of these slots."""
        shares = [slots[lane :: len(self.clients)] for lane in range(len(self.clients))]
        for client, part in zip(self.clients, shares):
            client.send(*(("CLUSTER", words[0], slot, *words[1:]) for slot in part))
        self._sent = [len(part) for part in shares]

    def receive(self) -> None:
        """Read every reply, and then raise the first RedisError that was one."""
        errors: list[RedisError] = []
        for client, number in zip(self.clients, self._sent):
            for _ in range(number):
                try:
                    client.receive()
                except RedisError as error:
                    errors.append(error)
        if errors:
            raise errors[0]

    def do(self, slots: Sequence[int], *words: str | int) -> None:
        """Send and receive."""
        self.send(slots, *words)
        self.receive()


class Servers:
    """The inventory's nodes, reached from here; a context manager that ends its connections.

    Raises PlanError where an address has no meaning for the other nodes, RedisError where there is no password file.
    """

    def __init__(self, nodes: Sequence[Node], connection: Mapping[str, Any], absent: Collection[str] = ()) -> None:
        self.nodes = nodes
        self.own = ("", "")
        self._absent = frozenset(absent)
        if connection.get("login"):
            self.own = connection["login"]
        elif connection["auth_file"] and any(node.name not in self._absent for node in nodes):
            try:
                self.own = credentials(connection["auth_file"])
            except FileNotFoundError:
                raise PlanError(
                    f"{connection['auth_file']} does not exist, so these servers were never deployed."
                ) from None
        self._connection = connection
        self._addresses = {node.name: resolve(node) for node in nodes}
        inside = [name for name, found in self._addresses.items() if ipaddress.ip_address(found[0]).is_loopback]
        if inside and len(inside) < len(nodes):
            raise PlanError(
                f"the address of {', '.join(inside)} means this very host, so no other node would find it. Use an "
                f"address that means the same everywhere."
            )
        self._clients: dict[str, NodeClient] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()

    def client(self, name: str) -> NodeClient:
        """The connection to this node, which is kept. Raises OSError or RedisError."""
        if name not in self._clients:
            self._clients[name] = self.connect(name, self._connection["timeout"])
        return self._clients[name]

    def connect(self, name: str, timeout: float) -> NodeClient:
        """A new connection to this node; ``timeout`` in seconds. Raises OSError or RedisError."""
        node = next(node for node in self.nodes if node.name == name)
        *others, last = self._addresses[name]
        for address in others:
            try:
                return self._open(node, address, timeout)
            except OSError:
                continue
        return self._open(node, last, timeout)

    def _open(self, node: Node, address: str, timeout: float) -> NodeClient:
        tls_name = node.address if node.tls else None
        client = NodeClient(address, node.port, self._connection["tls_ca_file"], tls_name, timeout)
        try:
            login(client, *self.own)
        except (OSError, RedisError):
            client.close()
            raise
        # The one that works is the one that others are told.
        self._addresses[node.name] = [address]
        return client

    def address(self, name: str) -> str:
        """The IP address of a node that has been asked."""
        return self._addresses[name][0]

    def patience(self) -> float:
        """Seconds until a failover is over, or never will be: about two node timeouts, and some for all to hear."""
        there = [node.name for node in self.nodes if node.name not in self._absent]
        if not there:
            return 0.0
        milliseconds = self.client(there[0]).command("CONFIG", "GET", "cluster-node-timeout")[1]
        return 3 * int(milliseconds) / 1000 + 3

    def look(self) -> dict[str, View]:
        """What every node says, by name. Raises PlanError where one does not, UnsettledError where it will."""
        return {node.name: empty(node) if node.name in self._absent else self._view(node) for node in self.nodes}

    def _view(self, node: Node) -> View:
        where = f"{node.name} at {node.address}:{node.port}"
        try:
            client = self.client(node.name)
            lines = parse_nodes(client.command("CLUSTER", "NODES"))
            about = client.command("CLUSTER", "INFO")
            link = client.info("replication").get("master_link_status", "")
            keyspace = client.info("keyspace")
        except RedisError as error:
            if str(error).startswith("LOADING"):
                raise UnsettledError(f"{where} is still loading its data") from None
            fix = ". Set cluster-enabled to yes, and restart it." if "cluster support disabled" in str(error) else ""
            raise PlanError(f"{where} says: {error}{fix}") from None
        except OSError as error:
            lost = self._clients.pop(node.name, None)
            if lost:
                lost.close()
            raise PlanError(f"{where} does not answer: {error}") from None
        state = re.search(r"^cluster_state:(\w+)", about, re.MULTILINE)
        keys = [re.match(r"keys=(\d+)", value) for name, value in keyspace.items() if name.startswith("db")]
        return View(
            state=state[1] if state else "unknown",
            keys=sum(int(number[1]) for number in keys if number),
            link=link,
            own=next(line for line in lines if "myself" in line.flags),
            lines={line.id: line for line in lines if "handshake" not in line.flags},
        )


def empty(node: Node) -> View:
    """What a new server says that is in no cluster."""
    own = Line(node.name, "", node.port, 0, frozenset({"myself", "master"}), "", 0, (), {}, {})
    return View(state="fail", keys=0, link="", own=own, lines={own.id: own})


def resolve(node: Node) -> list[str]:
    """The IP addresses of a node, as CLUSTER MEET takes them; those of this host alone only where there is no other.

    Raises PlanError where there is none.
    """
    try:
        answers = socket.getaddrinfo(LOOPBACK.get(node.address, node.address), node.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise PlanError(f"the address of {node.name}, {node.address}, is not found: {error}") from None
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    return [address for address in found if not ipaddress.ip_address(address).is_loopback] or found


class Work:
    """Carries a plan out. Its waits end after ``wait`` seconds in all with a PlanError that says what is missing."""

    def __init__(self, servers: Servers, plan: Plan, views: dict[str, View], wait: float) -> None:
        self._servers, self._plan, self._views = servers, plan, views
        self._wait, self._deadline = wait, time.monotonic() + wait

    def run(self) -> dict[str, View]:
        """Do it all, and return what every node says in the end. Raises OSError, RedisError or PlanError."""
        plan, ask = self._plan, self._ask
        for name, epoch in plan.epochs.items():
            ask(name, "SET-CONFIG-EPOCH", epoch)
        for name, slots in plan.takes.items():
            for start in range(0, len(slots), 1000):
                ask(name, "ADDSLOTS", *slots[start : start + 1000])
        # At once on all, before any of them tells another about it again; each ignores that for a minute.
        for node in plan.forgets:
            for name, view in self._views.items():
                if node in view.lines:
                    # An answer that it is unknown is as good.
                    with contextlib.suppress(RedisError):
                        ask(name, "FORGET", node)
        if plan.joins:
            self._until(self._unmet)
        for name, slot in plan.closes:
            self._close(name, slot)
        self._move(plan.resumes)
        for name, primary in plan.follows.items():
            ask(name, "REPLICATE", self._views[primary].own.id)
        if plan.moves:
            self._until(lambda survey: survey.faults())
            self._move(plan.moves)
        if plan.actions:
            self._until(self._unfinished)
        return self._views

    def _unfinished(self, survey: Survey) -> list[str]:
        return [
            *survey.faults(),
            *(f"{name} has neither slots nor a primary" for name in unplaced(survey)),
            *(
                f"the cluster still knows {label}"
                for node, label in self._plan.forgets.items()
                if node in survey.outside
            ),
        ]

    def _ask(self, name: str, *words: str | int) -> Any:
        return self._servers.client(name).command("CLUSTER", *words)

    def _until(self, missing: Callable[[Survey], list[str]]) -> None:
        while True:
            try:
                self._views = self._servers.look()
                lacks = missing(Survey(self._servers.nodes, self._views))
            except PlanError as error:
                lacks = [str(error)]
            if not lacks:
                return
            if time.monotonic() >= self._deadline:
                raise PlanError(f"the cluster is not whole after {self._wait:g} s: {listed(lacks)}.")
            time.sleep(PAUSE)

    def _unmet(self, survey: Survey) -> list[str]:
        """Who does not know whom; the hub meets whom it does not know, again and again, which does no harm."""
        views = survey.views
        for name in self._plan.joins:
            own = views[name].own
            if own.id not in views[self._plan.hub].lines or len(views[name].lines) == 1:
                self._ask(self._plan.hub, "MEET", self._servers.address(name), own.port, own.bus)
        return [
            f"{name} does not know {other} (are ports {views[name].own.bus} and {views[other].own.bus} open?)"
            for name in views
            for other in views
            if views[other].own.id not in views[name].lines
        ]

    def _close(self, name: str, slot: int) -> None:
        keys = self._ask(name, "COUNTKEYSINSLOT", slot)
        if keys and slot not in expand(self._views[name].own.slots):
            raise PlanError(f"{name} holds {keys} keys of slot {slot}, which is open there and belongs to another.")
        self._ask(name, "SETSLOT", slot, "STABLE")

    def _move(self, moves: Sequence[Move]) -> None:
        if not moves:
            return
        with contextlib.ExitStack() as stack:
            lanes = {
                name: Lanes([stack.enter_context(self._servers.connect(name, PATIENCE)) for _ in range(LANES)])
                for name, view in self._views.items()
                if not view.own.is_replica
            }
            # One slot of each move is open until its end, so that a run that is interrupted between two batches, or
            # between two moves, leaves a trace, and the next one goes on.
            for move in moves:
                self._open(lanes, move, move.slots[-1:])
            for move in moves:
                for slots in batches(move.slots, counted(lanes[move.source].clients[0], move.slots).values()):
                    self._move_batch(lanes, move, slots)

    def _open(self, lanes: Mapping[str, Lanes], move: Move, slots: Sequence[int]) -> None:
        lanes[move.target].do(slots, "SETSLOT", "IMPORTING", self._views[move.source].own.id)
        lanes[move.source].do(slots, "SETSLOT", "MIGRATING", self._views[move.target].own.id)

    def _move_batch(self, lanes: Mapping[str, Lanes], move: Move, slots: Sequence[int]) -> None:
        self._open(lanes, move, slots)
        target = self._views[move.source].lines[self._views[move.target].own.id]
        # From here on the source makes no new keys in these slots.
        source = lanes[move.source].clients[0]
        for database, counts in counted(source, slots).items():
            source.command("SELECT", database)
            for slot, count in zip(slots, counts):
                if count:
                    drain(source, slot, (target.ip, target.port), database, self._servers.own)
        # The target first: between the two nobody would have the slot.
        lanes[move.target].do(slots, "SETSLOT", "NODE", target.id)
        others = [lanes[name] for name in lanes if name != move.target]
        for lane in others:
            lane.send(slots, "SETSLOT", "NODE", target.id)
        lanes[move.source].receive()
        for lane in others:
            # They hear of it anyway, this is sooner; one may have become a replica meanwhile.
            if lane is not lanes[move.source]:
                with contextlib.suppress(RedisError):
                    lane.receive()


def counted(client: NodeClient, slots: Sequence[int]) -> dict[int, list[int]]:
    """How many keys each of these slots has, by database: in a cluster only Valkey 9 has others than 0."""
    counts = {}
    for database in [int(name[2:]) for name in client.info("keyspace") if name.startswith("db")]:
        client.command("SELECT", database)
        found: list[int] = []
        for start in range(0, len(slots), BATCH):
            part = slots[start : start + BATCH]
            client.send(*(("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in part))
            found += [client.receive() for _ in part]
        counts[database] = found
    return counts


def batches(slots: Sequence[int], counts: Iterable[Sequence[int]]) -> Iterator[list[int]]:
    """The slots in parts that are open together; ``counts`` are those of ``counted``, which tell how long that is."""
    keys = [sum(numbers) for numbers in zip(*counts)] or [0] * len(slots)
    part: list[int] = []
    held = 0
    for slot, number in zip(slots, keys):
        if part and (len(part) == BATCH or held + number > BATCH_KEYS):
            yield part
            part, held = [], 0
        part.append(slot)
        held += number
    yield part


def drain(source: NodeClient, slot: int, target: tuple[str, int], database: int, own: tuple[str, str]) -> None:
    """Move all keys of an open slot. Raises OSError or RedisError."""
    most, seen = 10, [b""]
    while True:
        keys = source.keys_in_slot(slot, most)
        if not keys:
            return
        if keys == seen:
            raise RedisError(f"keys of slot {slot} do not move to {target[0]}:{target[1]}")
        begun = time.monotonic()
        source.migrate(target, database, own, keys)
        took, seen = time.monotonic() - begun, keys
        if took < SHORT:
            most = min(most * 2, 500)
        elif took > LONG:
            most = max(most // 2, 1)


def settle(servers: Servers, replicas: int, wait: float) -> tuple[Plan, dict[str, View]]:
    """The plan, and what it was made of, as soon as the nodes agree.

    A restart or a failover takes a while to be known to all: that long, at most ``wait`` seconds, a cluster that is
    not whole is looked at again. Raises PlanError, with nothing changed.
    """
    begun, patience = time.monotonic(), wait
    while True:
        over = time.monotonic() >= begun + patience
        try:
            views = servers.look()
            patience = min(wait, servers.patience())
            plan = make_plan(servers.nodes, views, replicas)
            if over or not plan.undecided:
                return plan, views
        except UnsettledError:
            if over:
                raise
        time.sleep(PAUSE)


def read_nodes(params: Mapping[str, Any], connection: Mapping[str, Any]) -> list[Node]:
    """The nodes that the parameters name. Raises PlanError where something is missing or named twice."""
    nodes = []
    for entry in params["nodes"]:
        try:
            name, address, port = str(entry["name"]), str(entry["address"]), int(entry["port"])
        except (KeyError, ValueError, TypeError):
            raise PlanError(f"each node needs a name, an address and a port, and one is {entry!r}.") from None
        tls = entry.get("tls", bool(connection["tls_name"] or connection["tls_ca_file"]))
        nodes.append(Node(name, address, port, str(entry.get("machine") or address), bool(tls)))
    if not nodes or len({node.name for node in nodes}) < len(nodes):
        raise PlanError("nodes is empty, or has a name twice.")
    if params["replicas"] < 0:
        raise PlanError("replicas is negative.")
    return nodes


def cluster(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Make the nodes one cluster, with ``replicas`` for each primary; on one host that reaches every node.

    Each of ``nodes`` has a ``name``, an ``address`` and a ``port``; those with the same ``machine`` (by default the
    address) are lost together; ``tls`` says whether it has TLS, with a certificate for the address. Names in ``absent``
    are nodes that check mode takes for new, empty servers. Of ``connection`` all but the place is used.
    Returns ``changed``, ``actions`` (what was done, or would be, a sentence each), ``primaries`` (the names of those
    that have slots) and ``warnings``; check mode only ``changed`` and ``error`` where nodes have different passwords,
    as while these are changed. Raises PartError where a cluster must not be touched, and with ``verify`` where anything
    would have to be done.
    """
    params = checked(params, connection={}, nodes=REQUIRED, replicas=1, absent=[], wait=300, verify=False)
    connection = run.connection(params["connection"])
    only_looks = run.check_mode or params["verify"]
    begun = False
    try:
        nodes = read_nodes(params, connection)
        if params["absent"] and not only_looks:
            raise PlanError("only check mode can do with nodes that are absent.")
        with Servers(nodes, connection, params["absent"]) as servers:
            plan, views = settle(servers, params["replicas"], params["wait"])
            after = plan.after
            if params["verify"] and plan.actions and not run.check_mode:
                raise PlanError(f"the cluster is not as it should be: {listed(plan.actions)}.")
            if not only_looks:
                begun = bool(plan.actions)
                after = Survey(nodes, Work(servers, plan, views, params["wait"]).run()).layout()
    except (OSError, RedisError, PlanError) as error:
        if run.check_mode and "WRONGPASS" in str(error):
            # An earlier part of the run gives all of them the same one.
            return {"changed": False, "error": str(error)}
        end = "The next run goes on from here." if begun else "Nothing was changed."
        raise PartError(f"{str(error).rstrip('.')}. {end}") from error
    for warning in plan.warnings:
        run.warn(warning)
    names = [node.name for node in nodes]
    run.add_diff(plan.before.text(names), after.text(names), "cluster")
    return {
        "changed": bool(plan.actions),
        "actions": plan.actions,
        "primaries": [name for name in names if after.slots.get(name)],
        "warnings": plan.warnings,
    }
