"""What each host is asked, has and is compared with: the sections by mode, and no secret where one can be seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.run import with_secrets
from ansible.plugins.modules import host_apply, host_look

from builders import (
    APPLIED,
    COMPARED,
    MODES,
    SECRETS,
    Values,
    facts,
    follows,
    issued,
    leads,
    part,
    parts,
    running,
    site,
    watches,
    with_ca,
)
from deployment import run
from deployment.errors import DeploymentError
from deployment.render.firewall import firewall_rules
from deployment.site import Site
from deployment.states import ORDER, States

EACH_MODE = pytest.mark.parametrize("mode", MODES)
# Everything that a deployment can have.
ALL: Values = {
    "redis_exporter_enabled": True,
    "firewall_enabled": True,
    "redis_config": {"tls-key-file-pass": "a locked key"},
}
ALL_SECRETS = [*SECRETS.values(), "a locked key", "a setting of the user"]


@pytest.fixture
def ca(tmp_path: Path) -> Values:
    return with_ca(tmp_path)


def sections(states: States, name: str, as_it_speaks: bool = COMPARED) -> list[str]:
    found = states.parts(name, as_it_speaks)
    return [section for section in ORDER if found.get(section)]


def by_host(states: States) -> dict[str, list[str]]:
    return {name: [one["name"] for one in states.state(name)["sections"]] for name in states.names}


# Which sections


@pytest.mark.parametrize(
    ("mode", "leader", "others"),
    [
        ("standalone", ["redis"], None),
        ("replication", ["redis"], ["redis"]),
        ("sentinel", ["redis", "sentinel", "agreement"], ["redis", "sentinel", "agreement"]),
        # One host forms the cluster for all.
        ("cluster", ["redis", "cluster"], ["redis"]),
    ],
)
def test_the_sections_of_a_mode(mode: str, leader: list[str], others: list[str] | None) -> None:
    found = by_host(States(site(mode)))
    assert found.pop("app-1") == ["django_app"]
    assert found.pop("redis-1") == leader
    assert [one for one in found.values() if one != others] == []


def test_locmem_has_django_alone() -> None:
    assert by_host(States(site("locmem"))) == {"app-1": ["django_app"]}


def test_what_is_compared_but_not_applied_at_once() -> None:
    """Former passwords are revoked at the end of a run, and a comparison takes that for done."""
    states = States(site("replication", said=running("replication")))
    assert sections(states, "redis-1", APPLIED) == ["redis", "finish"]
    assert part(states, "redis-1", "redis", "users", COMPARED)["finish"] is True
    assert part(states, "redis-1", "redis", "users", APPLIED)["finish"] is False
    assert part(states, "redis-1", "finish", "users", APPLIED)["finish"] is True


@EACH_MODE
def test_the_options_of_a_deployment(mode: str, ca: Values) -> None:
    states = States(site(mode, **ca, **ALL))
    servers = ["redis", "exporter"] if mode != "locmem" else []
    found = sections(states, states.names[0])
    assert set(found) >= {*servers, *(["firewall", "certificate"] if servers else [])}
    assert found == sorted(found, key=ORDER.index)


def test_a_sentinel_alone_has_a_certificate_of_its_own(ca: Values) -> None:
    names = ["redis-1", "sentinel-1", "sentinel-2"]
    states = States(site("sentinel", servers=2, sentinels=names, **ca))
    assert sections(states, "sentinel-1") == ["sentinel", "agreement"], "it is still to be issued"
    states = issued(states)
    assert sections(states, "sentinel-1") == ["certificate", "sentinel", "agreement"]
    assert [one["path"] for one in parts(states, "sentinel-1", "certificate")] == [
        "/etc/redis/redis-6379.key",
        "/etc/redis/redis-6379.crt",
        "/etc/redis/redis-6379.ca.crt",
    ]
    # Where a server runs as well, that one has brought it.
    assert "certificate" not in states.steps("redis-1")["sentinel"]["sections"][0]["name"]
    assert [one["name"] for one in states.steps("sentinel-1")["sentinel"]["sections"]] == [
        "certificate",
        "sentinel",
    ]


def unit(*names: str) -> Values:
    return {"probe": {"units": [f"/etc/systemd/system/{name}.service" for name in names]}}


def test_what_the_mode_does_not_use_is_retired() -> None:
    said = {**running("standalone"), "redis-2": {**unit("redis-6379"), "redis": follows("redis-1")}}
    found = by_host(States(site("standalone", servers=3, said=said)))
    # Nothing was ever deployed on redis-3.
    assert (found["redis-2"], found["redis-3"]) == (["retired"], [])


def test_a_node_of_a_former_cluster_is_retired_before_its_servers_have_another_mode() -> None:
    node = {**unit("redis-6379"), "redis": leads(cluster=True)}
    states = States(site("standalone", servers=2, said={**running("standalone"), "redis-2": node}))
    assert sections(states, "redis-2") == ["retired_first"]
    # Without Redis nobody follows anybody.
    states = States(site("locmem", servers=2, said={"redis-2": node}))
    assert sections(states, "redis-2") == ["retired"]


def test_a_server_that_is_for_other_modes_is_retired_first() -> None:
    own = {"redis-2": {"redis_modes": ["cluster"]}}
    said = {**running("standalone"), "redis-2": {**unit("redis-6379"), "redis": leads()}}
    assert sections(States(site("standalone", servers=2, own=own, said=said)), "redis-2") == ["retired_first"]


def test_sentinels_and_exporters_are_retired() -> None:
    said = {**running("replication"), "redis-1": {**running("replication")["redis-1"]}}
    said["redis-1"] |= unit("redis-sentinel-26379", "redis-exporter-6379", "redis-6379")
    states = States(site("replication", sentinels=["redis-1", "redis-2"], said=said))
    assert sections(states, "redis-1") == ["redis", "exporter", "retired_sentinel"]
    for section in ("exporter", "retired_sentinel"):
        # The description last: by that a run that was cut short is found.
        found = [one["part"] for one in parts(states, "redis-1", section)]
        assert found == ["service_stopped", "absent", "service_absent"]
    memory = part(states, "redis-1", "retired_sentinel", "absent")
    assert memory["paths"] == [
        "/var/lib/redis/sentinel-26379",
        "/etc/redis/redis-sentinel-26379.conf",
        "/etc/redis/redis-sentinel-26379.auth.conf",
    ]
    assert sections(states, "redis-2") == ["redis"]


def test_a_firewall_is_retired() -> None:
    said = {"app-1": {"probe": {"units": ["cachestack-firewall.service"]}}}
    states = States(site("locmem", said=said))
    assert sections(states, "app-1") == ["firewall", "django_app"]
    assert {one["part"] for one in parts(states, "app-1", "firewall")} == {"service_absent", "absent"}


def test_one_host_of_a_machine_keeps_its_firewall() -> None:
    one = site("replication", said={"redis-2": {"facts": facts("redis-1")}}, firewall_enabled=True)
    found = by_host(States(one))
    assert [name for name in found if "firewall" in found[name]] == ["redis-1", "redis-3"]


def test_the_rules_of_all_firewalls_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who is checked: both look at all hosts."""
    asked: list[int] = []

    def counted(*args: Any) -> dict[str, list[dict[str, Any]]]:
        asked.append(1)
        return firewall_rules(*args)

    monkeypatch.setattr("deployment.states.firewall_rules", counted)
    states = States(site("replication", firewall_enabled=True))
    by_host(states)
    assert asked == [1]
    assert states._checked is states._checked
    assert states.names is states.names


