"""The faults as data: what is done, in which modes, and what is promised. In the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

SENTINEL, CLUSTER, REPLICATION, STANDALONE = "sentinel", "cluster", "replication", "standalone"


@dataclass(frozen=True)
class Limits:
    """What the deployment is set to, in seconds; see `Deployment` in hosts.py."""

    down_after: float
    node_timeout: float
    max_lag: float


Bound = Callable[[Limits], float]


def flat(value: float) -> Bound:
    """The same in every deployment."""
    return lambda _limits: value


AT_ONCE = flat(0)


def down_after(more: float) -> Bound:
    """So many seconds more than Sentinel, or a cluster's node, waits for a server."""
    return lambda limits: limits.down_after + more


def node_timeout(more: float) -> Bound:
    """So many seconds more than a cluster's node waits for another."""
    return lambda limits: limits.node_timeout + more


def max_lag(more: float) -> Bound:
    """So many seconds more than a replica may be silent."""
    return lambda limits: limits.max_lag + more


@dataclass(frozen=True)
class Step:
    """Something that is done (a method of inject.Injector) to something, and how long it may take where it waits."""

    do: str
    targets: tuple[str, ...] = ()
    seconds: Bound = AT_ONCE


@dataclass(frozen=True)
class Promise:
    """A figure (a name in judge.MEASURES) and what it must not be above."""

    measure: str
    bound: Bound


@dataclass(frozen=True)
class Fault:
    """One row.

    It is healed after the last step. `prepare` is done before the load begins; without `load` there is none. `needs` is
    what not every deployment has: 'site' (a command that runs site.yml), 'machines' (one for each host, and root),
    'docker'.
    """

    id: str
    title: str
    modes: tuple[str, ...]
    steps: tuple[Step, ...]
    promises: tuple[Promise, ...]
    prepare: tuple[Step, ...] = ()
    needs: str = ""
    load: bool = True


def none(*measures: str) -> tuple[Promise, ...]:
    """Promise that there is nothing of these."""
    return tuple(Promise(measure, AT_ONCE) for measure in measures)


def settled(within: float = 30) -> tuple[Promise, ...]:
    """Promise what every fault ends with."""
    return (Promise("settled", flat(within)), Promise("offsets", flat(2)))


PAGES = none("pages", "slow")
# Those who call the cache see no error, nor do those who look at pages.
UNSEEN = (*none("errors"), *PAGES)
KEPT = (*none("lost_outside"), Promise("lost_share", flat(1)))
DEMOTED = Promise("demoted", flat(15))
WRITABLE = Promise("writable", down_after(3))
SERVED = Promise("served", node_timeout(3))
# Until another leads, and a moment longer.
FAILOVER, TAKEOVER = Step("wait", seconds=down_after(5)), Step("wait", seconds=node_timeout(5))


def failed_over(wait: Step) -> tuple[Step, ...]:
    """Kill the leader, and let it come back as a replica of another one."""
    return (Step("kill", ("leader",)), wait, Step("heal"), Step("settle"))


SAME = (*none("changed", "flips", "restarts", "errors", "answers", "slow", "lost"), *settled())
ONE_BY_ONE = (*none("not_once", "together", "lost_before", "lost"), *UNSEEN, *settled())
EVERY = (SENTINEL, CLUSTER, REPLICATION, STANDALONE)
REWRITE = Step("rewrite")
KILL, HANG, WAIT = Step("kill", ("leader",)), Step("hang", ("leader",)), Step("wait", seconds=flat(6))

