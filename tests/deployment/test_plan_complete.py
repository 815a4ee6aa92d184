"""Whatever a comparison finds, a plan says, and a run has a step for it; where it finds nothing there is neither."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builders import Changed, compared, plan, running, site, steps
from deployment.plan import CLUSTER
from deployment.states import States

SITES = {
    "replication": site("replication", said=running("replication"), redis_exporter_enabled=True, firewall_enabled=True),
    "sentinel": site("sentinel", said=running("sentinel")),
    "cluster": site("cluster", said=running("cluster")),
    "standalone": site("standalone", said=running("standalone"), servers=1),
    "locmem": site("locmem", said=running("locmem")),
}
NOT_PARTS = ("changed", "needs_restart")
# By site all of its hosts' parts, as host, section and part.
PARTS = {
    name: [
        (host, section, part)
        for host, sections in compared(States(one)).items()
        for section, parts in sections.items()
        for part in parts
        if part not in NOT_PARTS
    ]
    for name, one in SITES.items()
}
# What a part's result has beside that it changed.
RESULTS: list[dict[str, Any]] = [
    {},
    {"differs": ["mode"]},
    {"differs": ["content"], "path": "/a.conf"},
    {"differs": ["content", "owner"], "path": "/a.conf"},
]


@st.composite
def found(draw: st.DrawFn) -> tuple[str, Changed]:
    """The name of a site, and what somebody has altered there."""
    name = draw(st.sampled_from(list(SITES)))
    altered = draw(st.lists(st.sampled_from(PARTS[name]), max_size=5, unique=True))
    return name, {part: draw(st.sampled_from(RESULTS)) for part in altered}


@given(found())
def test_a_plan_says_that_there_is_something_to_do_where_there_is(altered: tuple[str, Changed]) -> None:
    name, changes = altered
    said, done = plan(SITES[name], changes), steps(SITES[name], changes)
    assert said["changes"] == bool(said["hosts"]) == bool(done) == bool(changes)
    hosts = {CLUSTER if section == "cluster" else host for host, section, _ in changes}
    # What a cluster is told has words of its own, if there are any.
    assert hosts - {CLUSTER} <= set(said["hosts"])
    assert {host for host, _, _ in changes} <= {host for names in done.values() for host in names}


def test_what_can_only_be_set_with_replicas_is_a_step() -> None:
    changes: Changed = {
        ("redis-1", "redis", "configuration"): {"changed": False, "postponed": ["min-replicas-to-write"]}
    }
    text = "set min-replicas-to-write live as soon as its replicas are connected"
    assert plan(SITES["sentinel"], changes)["hosts"] == {"redis-1": [{"kind": "set", "text": text}]}
    assert steps(SITES["sentinel"], changes)["redis"] == ["redis-1"]


def test_a_service_that_does_not_start_with_the_machine_has_a_line() -> None:
    changes: Changed = {("redis-2", "redis", "service"): {"enabled": False}}
    assert plan(SITES["sentinel"], changes)["hosts"] == {
        "redis-2": [{"kind": "set", "text": "have redis-6379 start with the machine"}]
    }


def test_a_certificate_with_another_mode_is_no_new_one(tmp_path: Any) -> None:
    one = site(
        "replication", said=running("replication", tls=True), redis_tls=True, redis_tls_authority_dir=str(tmp_path)
    )
    for authority in States(one).authorities.values():
        authority.issue()
    file = "/etc/redis/redis-6379.key"
    changes: Changed = {("redis-2", "certificate", f"file {file}"): {"differs": ["mode"]}}
    assert plan(one, changes)["hosts"] == {"redis-2": [{"kind": "write", "text": f"correct the mode of {file}"}]}
