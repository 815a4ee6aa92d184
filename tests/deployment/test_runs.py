"""The steps of a run on the control node: what each takes, and what it hands to the next one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import MODES, SECRETS, Changed, Values, compared, follows, issued, leads, running, site, watches, with_ca
from deployment import run
from deployment.errors import DeploymentError
from deployment.hosts import FIREWALL
from deployment.run import RunError
from deployment.site import Site
from deployment.states import States

SERVERS = ["redis-1", "redis-2", "redis-3"]


@pytest.fixture
def ca(tmp_path: Path) -> Values:
    return with_ca(tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Values:
    """Variables of a project of the user's own."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "manage.py").write_text("")
    return {"django_app_src": str(tmp_path / "shop"), "django_app_cache_dir": str(tmp_path / "cache")}


def limited(one: Site, *names: str) -> Site:
    """A site of which a run looks at these hosts alone."""
    return replace(one, looked={name: one.looked[name] for name in names})


def plain(value: Any) -> Any:
    """What Ansible has of a step's result in the next one."""
    return json.loads(json.dumps(value))


# look


@pytest.mark.parametrize("mode", MODES)
def test_every_host_is_asked(mode: str) -> None:
    one = site(mode, looked=False)
    found = run.look(one)
    assert list(found["hosts"]) == States(one).names
    assert plain(found) == found
    assert found["checkouts"] == []


def test_a_repository_is_fetched_once() -> None:
    repository: Values = {"django_app_src": "https://git.example/shop.git"}
    found = run.look(
        site("locmem", apps=3, own={"app-3": {"django_app_src_version": "v2"}}, looked=False, **repository)
    )
    assert [(one["repo"], one["version"]) for one in found["checkouts"]] == [
        ("https://git.example/shop.git", "HEAD"),
        ("https://git.example/shop.git", "v2"),
    ]
    assert len({one["dest"] for one in found["checkouts"]}) == 2


# check_asked and problems


@pytest.mark.parametrize(
    ("mode", "looked", "limit"),
    [
        ("replication", ["redis-1", "app-1"], "redis"),
        ("standalone", ["redis-1", "app-1"], "redis"),
        ("sentinel", ["redis-1"], "redis,redis_sentinel"),
        ("cluster", ["redis-1", "redis-2"], "redis"),
    ],
)
def test_a_part_of_the_servers_is_not_enough(mode: str, looked: list[str], limit: str) -> None:
    one = limited(site(mode, servers=3), *looked)
    for step in (run.check_asked, run.problems):
        with pytest.raises(RunError) as raised:
            step(one)
        assert f"add {limit} to --limit" in str(raised.value)
        assert "Nothing was changed" in str(raised.value)


def test_sentinels_are_servers_that_know_who_leads() -> None:
    one = site("sentinel", servers=1, sentinels=["redis-1", "sentinel-1", "sentinel-2"])
    with pytest.raises(RunError):
        run.check_asked(limited(one, "redis-1", "sentinel-1"))
    run.check_asked(one)
    # In another mode nobody watches.
    other = site("replication", servers=1, sentinels=["redis-1", "sentinel-1"])
    run.check_asked(limited(other, "redis-1"))


def test_django_alone_is_no_part_of_the_servers() -> None:
    one = limited(site("replication"), "app-1")
    run.check_asked(one)
    # But its caches need servers that were asked.
    assert [found["rule"] for found in run.problems(one)["problems"]] == ["silent-host"]


@pytest.mark.parametrize("mode", MODES)
def test_sound_hosts_have_no_problems(mode: str) -> None:
    assert run.problems(site(mode, said=running(mode))) == {"problems": [], "text": "no problems"}