FAULTS = (
    Fault("F01", "leader killed", (SENTINEL,), (KILL, FAILOVER), (WRITABLE, *UNSEEN, *KEPT, *settled())),
    Fault(
        "F02",
        "leader killed, its unit restarts it",
        (SENTINEL, REPLICATION, STANDALONE),
        (Step("crash", ("leader",)), WAIT),
        (Promise("write_gap", flat(2)), *PAGES, *none("lost"), *settled()),
    ),
    Fault("F04", "leader hangs", (SENTINEL,), (HANG, FAILOVER), (WRITABLE, *UNSEEN, *KEPT, DEMOTED, *settled())),
    Fault(
        "F06",
        "leader and app apart from the rest",
        (SENTINEL,),
        (Step("cut", ("leader", "app")), Step("wait", seconds=flat(12))),
        (Promise("stopped", max_lag(1)), *none("lost_outside_window", "read_errors"), *PAGES, DEMOTED, *settled()),
        needs="machines",
    ),
    Fault(
        "F07",
        "leader apart from everyone",
        (SENTINEL,),
        (Step("cut", ("leader",)), Step("wait", seconds=flat(12))),
        (WRITABLE, *UNSEEN, *KEPT, DEMOTED, *settled()),
        needs="machines",
    ),
    Fault(
        "F10",
        "replica killed",
        (SENTINEL,),
        (Step("kill", ("replica",)), WAIT),
        (Promise("read_gap", flat(1)), *none("errors", "answers", "slow", "lost"), *settled(10)),
    ),
    Fault(
        "F11",
        "both replicas stopped",
        (SENTINEL,),
        (
            Step("stop", ("replicas",)),
            Step("wait", seconds=max_lag(4)),
            Step("bring_back", ("replica",), flat(20)),
            WAIT,
        ),
        (Promise("stopped", max_lag(1)), Promise("resumed", flat(2)), *none("read_errors", "lost"), *PAGES, *settled()),
    ),
    Fault(
        "F13",
        "leader killed with two of three Sentinels down",
        (SENTINEL,),
        (KILL, FAILOVER),
        (*none("failovers", "quorums", "read_errors"), *PAGES, *settled()),
        prepare=(Step("stop", ("sentinels",)),),
    ),
    Fault(
        "F16",
        "whole site rebooted",
        EVERY,
        (Step("reboot"),),
        (Promise("up", flat(60)), Promise("offsets", flat(2))),
        needs="docker",
        load=False,
    ),
    Fault(
        "F17",
        "site.yml after a failover and CONFIG REWRITE (F18)",
        (SENTINEL,),
        (Step("site"),),
        SAME,
        (*failed_over(FAILOVER), REWRITE),
        "site",
    ),
    Fault("F18", "site.yml after CONFIG REWRITE", (REPLICATION, STANDALONE), (Step("site"),), SAME, (REWRITE,), "site"),
    Fault(
        "F19a",
        "site.yml with another redis_maxmemory",
        EVERY,
        (Step("site", ("maxmemory",)),),
        (*none("flips", "restarts", "errors", "answers", "slow", "lost"), *settled()),
        needs="site",
    ),
    Fault(
        "F19b",
        "site.yml with a directive that wants a restart",
        (SENTINEL,),
        (Step("site", ("databases",)),),
        (Promise("write_gap", down_after(3)), *ONE_BY_ONE),
        needs="site",
    ),
    Fault("C01", "primary killed", (CLUSTER,), (KILL, TAKEOVER), (SERVED, *UNSEEN, *KEPT, *settled())),
    Fault("C04", "primary hangs", (CLUSTER,), (HANG, TAKEOVER), (SERVED, *UNSEEN, *KEPT, DEMOTED, *settled())),
    Fault(
        "C17",
        "site.yml after a failover and CONFIG REWRITE",
        (CLUSTER,),
        (Step("site"),),
        SAME,
        (*failed_over(TAKEOVER), REWRITE),
        "site",
    ),
    Fault(
        "C19",
        "site.yml with a directive that wants a restart",
        (CLUSTER,),
        (Step("site", ("tcp-backlog",)),),
        (Promise("write_gap", node_timeout(3)), *ONE_BY_ONE),
        needs="site",
    ),
)

HEADLINES = {SENTINEL: "F01", CLUSTER: "C01", REPLICATION: "F02", STANDALONE: "F02"}
