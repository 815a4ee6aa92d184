"""From measurements to verdicts: pure functions. Times are time.time() in seconds."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from drill.faults import Fault, Limits, Promise

# Seconds: what an answer may take; how young a write is that an asynchronous replica need not have.
SLOW, YOUNG = 1.0, 0.1
# Seconds without an acknowledged write at the end of the load after which it counts as never resumed.
NEVER = 1.0
# Seconds between two starts that were not one after the other.
TOGETHER = 2
SLOTS = "16384"


@dataclass(frozen=True)
class Seen:
    """What one server, or the app, said of itself; `info` is empty where it did not answer.

    Of a Redis server INFO and CLUSTER INFO; of a Sentinel INFO and SENTINEL MASTER, with `quorum`: it could order a
    failover; of the app the status of each path. `started`: when the process did, in whole seconds.
    """

    name: str
    kind: str
    info: Mapping[str, str] = field(default_factory=dict)
    started: int = 0
    quorum: bool = False

    @property
    def leads(self) -> bool:
        """Tell whether it is a leader, or a primary of a cluster."""
        return self.info.get("role") == "master"

    @property
    def replicas(self) -> list[dict[str, str]]:
        """What it knows of its replicas: state and offset of each."""
        lines = [value for name, value in self.info.items() if re.fullmatch(r"slave\d+", name)]
        return [dict(item.split("=", 1) for item in line.split(",")) for line in lines]


@dataclass(frozen=True)
class Operation:
    """A call of the cache; the outcome is empty, 'miss', or the class of the error."""

    thread: int
    start: float
    end: float
    outcome: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer of the app, or none: then the status is 0."""

    path: str
    start: float
    status: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """What came of one fault.

    The fault was on its way at `begun`, complete at `injected`, undone from `undoing` to `healed`, and everything
    as it should be at `settled`; a replica was brought back from `bringing` on and was there at `returned`.
    `ended`: the load was told to end. `offsets`: seconds until replicas had it all. `lost`: when each lost key was
    acknowledged. `changed`: how many tasks of site.yml changed something. `before` and `during` were seen before
    the fault, and before it was healed, until when each server had the run ids in `runs`. `wrong`: what was not as
    it should be at the end.
    """

    limits: Limits
    begun: float = 0.0
    injected: float = 0.0
    undoing: float = 0.0
    healed: float = 0.0
    ended: float = 0.0
    settled: float = math.inf
    demoted: float = math.inf
    bringing: float = math.inf
    returned: float = math.inf
    offsets: float = math.inf
    changed: float = 0
    writes: Sequence[Operation] = ()
    reads: Sequence[Operation] = ()
    answers: Sequence[Answer] = ()
    lost: Sequence[float] = ()
    before: Sequence[Seen] = ()
    during: Sequence[Seen] = ()
    runs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wrong: Sequence[str] = ()


@dataclass(frozen=True)
class Verdict:
    """A promise and what was measured, both as text."""

    fault: str
    title: str
    promise: str
    measured: str
    ok: bool


@dataclass(frozen=True)
class Measure:
    """A figure that must not be above its bound: what people read, its unit, and how it is found."""

    label: str
    unit: str
    find: Callable[[Measured], float]


def verdicts(fault: Fault, measured: Measured) -> list[Verdict]:
    """Compare each promise of the fault with what was measured."""
    found = []
    for promise in fault.promises:
        measure = MEASURES[promise.measure]
        value = measure.find(measured)
        kept = value <= promise.bound(measured.limits)
        said = promised(promise, measured.limits)
        found.append(Verdict(fault.id, fault.title, said, show(value, measure.unit), kept))
    return found


def promised(promise: Promise, limits: Limits) -> str:
    """A promise for people, in a deployment with these limits."""
    measure = MEASURES[promise.measure]
    return f"{measure.label} <= {show(promise.bound(limits), measure.unit)}"


def show(value: float, unit: str) -> str:
    """Return a figure with its unit."""
    if value == math.inf:
        return "never"
    text = f"{value:.0f}" if unit == "" else f"{value:.1f} {unit}"
    # One lost key of many must not read as none.
    return f"{value:.2g} {unit}" if unit == "%" and 0 < value < 0.05 else text