def test_a_firewall_that_would_lock_out_who_was_not_looked_at() -> None:
    one = site("replication", firewall_enabled=True)
    part = Site(one.values, one.groups, {name: said for name, said in one.looked.items() if name != "app-1"})
    with pytest.raises(DeploymentError, match=r"app-1: not looked at in this run.* --limit"):
        by_host(States(part))


# Secrets


def everything(mode: str, **common: Any) -> States:
    own = {"app-1": {"django_app_settings": {"STRIPE_KEY": "a setting of the user"}}}
    return States(site(mode, own=own, said=running(mode), **common, **ALL))


@EACH_MODE
def test_no_secret_is_in_a_section(mode: str, ca: Values) -> None:
    states = issued(everything(mode, **ca))
    seen: set[str] = set()
    for name in states.names:
        state = states.state(name)
        for shown in (state["sections"], *(step["sections"] for step in states.steps(name).values())):
            text = json.dumps(shown, ensure_ascii=False)
            assert [secret for secret in ALL_SECRETS if secret in text] == []
            assert "PRIVATE KEY" not in text
        hidden = "".join(state["secrets"].values())
        seen.update(secret for secret in ALL_SECRETS if secret in hidden)
        if name in states.used:
            assert "PRIVATE KEY" in hidden
    assert SECRETS["django_app_secret_key"] in seen
    assert mode == "locmem" or SECRETS["redis_password"] in seen