def test_a_ca_that_expires_soon_is_a_warning(ca: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    one = site("replication", said=running("replication", tls=True), **ca)
    issued(States(one))
    assert run.problems(one)["problems"] == []
    monkeypatch.setattr("deployment.certificates.days_left", lambda certificate: 29)
    (found,) = run.problems(one)["problems"]
    assert (found["rule"], found["severity"], found["where"]) == ("ca-expires", "warning", ["group redis"])
    assert "the CA expires in 29 days" in found["text"]


def test_a_ca_that_is_broken_ends_the_run(ca: Values) -> None:
    one = site("replication", said=running("replication", tls=True), **ca)
    issued(States(one))
    (Path(ca["redis_tls_authority_dir"]) / "ca.key").unlink()
    with pytest.raises(DeploymentError, match=r"ca\.key is missing\. Restore ca\.key and ca\.crt from a backup"):
        run.problems(one)


# compare and plan


@pytest.mark.parametrize("mode", MODES)
def test_a_comparison(mode: str) -> None:
    one = site(mode)
    found = run.compare(one)
    assert list(found["hosts"]) == States(one).names
    assert plain(found) == found
    assert found["groups"] == [{"host": name, "groups": ["deploy_compare"]} for name in found["hosts"]]


def test_who_has_nothing_is_not_compared() -> None:
    """Nothing was ever deployed on the others."""
    assert list(run.compare(site("standalone", servers=3))["hosts"]) == ["redis-1", "app-1"]
    assert list(run.compare(limited(site("standalone"), "app-1"))["hosts"]) == ["app-1"]


def test_a_plan() -> None:
    one = site("standalone", said={"redis-1": {"probe": {"programs": {}}}})
    found = run.plan(one, compared(States(one)))
    assert found["steps"] == {"install": ["redis-1"], "redis": ["redis-1"], "django_app": ["app-1"]}
    assert list(found["install"]) == ["redis-1"]
    assert found["groups"][0]["groups"] == ["deploy_changes", "deploy_install", "deploy_redis"]
    assert (found["plan"]["changes"], found["forgets"]) == (True, False)
    assert plain(found) == found
    assert [secret for secret in SECRETS.values() if secret in str(found)] == []


def test_former_passwords_wait_for_every_django_host_that_may_have_them() -> None:
    """One outside --limit is not compared, so nobody knows whether it has the new ones."""
    password: Changed = {("redis-1", "redis", "users"): {"is_new": True, "users": ["app"], "path": "/a.conf"}}
    settings: Changed = {("app-1", "django_app", "secrets"): {"differs": ["content"]}}
    one = site("replication", apps=2, said={**running("replication"), "app-2": running("replication")["app-1"]})

    def waits_for(part: Site, changes: Changed) -> list[str]:
        found = run.plan(part, compared(States(part), changes))
        assert found["steps"].get("finish", []) == (["redis-1"] if password.keys() <= changes.keys() else [])
        return list(found["finish_waits_for"])

    assert waits_for(limited(one, *SERVERS), password) == ["app-1", "app-2"]
    assert waits_for(limited(one, *SERVERS, "app-1"), {**password, **settings}) == ["app-1", "app-2"]
    assert waits_for(one, {**password, **settings}) == ["app-1"]
    # It logs in with none of those that change.
    assert waits_for(one, password) == []
    assert waits_for(one, settings) == []


# apply


def test_an_application_issues_certificates_and_packs_releases(ca: Values, project: Values) -> None:
    one = site("replication", **ca, **project)
    hosts = run.apply(one, {"django_app": ["app-1"]})["hosts"]
    assert sorted(path.name for path in Path(ca["redis_tls_authority_dir"]).glob("*.crt")) == [
        "ca.crt",
        *(f"{name}.crt" for name in SERVERS),
    ]
    assert Path(hosts["app-1"]["release"]["archive"]).is_file()
    # Each server gets its certificate, and Django the CA.
    (certificate, redis) = hosts["redis-1"]["redis"]["sections"]
    assert (certificate["name"], redis["name"]) == ("certificate", "redis")
    assert "BEGIN CERTIFICATE" in str(hosts["app-1"]["django_app"]["sections"])
    assert {"restart", "finish"} <= set(hosts["redis-1"])
    assert plain(hosts) == hosts


def test_a_release_is_packed_where_django_is_deployed(project: Values) -> None:
    one = site("locmem", **project)
    assert "release" not in run.apply(one, {"redis": ["redis-1"]})["hosts"]["app-1"]
    assert not Path(project["django_app_cache_dir"]).exists()


def test_certificates_are_issued_anew_when_asked(ca: Values) -> None:
    """Once: the states that are applied are those after that."""
    one = site("standalone", redis_tls_renew=True, **ca)
    texts = []
    for _ in range(2):
        run.apply(one, {})
        texts.append((Path(ca["redis_tls_authority_dir"]) / "redis-1.crt").read_text())
    assert texts[0] != texts[1]
    (state,) = [run.apply(site("standalone", **ca), {})["hosts"]["redis-1"]["redis"]]
    assert texts[1] in state["secrets"].values()


# verify


@pytest.mark.parametrize("mode", MODES)
def test_a_sound_deployment_is_verified(mode: str) -> None:
    one = site(mode, said=running(mode))
    found = run.verify(one)
    assert list(found["hosts"]) == States(one).names
    assert plain(found) == found
    assert found["hosts"]["app-1"]["django"]["writes"] is (mode != "locmem")
    # Each value that is written is of one run.
    assert run.verify(one)["moment"] != found["moment"]


@pytest.mark.parametrize(
    ("mode", "changes", "text"),
    [
        ("replication", {"redis-2": {"redis": {"error": "refused"}}}, "redis-2 does not answer: refused"),
        (
            "sentinel",
            {"redis-3": {"sentinel": watches("redis-1", quorum="NOQUORUM")}},
            "redis-3: no failover is possible: NOQUORUM",
        ),
    ],
)
def test_what_is_not_sound_is_said(mode: str, changes: dict[str, Values], text: str) -> None:
    said = running(mode)
    for name, answer in changes.items():
        said[name] = {**said[name], **answer}
    with pytest.raises(RunError) as raised:
        run.verify(site(mode, said=said))
    assert str(raised.value) == text


@pytest.mark.parametrize(
    ("mode", "kills"), [("standalone", True), ("replication", True), ("sentinel", False), ("cluster", False)]
)
def test_who_is_killed(mode: str, kills: bool) -> None:
    """Sentinel and a cluster would put another server in its place; Django is killed in every mode."""
    one = site(mode, said=running(mode), service_verify_kill=True)
    hosts = run.verify(one)["hosts"]
    kill = hosts["redis-1"]["redis"]["kill"]
    assert bool(kill) is kills
    if kills:
        (section,) = kill["sections"]
        assert [found["part"] for found in section["parts"]] == ["service_killed", "topology"]
    ready = hosts["app-1"]["django"]["ready"]["sections"][0]["parts"]
    assert [found["part"] for found in ready] == ["service_killed", "ready"]
    assert run.verify(site(mode, said=running(mode)))["hosts"]["redis-1"]["redis"]["kill"] == {}


def test_what_else_is_verified() -> None:
    one = site("sentinel", said=running("sentinel"), redis_exporter_enabled=True, firewall_enabled=True)
    found = run.verify(one)["hosts"]["redis-1"]
    assert sorted(found) == ["exporter", "firewall", "redis", "sentinel"]
    assert found["exporter"]["url"] == "http://127.0.0.1:9121"
    (agreement,) = found["sentinel"]["agreement"]["sections"][0]["parts"]
    # Who only looks forgets nobody.
    assert agreement["forget"] is False
    hosts = run.verify(site("cluster", said=running("cluster")))["hosts"]
    assert [name for name in hosts if "cluster" in hosts[name].get("redis", {})] == ["redis-1"]


def test_what_a_host_is_asked_of_itself_needs_no_other_host() -> None:
    said = running("replication")
    said["redis-1"] = {**said["redis-1"], "probe": {"units": [FIREWALL]}}
    said["redis-2"] = {"redis": {"error": "refused"}}
    one = site("replication", said=said, redis_exporter_enabled=True, firewall_enabled=True)
    with pytest.raises(RunError):
        run.verify(one)
    found = run.local_checks(one)
    # Django listens to its own machine alone.
    assert [sorted(found[name]) for name in (*SERVERS, "app-1")] == [["exporter", "firewall"]] * 3 + [[]]
    # Which rules it needs only the others know: those that it has are compared.
    assert run.local_checks(limited(one, "redis-1")) == {"redis-1": found["redis-1"]}
    assert list(run.local_checks(limited(one, "redis-3"))["redis-3"]) == ["exporter"]


# cachecheck


def test_cachecheck() -> None:
    one = site("replication", said=running("replication"))
    servers = [f"redis://10.0.0.{number}:6379" for number in (1, 2, 3)]
    report: Values = {
        "mode": "replication",
        "client": "builtin",
        "aliases": {"default": {"servers": servers, "operations": []}},
    }
    assert run.cachecheck(one, {"app-1": report}) == []
    (fault,) = run.cachecheck(one, {"app-1": {**report, "client": "resilient"}})
    assert fault.startswith("app-1: Django runs replication with client resilient")
    report["aliases"]["default"]["servers"] = ["redis://elsewhere:1"]
    assert len(run.cachecheck(one, {"app-1": report})) == 1
    # Whoever writes CACHES knows where it leads.
    own = site("replication", said=running("replication"), django_app_caches={"default": {"BACKEND": "x"}})
    assert run.cachecheck(own, {"app-1": report}) == []


# check_protocol and renew


def test_servers_that_speak_otherwise_are_not_asked(ca: Values) -> None:
    one = site("replication", said=running("replication"), **ca)
    for step in (run.check_protocol, run.verify, run.renew):
        with pytest.raises(RunError, match=r"redis_tls of redis-1, redis-2, redis-3 is not what its server speaks"):
            step(one)
    run.check_protocol(site("replication", said=running("replication")))


def test_renewal(ca: Values) -> None:
    one = site("sentinel", said=running("sentinel", tls=True), **ca)
    before = issued(States(one)).issued("redis-1")
    found = run.renew(one)
    after = States(one).issued("redis-1")
    assert before is not None
    assert after is not None
    assert (before.ca, before.cert != after.cert) == (after.ca, True)
    assert list(found["hosts"]) == SERVERS
    assert after.cert in found["hosts"]["redis-1"]["secrets"].values()
    assert [part["part"] for part in found["sentinels"]["redis-1"]["sections"][0]["parts"]] == [
        "service_restarted",
        "sentinel_agrees",
    ]
    assert plain(found) == found


def test_a_renewal_in_check_mode_issues_nothing(ca: Values) -> None:
    one = site("sentinel", said=running("sentinel", tls=True), **ca)
    issued(States(one))
    directory = Path(ca["redis_tls_authority_dir"])
    before = {path: path.read_bytes() for path in directory.iterdir()}
    assert run.renew(one, check_mode=True) == {"issued": SERVERS, "hosts": {}, "sentinels": {}}
    assert {path: path.read_bytes() for path in directory.iterdir()} == before
    assert run.renew(one)["issued"] == SERVERS


def test_a_renewal_in_check_mode_makes_no_ca(ca: Values) -> None:
    one = site("sentinel", said=running("sentinel", tls=True), **ca)
    assert run.renew(one, check_mode=True)["issued"] == SERVERS
    assert not Path(ca["redis_tls_authority_dir"]).exists()


@pytest.mark.parametrize(
    ("mode", "text"), [("replication", "redis-1, redis-2, redis-3 has no TLS"), ("locmem", "no host has no TLS")]
)
def test_nothing_to_renew(mode: str, text: str) -> None:
    with pytest.raises(RunError, match=text):
        run.renew(site(mode, said=running(mode)))


# What runs, for people and for other tools


@pytest.mark.parametrize("mode", MODES)
def test_what_is_described_holds_no_secret(mode: str) -> None:
    one = site(mode, said=running(mode), redis_exporter_enabled=True)
    described, disclosed = run.describe(one), run.disclose(one)
    assert list(described) == list(disclosed) == States(one).names
    assert plain(described) == described
    assert [secret for secret in SECRETS.values() if secret in str(described)] == []
    app = disclosed["app-1"]["django_app_secrets"]
    assert app["secret_key"] == SECRETS["django_app_secret_key"]
    if mode != "locmem":
        assert disclosed["redis-1"]["redis_secrets"]["app"] == SECRETS["redis_password"]
        words = {"redis_described", "redis_exporter_described", "service_described"}
        assert words <= set(described["redis-1"])


def test_how_a_container_is_reached() -> None:
    own = {"redis-1": {"ansible_connection": "community.docker.docker", "ansible_docker_host": "unix:///run/d.sock"}}
    found = run.describe(site("standalone", own=own))["redis-1"]["service_described"]
    assert (found["connection"], found["container"]) == ("community.docker.docker", "unix:///run/d.sock")
    assert (found["manager"], found["supervisorctl"]) == ("systemd", [])
    supervised = site("standalone", service_manager="supervisor", service_dir="/home/me/services")
    found = run.describe(supervised)["redis-1"]["service_described"]
    assert (found["connection"], found["logs"]) == ("ssh", "/home/me/services/logs")
    assert found["supervisorctl"] == ["/opt/venv/bin/supervisorctl", "-c", "/home/me/services/supervisord.conf"]


def test_settings_need_no_host() -> None:
    found = run.settings(site("replication", apps=2, looked=False))
    assert list(found) == ["app-1", "app-2"]
    assert "'redis://10.0.0.1:6379'" in found["app-1"]
    assert "# No server was asked: redis-1 leads as far as the inventory knows." in found["app-1"]
    assert [secret for secret in SECRETS.values() if secret in str(found)] == []


def test_a_report_of_each_deployment() -> None:
    said = {**running("replication"), "redis-2": {"redis": leads(1)}, "redis-1": {"redis": follows("redis-2")}}
    said["redis-3"] = {"redis": follows("redis-2")}
    text = run.report(site("replication", apps=2, said=said))
    lines = [line.split() for line in text.splitlines()]
    assert [line[0] for line in lines] == ["mode", "Django", "Django", "leader", "replica", "replica"]
    assert lines[3][1:3] == ["10.0.0.2:6379", "redis-2,"]


def test_a_report_of_django_hosts_that_were_not_looked_at() -> None:
    one = site("locmem", apps=2)
    assert "app-2, caches: was not asked" in run.report(limited(one, "app-1"))
