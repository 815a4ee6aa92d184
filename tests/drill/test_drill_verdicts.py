"""The drill: its table of faults, its verdicts and its report."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from drill import judge, report
from drill.faults import FAULTS, HEADLINES
from drill.hosts import read_seen
from drill.inject import STEPS
from drill.judge import MEASURES, Answer, Measured, Seen, longest_gap, problems
from drilled import CLUSTER, LIMITS, WHOLE, redis, replicas, sentinel, steady, writes
from servers import SERVICE

# Killed at 100, and writable again at 102.5; healed at 110, and all is well at 115. No promise is broken.
GOOD = Measured(
    LIMITS,
    begun=100,
    injected=100.2,
    undoing=110,
    healed=110,
    ended=120,
    settled=115,
    demoted=114,
    bringing=106,
    returned=106,
    offsets=0.5,
    writes=[*steady(90, 100), *steady(102.5, 120)],
    reads=steady(90, 120),
    answers=[Answer("/", 100, 200, 0.1), Answer("/readyz", 100, 200, 0.1)],
    before=WHOLE,
    during=WHOLE,
    runs={"a": ["1", "2"], "b": ["1", "2"], "c": ["1", "2"]},
)
# One change each, after which the figure is another: what it is then.
BROKEN: dict[str, tuple[dict[str, Any], float]] = {
    "writable": ({"writes": [*steady(90, 100), *steady(106, 120)]}, 6),
    "served": ({"writes": [*steady(90, 120), *steady(90, 100, 1), *steady(105, 120, 1)]}, 5),
    "write_gap": ({"writes": [*steady(90, 99), *steady(108, 120)]}, 9),
    "read_gap": ({"reads": [*steady(90, 101), *steady(103, 120)]}, 2),
    "stopped": ({"writes": [*steady(90, 105), *steady(107, 120)]}, 4.8),
    "resumed": ({"writes": [*steady(90, 100), *steady(109, 120)]}, 3),
    "errors": ({"writes": [*GOOD.writes, *writes(101, outcome="CacheUnavailableError")]}, 1),
    "read_errors": ({"reads": [*GOOD.reads, *writes(101, outcome="TimeoutError")]}, 1),
    "pages": ({"answers": [Answer("/", 101, 500, 0.1), Answer("/", 102, 0, 0.1), Answer("/readyz", 103, 503, 1)]}, 3),
    "answers": ({"answers": [Answer("/", 101, 200, 0.1), Answer("/readyz", 102, 503, 0.1)]}, 1),
    "slow": ({"answers": [Answer("/", 101, 200, 1.1)]}, 1),
    "lost": ({"lost": [99.95]}, 1),
    "lost_before": ({"lost": [99.8, 99.95]}, 1),
    "lost_outside": ({"lost": [99.8, 99.95, 100, 103]}, 2),
    "lost_outside_window": ({"lost": [99.8, 99.95, 103, 104.3]}, 2),
    "lost_share": ({"lost": [100.0] * 4}, 100 * 4 / 277),
    "demoted": ({"demoted": math.inf}, math.inf),
    "failovers": ({"during": [redis("b")]}, 1),
    "quorums": ({"during": [sentinel(), sentinel(quorum=False)]}, 1),
    "changed": ({"changed": math.inf}, math.inf),
    "flips": ({"during": [redis("b")]}, 2),
    "restarts": ({"runs": {"a": ["1", "2"], "b": ["1"]}}, 1),
    "not_once": ({"runs": {"a": ["1", "2"], "b": ["1"], "c": ["1", "2", "3"]}}, 2),
    "together": ({"during": [replace(one, started=at) for one, at in zip(WHOLE, (10, 15, 16))]}, 1),
    "settled": ({"settled": 171}, 61),
    "up": ({"settled": 171}, 71),
    "offsets": ({"offsets": math.inf}, math.inf),
}
# Where GOOD is not good, since no fault is all of them.
GOOD_FOR: dict[str, dict[str, Any]] = {
    "stopped": {"bringing": 101.0},
    "restarts": {"runs": {"a": ["1"], "b": ["1"]}},
    "together": {"during": [replace(one, started=at) for one, at in zip(WHOLE, (10, 15, 20))]},
    "quorums": {"during": [sentinel(quorum=False)]},
    "resumed": {"returned": 102.4},
}


def test_every_row_is_well_formed() -> None:
    assert len({fault.id for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.promises
        assert fault.modes
        assert fault.needs in ("", "site", "machines", "docker")
        assert {step.do for step in (*fault.prepare, *fault.steps)} <= set(STEPS)
        assert fault.promises[-1].measure == "offsets"
    assert {step for fault in FAULTS for one in (*fault.prepare, *fault.steps) for step in [one.do]} == set(STEPS)


def test_every_promise_is_measured_and_every_measure_promised() -> None:
    assert {promise.measure for fault in FAULTS for promise in fault.promises} == set(MEASURES) == set(BROKEN)


def test_every_mode_with_faults_has_a_headline() -> None:
    assert set(HEADLINES) == {mode for fault in FAULTS for mode in fault.modes}
    rows = {fault.id: fault for fault in FAULTS}
    assert all(mode in rows[name].modes and not rows[name].needs for mode, name in HEADLINES.items())


@pytest.mark.parametrize("measure", MEASURES)
def test_a_promise_that_is_broken_fails(measure: str) -> None:
    promises = [(fault, one) for fault in FAULTS for one in fault.promises if one.measure == measure]
    changes, value = BROKEN[measure]
    good, bad = replace(GOOD, **GOOD_FOR.get(measure, {})), replace(GOOD, **changes)
    assert MEASURES[measure].find(bad) == pytest.approx(value)
    for fault, promise in promises:
        row = replace(fault, promises=(promise,))
        assert [one.ok for one in judge.verdicts(row, good)] == [measure != "write_gap" or promise.bound(LIMITS) > 2.5]
        assert [one.ok for one in judge.verdicts(row, bad)] == [False]


def test_a_gap_is_the_longest_time_without_a_write() -> None:
    assert longest_gap([1, 2, 2.5, 6, 7], since=2.2, until=7.1) == (2.5, 6)
    assert longest_gap([1, 9, 9.5], since=3, until=9.6) == (1, 9)
    assert longest_gap([1, 2, 3], since=2, until=9) == (3, math.inf)
    assert longest_gap([], since=2, until=9) == (2, math.inf)


def test_nothing_is_wrong_with_a_whole_deployment() -> None:
    assert problems(WHOLE, "sentinel") == []
    assert problems(CLUSTER, "cluster") == []


@pytest.mark.parametrize(
    ("place", "changed", "said"),
    [
        (0, Seen("a", "redis"), "a does not answer"),
        (1, redis("b"), "2 leaders"),
        (0, redis("a", **replicas("wait_bgsave")), "0 of 2 replicas online"),
        (2, redis("c", "slave", master_link_status="down"), "c has no link"),
        (3, sentinel(quorum=False), "s sees no quorum"),
        (3, sentinel("b"), "s names another leader"),
        (3, sentinel(flags="master,s_down"), "s: leader is master,s_down"),
        (4, Seen("app", "app", {"/": "200", "/readyz": "503"}), "app: /readyz answers 503"),
    ],
)
def test_what_is_wrong_is_said(place: int, changed: Seen, said: str) -> None:
    seen = [*WHOLE]
    seen[place] = changed
    assert said in problems(seen, "sentinel")


def test_a_cluster_without_all_slots_is_not_whole() -> None:
    seen = [*CLUSTER]
    seen[1] = redis("b", "slave", cluster_state="fail", cluster_slots_ok="9000")
    assert problems(seen, "cluster") == ["b: cluster_state fail, 9000 slots"]


def test_replicas_have_caught_up_with_what_their_leader_had() -> None:
    assert judge.caught_up(WHOLE, [redis("a", **replicas(), master_repl_offset="9")])
    assert not judge.caught_up(WHOLE, [redis("a", **replicas(offset=6))])
    assert not judge.caught_up(WHOLE, [redis("b", **replicas())])


def test_what_servers_say_is_read() -> None:
    server, clock = "# Server\r\nrun_id:x\r\nuptime_in_seconds:10\r\n", ["110", "5"]
    seen = read_seen("a", "redis", [server, clock, "role:master\r\n"])
    assert (seen.started, seen.info["role"], seen.info["run_id"]) == (100, "master", "x")
    master = ["name", SERVICE, "runid", "y", "flags", "master"]
    assert read_seen("s", "sentinel", [server, master, "OK 3 usable"]).quorum
    lonely = read_seen("s", "sentinel", [server, master, {"error": "NOQUORUM 1 usable"}])
    assert (lonely.quorum, lonely.info["runid"]) == (False, "y")
    away = {"error": "ConnectionRefusedError: no"}
    assert read_seen("a", "redis", [away] * 3) == Seen("a", "redis")


def test_the_reports_show_promise_and_measured_side_by_side() -> None:
    fault = next(fault for fault in FAULTS if fault.id == "F01")
    measured = replace(GOOD, lost=[100.0], answers=[*GOOD.answers, Answer("/readyz", 104.5, 503, 1.5)], wrong=["x"])
    result = report.Result(judge.verdicts(fault, measured), report.figures(measured))
    lines = report.lines(result.verdicts).splitlines()
    assert lines[0] == "F01 leader killed | writable <= 5.0 s | 2.5 s | pass"
    assert "F01 leader killed | answers slower than 1 s <= 0 | 1 | FAIL" in lines
    assert "F01 leader killed | keys lost <= 1.0 % | 0.4 % | pass" in lines
    page = report.markdown([result], "Mode sentinel.")
    assert "| F01 leader killed | writable <= 5.0 s | 2.5 s | pass |" in page
    assert "statuses (/ 200: 1, /readyz 200: 1, /readyz 503: 1)" in page
    data = json.loads(json.dumps(report.as_json([result], {"mode": "sentinel"}), allow_nan=False))
    assert (data["mode"], data["kept"], data["faults"][0]["id"]) == ("sentinel", False, "F01")
    assert data["faults"][0]["promises"][0] == {
        "promise": "writable <= 5.0 s",
        "measured": "2.5 s",
        "ok": True,
    }
    assert data["faults"][0]["figures"]["keys_lost"] == 1
    assert report.summary([result]) == f"{len(lines) - 2} promises kept, 2 broken"


def test_a_fault_that_could_not_be_done_is_a_broken_promise() -> None:
    result = report.failed("F01", "leader killed", "no\nserver leads")
    assert not report.all_kept([result])
    assert report.lines(result.verdicts).endswith("| no server leads | FAIL")


def test_never_and_hardly_any_are_shown_as_such() -> None:
    assert [judge.show(*one) for one in ((math.inf, "s"), (0.01, "%"), (0, "%"), (2, ""), (2.34, "s"))] == [
        "never",
        "0.01 %",
        "0.0 %",
        "2",
        "2.3 s",
    ]