@EACH_MODE
def test_the_secrets_of_a_state_are_those_that_it_names(mode: str) -> None:
    states = everything(mode)
    for name in states.names:
        for state in (states.state(name), *states.steps(name).values()):
            text = json.dumps(with_secrets(state["sections"], state["secrets"]))
            assert all(json.dumps(value)[1:-1] in text for value in state["secrets"].values())


def test_what_the_role_renders_of_settings_is_shown_in_a_diff() -> None:
    settings = {one["name"]: one for one in parts(States(site("standalone")), "app-1", "django_app") if "name" in one}
    assert (settings["settings"]["diff"], settings["secrets"]["diff"]) == (True, False)
    settings = {one["name"]: one for one in parts(everything("standalone"), "app-1", "django_app") if "name" in one}
    assert settings["settings"]["diff"] is False


def test_the_names_of_certificates_are_those_of_all_servers_of_a_host(ca: Values) -> None:
    own = {"redis-1": {"redis_sentinel_address": "192.0.2.11"}}
    (authority,) = States(site("sentinel", own=own, said=running("sentinel"), **ca)).authorities.values()
    assert authority.names["redis-1"] == ["10.0.0.1", "192.0.2.11", "redis-1"]
    assert authority.names["redis-2"] == ["10.0.0.2", "redis-2"]


# What the modules take


@EACH_MODE
def test_the_module_host_apply_knows_every_part(mode: str, ca: Values) -> None:
    states = issued(everything(mode, **ca))
    for name in states.names:
        found = [*states.parts(name, COMPARED).values(), *states.parts(name, APPLIED).values()]
        steps = [section["parts"] for step in states.steps(name).values() for section in step["sections"]]
        for one in (one for listed in (*found, *steps) for one in listed):
            assert one["part"] in host_apply.KINDS


@EACH_MODE
@pytest.mark.parametrize("looked", [True, False])
def test_the_module_host_look_knows_every_question(mode: str, looked: bool, ca: Values) -> None:
    states = States(site(mode, looked=looked, redis_install="auto", **ca))
    for name in states.names:
        asked = states.questions(name)
        assert set(asked) <= set(host_look.QUESTIONS)
        for kind, question in asked.items():
            assert set(question) <= set(host_look.QUESTIONS[kind])
            options = host_look.QUESTIONS[kind].items()
            assert {word for word, option in options if option.get("required")} <= set(question)


# Questions