# The deployment.


def problems(seen: Sequence[Seen], mode: str) -> list[str]:
    """Return what is not as it should be, nothing if all is well; offsets apart."""
    found = [f"{one.name} does not answer" for one in seen if not one.info]
    servers = [one for one in seen if one.kind == "redis" and one.info]
    leaders = [one for one in servers if one.leads]
    if mode == "cluster":
        for one in servers:
            state = one.info.get("cluster_state"), one.info.get("cluster_slots_ok")
            if state != ("ok", SLOTS):
                found.append(f"{one.name}: cluster_state {state[0]}, {state[1]} slots")
    elif len(leaders) != 1:
        found.append(f"{len(leaders)} leaders")
    online = sum(replica["state"] == "online" for leader in leaders for replica in leader.replicas)
    if online != len(servers) - len(leaders):
        found.append(f"{online} of {len(servers) - len(leaders)} replicas online")
    found += [f"{one.name} has no link" for one in servers if one.info.get("master_link_status", "up") != "up"]
    found += _problems_of_sentinels([one for one in seen if one.kind == "sentinel" and one.info], leaders)
    for one in seen:
        if one.kind == "app":
            found += [f"{one.name}: {path} answers {status}" for path, status in one.info.items() if status != "200"]
    return found


def _problems_of_sentinels(sentinels: Sequence[Seen], leaders: Sequence[Seen]) -> list[str]:
    run_ids = [leader.info["run_id"] for leader in leaders]
    found = [f"{one.name} sees no quorum" for one in sentinels if not one.quorum]
    found += [f"{one.name} names another leader" for one in sentinels if [one.info.get("runid")] != run_ids]
    found += [
        f"{one.name}: leader is {one.info.get('flags')}" for one in sentinels if one.info.get("flags") != "master"
    ]
    return found


def caught_up(earlier: Sequence[Seen], seen: Sequence[Seen]) -> bool:
    """Tell whether each leader's replicas have all that it had earlier.

    Offsets are hardly ever equal at one moment, even without load: Sentinels publish something all the time.
    """
    had = {one.name: int(one.info["master_repl_offset"]) for one in earlier if one.leads}
    return all(
        int(replica["offset"]) >= had.get(one.name, math.inf) for one in seen if one.leads for replica in one.replicas
    )


def leaders_of(seen: Sequence[Seen]) -> set[str]:
    """Return the names of the servers that lead."""
    return {one.name for one in seen if one.leads}


# The load.


def longest_gap(times: Iterable[float], since: float, until: float) -> tuple[float, float]:
    """Return the start and the end of the longest time without one of the times, the first of which is before `since`.

    The end is infinite where there was none for long before `until`.
    """
    ordered = sorted(times)
    before = max((one for one in ordered if one <= since), default=since)
    marks = [before, *(one for one in ordered if one > since)]
    if until - marks[-1] >= NEVER:
        return marks[-1], math.inf
    return max(zip(marks, marks[1:]), key=lambda pair: pair[1] - pair[0], default=(before, until))


def _acknowledged(measured: Measured) -> list[Operation]:
    return [one for one in measured.writes if not one.outcome]


def _gap(measured: Measured, operations: Sequence[Operation]) -> tuple[float, float]:
    return longest_gap([one.end for one in operations if not one.outcome], measured.begun, measured.ended)


def _writable(measured: Measured) -> float:
    return _gap(measured, measured.writes)[1] - measured.begun


def _served(measured: Measured) -> float:
    """Every writer again: in a cluster others go on, until they come to a key of the primary that is away."""
    threads = {one.thread for one in measured.writes}
    gaps = [_gap(measured, [one for one in measured.writes if one.thread == thread]) for thread in threads]
    return max((end for _, end in gaps), default=math.inf) - measured.begun


def _seconds(gap: tuple[float, float]) -> float:
    return gap[1] - gap[0]


def _stopped(measured: Measured) -> float:
    """Until replicas come back, or the fault is undone, no write is taken after this."""
    until = min(measured.bringing, measured.undoing)
    # With none at all, nothing has stopped.
    last = max([one.end for one in _acknowledged(measured) if one.end < until], default=math.inf)
    return max(0.0, last - measured.injected)