def test_what_a_host_is_asked() -> None:
    states = States(site("sentinel", looked=False))
    asked = states.questions("redis-1")
    assert sorted(asked) == ["probe", "redis", "sentinel"]
    # Its own address is not known yet; the host finds it out.
    assert (asked["redis"]["address"], asked["redis"]["announced"]) == ("", "10.0.0.1")
    assert asked["redis"]["volatile_file"] == "/var/lib/redis/6379/redis.conf"
    assert (asked["sentinel"]["service"], asked["sentinel"]["wait"]) == ("mymaster", 30)
    assert asked["sentinel"]["volatile_file"] == "/var/lib/redis/sentinel-26379/sentinel.conf"
    assert asked["probe"]["units"] == [
        "cachestack-firewall.service",
        "/etc/systemd/system/redis-6379.service",
        "/etc/systemd/system/redis-exporter-6379.service",
        "/etc/systemd/system/redis-sentinel-26379.service",
    ]
    assert sorted(states.questions("app-1")) == ["django", "probe"]
    assert states.questions("app-1")["django"] == {"url": "http://127.0.0.1:8000"}


def test_a_server_that_the_mode_does_not_use_is_asked_as_well() -> None:
    """It may lead, and it may be one that is to be retired."""
    states = States(site("standalone", servers=2, looked=False))
    assert "redis" in states.questions("redis-2")
    states = States(site("locmem", servers=1, sentinels=["redis-1"], looked=False))
    assert sorted(states.questions("redis-1")) == ["probe", "redis"]


def test_a_brief_look_asks_only_what_runs() -> None:
    states = States(site("sentinel", redis_install="auto", looked=False))
    asked = states.questions("redis-1", briefly=True)
    assert (sorted(asked), asked["sentinel"]["wait"]) == (["redis", "sentinel"], 0)
    assert sorted(states.questions("app-1", briefly=True)) == ["django"]
    # A server that the mode may use, until it is known who leads.
    states = States(site("standalone", servers=2, looked=False))
    assert sorted(states.questions("redis-2", briefly=True)) == ["redis"]


def test_a_brief_look_leaves_out_who_has_nothing_to_tell() -> None:
    for one in (site("locmem", looked=False), site("standalone", servers=1, redis_modes=["cluster"], looked=False)):
        assert sorted(run.look(one, briefly=True)["hosts"]) == ["app-1"]


def test_who_needs_a_program_of_its_own_is_asked_for_one() -> None:
    states = States(site("standalone", redis_install="auto", redis_engine="valkey", looked=False))
    assert states.questions("redis-1")["program"] == {
        "names": ["valkey-server", "redis-server"],
        "package": "valkey-server",
        "floor": "5.0",
        "dest": "/var/lib/redis/package",
    }
    for own in (
        site("standalone", redis_server_bin="/opt/redis-server", looked=False),
        site("standalone", looked=False),
    ):
        assert "program" not in States(own).questions("redis-1")


def test_users_and_groups_that_no_package_makes_are_asked_for() -> None:
    probe = States(site("standalone", redis_server_bin="/opt/redis-server", looked=False)).questions("redis-1")
    assert (probe["probe"]["users"], probe["probe"]["groups"]) == (["redis"], [])
    one = site("standalone", redis_socket="/run/redis.sock", redis_socket_group="sockets", looked=False)
    probe = States(one).questions("redis-1")
    assert (probe["probe"]["users"], probe["probe"]["groups"]) == ([], ["sockets"])
    assert States(one).questions("app-1")["probe"]["users"] == ["django_app"]


def test_programs_of_the_exporter_and_the_firewall_are_asked_for() -> None:
    common: Values = {"redis_exporter_enabled": True, "firewall_enabled": True}
    states = States(site("standalone", looked=False, **common))
    probe = states.questions("redis-1")["probe"]
    assert (probe["users"], probe["files"]) == (
        ["redis_exporter"],
        ["/usr/sbin/nft", "/usr/bin/prometheus-redis-exporter"],
    )
    assert states.questions("app-1")["probe"]["files"] == ["/usr/sbin/nft"]
    states = States(site("standalone", looked=False))
    assert [states.questions(name)["probe"]["files"] for name in states.names] == [[], []]


# How a server is reached