def _resumed(measured: Measured) -> float:
    if measured.returned == math.inf:
        return math.inf
    return min([one.end for one in _acknowledged(measured) if one.end >= measured.returned], default=math.inf) - (
        measured.returned
    )


def _errors(operations: Iterable[Operation]) -> int:
    return sum(one.outcome not in ("", "miss") for one in operations)


def _lost_outside(measured: Measured) -> int:
    """Count those that were not acknowledged just before the writes broke off."""
    start, end = _gap(measured, measured.writes)
    return sum(not start - YOUNG <= one < end for one in measured.lost)


def _lost_outside_window(measured: Measured) -> int:
    end = measured.injected + measured.limits.max_lag + 1
    return sum(not measured.begun - YOUNG <= one <= end for one in measured.lost)


def _lost_share(measured: Measured) -> float:
    return 100 * len(measured.lost) / max(1, len(_acknowledged(measured)))


# The servers.


def _other_leaders(measured: Measured) -> int:
    return len(leaders_of(measured.during) - leaders_of(measured.before))


def _restarts(measured: Measured) -> int:
    return sum(len(runs) - 1 for runs in measured.runs.values())


def _not_once(measured: Measured) -> int:
    redis = [one.name for one in measured.before if one.kind == "redis"]
    return sum(len(measured.runs.get(name, ())) != 2 for name in redis)


def _together(measured: Measured) -> int:
    starts = sorted(one.started for one in measured.during if one.kind == "redis")
    return sum(later - earlier < TOGETHER for earlier, later in zip(starts, starts[1:]))


MEASURES = {
    "writable": Measure("writable", "s", _writable),
    "served": Measure("every writer served", "s", _served),
    "write_gap": Measure("longest write gap", "s", lambda m: _seconds(_gap(m, m.writes))),
    "read_gap": Measure("longest read gap", "s", lambda m: _seconds(_gap(m, m.reads))),
    "stopped": Measure("writes stop", "s", _stopped),
    "resumed": Measure("writes resume", "s", _resumed),
    "errors": Measure("errors to callers", "", lambda m: _errors([*m.writes, *m.reads])),
    "read_errors": Measure("errors to callers of the deployed alias", "", lambda m: _errors(m.reads)),
    "pages": Measure("answers >= 500, or none", "", lambda m: sum(not 0 < one.status < 500 for one in m.answers)),
    "answers": Measure("answers but 200", "", lambda m: sum(one.status != 200 for one in m.answers)),
    "slow": Measure(f"answers slower than {SLOW:g} s", "", lambda m: sum(one.seconds > SLOW for one in m.answers)),
    "lost": Measure("keys lost", "", lambda m: len(m.lost)),
    "lost_before": Measure("keys lost from before", "", lambda m: sum(one < m.begun - YOUNG for one in m.lost)),
    "lost_outside": Measure("keys lost, but the youngest 100 ms", "", _lost_outside),
    "lost_outside_window": Measure("keys lost outside max-lag + 1 s", "", _lost_outside_window),
    "lost_share": Measure("keys lost", "%", _lost_share),
    "demoted": Measure("old leader demoted after healing", "s", lambda m: m.demoted - m.healed),
    "failovers": Measure("failovers", "", _other_leaders),
    "quorums": Measure(
        "Sentinels that see a quorum", "", lambda m: sum(one.quorum for one in m.during if one.kind == "sentinel")
    ),
    "changed": Measure("tasks changed", "", lambda m: m.changed),
    "flips": Measure("leaders changed", "", lambda m: len(leaders_of(m.during) ^ leaders_of(m.before))),
    "restarts": Measure("restarts", "", _restarts),
    "not_once": Measure("servers not restarted exactly once", "", _not_once),
    "together": Measure("servers restarted together", "", _together),
    "settled": Measure("all as it was after healing", "s", lambda m: m.settled - m.healed),
    "up": Measure("all up again", "s", lambda m: m.settled - m.begun),
    "offsets": Measure("replicas have it all after the load", "s", lambda m: m.offsets),
}