@pytest.mark.parametrize(("speaks", "tls"), [(True, False), (False, True)])
def test_a_comparison_asks_a_server_as_it_speaks(speaks: bool, tls: bool, ca: Values) -> None:
    states = States(site("sentinel", said=running("sentinel", tls=speaks), **{**ca, "redis_tls": tls}))
    for as_it_speaks, encrypted in ((COMPARED, speaks), (APPLIED, tls)):
        wanted = ("/etc/redis/redis-6379.ca.crt", "10.0.0.1") if encrypted else (None, None)
        for section, kind in (
            ("redis", "users"),
            ("redis", "configuration"),
            ("redis", "topology"),
            ("sentinel", "sentinel"),
            ("agreement", "sentinel_agrees"),
        ):
            connection = part(states, "redis-1", section, kind, as_it_speaks)["connection"]
            assert (connection["tls_ca_file"], connection["tls_name"]) == wanted, (section, kind)


def test_a_server_that_does_not_say_is_reached_as_it_is_to_speak(ca: Values) -> None:
    connection = part(States(site("standalone", **ca)), "redis-1", "redis", "users")["connection"]
    assert connection["tls_name"] == "10.0.0.1"


# Who leads


def test_whom_a_server_follows() -> None:
    states = States(site("replication", said=running("replication")))
    assert part(states, "redis-1", "redis", "topology")["leader"] is None
    wanted = {"address": "10.0.0.1", "port": 6379}
    assert part(states, "redis-2", "redis", "topology")["leader"] == wanted
    assert part(states, "redis-2", "redis", "volatile")["leader"] == wanted


def test_what_sentinels_have_decided_is_kept() -> None:
    said = running("sentinel")
    said["redis-1"] = {"redis": follows("redis-2"), "sentinel": watches("redis-2")}
    said["redis-2"] = {"redis": leads(2), "sentinel": watches("redis-2")}
    said["redis-3"] = {"redis": follows("redis-2"), "sentinel": watches("redis-2")}
    states = States(site("sentinel", said=said))
    topology = part(states, "redis-1", "redis", "topology")
    assert (topology["keep_role"], topology["leader"]) == (True, None)
    assert part(states, "redis-1", "sentinel", "sentinel")["leader"] == {"address": "10.0.0.2", "port": 6379}
    # Before the first run nobody has decided.
    topology = part(States(site("sentinel")), "redis-2", "redis", "topology")
    assert (topology["keep_role"], topology["leader"]["address"]) == (False, "10.0.0.1")


# Clusters


def test_nodes_of_one_machine_are_each_their_own() -> None:
    """They are lost together wherever their replicas are, so a replica may be beside its primary."""
    own = {f"redis-{number}": {"redis_port": 6378 + number} for number in range(1, 7)}
    local = site("cluster", own=own, ansible_host="127.0.0.1", redis_address="127.0.0.1")
    nodes = part(States(local), "redis-1", "cluster", "cluster")["nodes"]
    assert [node["machine"] for node in nodes] == [node["name"] for node in nodes]
    nodes = part(States(site("cluster")), "redis-1", "cluster", "cluster")["nodes"]
    assert [node["machine"] for node in nodes] == [f"10.0.0.{number}" for number in range(1, 7)]


def test_a_comparison_knows_which_nodes_are_new() -> None:
    new = {"redis": {"error": "refused", "installed": False}}
    states = States(site("cluster", servers=8, said={**running("cluster"), "redis-7": new, "redis-8": new}))
    assert part(states, "redis-1", "cluster", "cluster", COMPARED)["absent"] == ["redis-7", "redis-8"]
    assert part(states, "redis-1", "cluster", "cluster", APPLIED)["absent"] == []
    # It cannot ask those that are down, but the run waits until they are there.
    down = {"redis": {"error": "refused", "installed": True}}
    states = States(site("cluster", said={**running("cluster"), "redis-6": down}))
    assert (sections(states, "redis-1", COMPARED), "cluster" in sections(states, "redis-1", APPLIED)) == (
        ["redis"],
        True,
    )
