"""What is wrong with what the hosts said: one deployment that is as it should be, and each fault of it."""

from __future__ import annotations

import copy
import functools
from typing import Any, cast

import pytest

from sample_audit import CONTROL, HOLD, audited, file, judged, listener, user


@pytest.fixture
def hostvars() -> dict[str, Any]:
    """Hosts with nothing wrong."""
    return audited()


def test_a_deployment_as_it_should_be(hostvars: dict[str, Any]) -> None:
    assert judged(hostvars) == {"faults": [], "notes": []}


def put(said: dict[str, Any], path: str, value: Any) -> None:
    """Change what a host said: `services.0.user`, or with + at the end of the path, append to a list."""
    *above, last = path.rstrip("+").split(".")
    steps = [int(word) if word.isdigit() else word for word in above]
    target: Any = functools.reduce(lambda found, step: found[step], steps, cast(Any, said))
    if path.endswith("+"):
        target[last].append(value)
    else:
        target[int(last) if last.isdigit() else last] = value


LOG = file("/var/log/x", "0600", secrets=["redis app"], is_log=True)
STRAY = file("/tmp/x", "0600", secrets=["redis app"], is_log=False)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("secrets.short+", "redis app", "the secret redis app has fewer than 8 characters"),
        ("secrets.files+", LOG, "/var/log/x (0600 root:redis) has the secret redis app: a log must not"),
        ("secrets.files+", STRAY, "/tmp/x (0600 root:redis) has the secret redis app, which does not belong there"),
        ("secrets.files.0.mode", "0644", f"{HOLD} (0644 root:redis) has the secret redis admin, and everybody may"),
        ("secrets.files.0.mode", "0660", "its group may write it"),
        ("secrets.files.0.group", "users", f"{HOLD} (0640 root:users) has the secret redis admin, and belongs neither"),
        ("secrets.files.0.owner", "www-data", f"{HOLD} (0640 www-data:redis) has the secret redis admin, and belongs"),
        (
            "secrets.processes+",
            {"pid": 7, "name": "x", "in": "cmdline", "secrets": ["a", "b"]},
            "secret a and b in its arg",
        ),
        ("secrets.processes+", {"pid": 7, "name": "x", "in": "environ", "secrets": ["a"]}, "in its environment"),
        ("secrets.journal+", {"unit": "x", "entries": 3, "secrets": ["a"]}, "the journal of x has the secret a (3"),
        ("secrets.units+", {"unit": "x.service", "secrets": ["a"]}, "systemctl show x.service has the secret a"),
        ("services.0.pid", 0, "redis-6379 does not run"),
        ("services.0.user", "root", "redis-6379 runs as root"),
        ("services.0.shell", "/bin/bash", "its user redis has the shell /bin/bash"),
        ("services.0.is_locked", False, "its user redis has a password"),
        ("services.0.groups", ["redis", "docker"], "its user redis is in docker"),
        ("services.0.capabilities", ["CapEff"], "redis-6379 has capabilities (CapEff)"),
        ("services.0.no_new_privileges", False, "redis-6379 may gain privileges"),
        ("services.0.seccomp", 0, "redis-6379 may use every system call"),
        ("services.0.umask", "0022", "(umask 0022)"),
        ("services.0.exposure", 1.6, "redis-6379 has the exposure 1.6, and 1.5 is the worst"),
        ("services.0.exposure", None, "redis-6379 has no score"),
        ("listeners+", listener("0.0.0.0", 6379, "redis-6379"), "listens on tcp 0.0.0.0:6379, on every address"),
        ("listeners+", listener("::", 26379, "redis-sentinel-26379"), "listens on tcp [::]:26379, on every address"),
        ("listeners+", listener("10.0.0.2", 6379, "redis-6379"), "and the inventory does not say so"),
        ("listeners+", listener("10.0.0.1", 16379, "redis-6379"), "10.0.0.1:16379, and the inventory does not say so"),
        ("listeners+", listener("127.0.0.1", 7000, "redis-6379"), "tcp 127.0.0.1:7000, and the inventory does not say"),
        ("listeners+", listener("10.0.0.1", 6379, "redis-6379", protocol="udp"), "listens on udp 10.0.0.1:6379"),
        (
            "listeners+",
            listener("127.0.0.1", 6379, "redis-server"),
            "tcp 127.0.0.1:6379, and the inventory does not say",
        ),
        ("listeners+", listener("::", 9121, "", "prometheus-redi"), "(prometheus-redi) listens on tcp [::]:9121"),
        (
            "listeners+",
            listener("0.0.0.0", 26379, "redis-sentinel"),
            "redis-sentinel (redis-server) listens on tcp 0.0.0.0",
        ),
        (
            "listeners+",
            listener("0.0.0.0", 6379, "", "socat"),
            "socat listens on tcp 0.0.0.0:6379, which is a port of the",
        ),
        ("closed+", file("/etc/redis/x", "0644"), "everybody may open /etc/redis/x (0644 root:redis)"),
        ("closed+", file("/etc/redis/x", "0757", is_folder=True), "everybody may write /etc/redis/x"),
        ("sockets+", file("/run/redis.sock", "0777"), "everybody may connect to /run/redis.sock (0777)"),
        (
            "sources+",
            {"path": "settings.py", "line": 3, "text": "CERT_NONE"},
            "settings.py, line 3: CERT_NONE: TLS that",
        ),
        ("kernel.overcommit_memory", "0", "vm.overcommit_memory is not 1"),
        ("kernel.transparent_hugepages", "always", "transparent huge pages are always on"),
        ("packages.0.candidate", "5:8", "redis-server 5:7 is installed, and there is 5:8"),
        ("tls.0.error", "certificate has expired", "refuses the certificate: certificate has expired"),
        ("tls.0.plain", "-NOAUTH", "10.0.0.1:6379 answers without TLS"),
        ("tls.0.versions", ["TLSv1_2"], "does not take TLSv1_3"),
        ("tls.0.versions", ["TLSv1", "TLSv1_2", "TLSv1_3"], "takes the outdated TLSv1;"),
        ("tls.0.weak_cipher", "AECDH-NULL-SHA", "takes the weak cipher AECDH-NULL-SHA"),
        ("tls.0.any_name", True, "is taken for a name that it is not for"),
        ("tls.0.days_left", 29, "its certificate expires in 29 days"),
        ("tls.0.authority_days_left", 29, "its certificate's authority expires in 29 days"),
        ("servers.0.stranger.PING", "OK", "Redis on 10.0.0.1:6379 answers PING of a client without a password (OK)"),
        ("servers.0.guesses", 1, "lets the user default in"),
        ("servers.0.error", "WRONGPASS", "could not be asked further: WRONGPASS"),
        ("servers.0.users.0.is_on", True, "the user default is on, and the inventory does not know it"),
        ("servers.0.users+", user("eve"), "the user eve is on, and the inventory does not know it"),
        ("servers.0.users.1.passwords", 2, "the user admin has 2 passwords, and so the former one still opens it"),
        ("servers.0.users.2.needs_none", True, "the user app needs no password"),
        (
            "servers.0.users.2.more",
            ["~*", "+keys"],
            "the user app has rules that the inventory does not give it: ~* +keys",
        ),
        ("servers.0.logins.app", "WRONGPASS", "the user app does not get in with its password (WRONGPASS)"),
        ("servers.0.may.app", ["KEYS *", "SAVE"], "the user app may KEYS *, SAVE"),
        (
            "servers.0.denied+",
            {"user": "app", "object": "eval", "reason": "command", "count": 2},
            "the user app was denied eval (command, 2 times)",
        ),
        ("servers.0.config.protected-mode", "no", "has protected-mode no; it should be yes"),
        ("servers.0.config.enable-debug-command", "yes", "has enable-debug-command yes; it should be no"),
        ("servers.0.config.port", "6379", "has port 6379, and with TLS it should be 0"),
        ("servers.0.config.tls-replication", "no", "has tls-replication no, and with TLS it should be yes"),
    ],
)
def test_a_fault_of_a_redis_host(hostvars: dict[str, Any], path: str, value: Any, fault: str) -> None:
    put(hostvars["redis-1"]["security_probed"], path, value)
    (found,) = judged(hostvars)["faults"]
    assert found.startswith("redis-1: ")
    assert fault in found
    assert "; " in found, "it says what helps"


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("pages.0.secrets", ["django_app secret_key"], "http://127.0.0.1:8000/ shows the secret django_app secret_key"),
        ("pages.0.words", ["DEBUG = True"], "http://127.0.0.1:8000/ tells of the inside: DEBUG = True"),
        ("pages.0.status", 400, "http://127.0.0.1:8000/ answers the status 400, so nothing is known of it"),
        ("pages.0.status", 0, "http://127.0.0.1:8000/ answers nothing, so nothing is known of it"),
    ],
)
def test_a_fault_of_a_django_host(hostvars: dict[str, Any], path: str, value: Any, fault: str) -> None:
    put(hostvars["app-1"]["security_probed"], path, value)
    (found,) = judged(hostvars)["faults"]
    assert found.startswith(f"app-1: {fault}; ")


def test_djangos_own_checks(hostvars: dict[str, Any]) -> None:
    text = "?: (security.W018) You should not have DEBUG\n?: (security.W004) x\n?: (security.W018) hunter2"
    hostvars["app-1"]["django_app_checked"] = {"rc": 1, "stderr": text}
    (found,) = judged(hostvars)["faults"]
    assert found.startswith("app-1: manage.py check --deploy: security.W004, security.W018; ")


def test_djangos_own_checks_that_could_not_be_run(hostvars: dict[str, Any]) -> None:
    hostvars["app-1"]["django_app_checked"] = {"msg": "no such user", "failed": False}
    (found,) = judged(hostvars)["faults"]
    assert found.startswith("app-1: manage.py check --deploy: it fails; ")
    hostvars["app-1"]["django_app_checked"] = {"skipped": True}
    assert judged(hostvars)["faults"] == []


def test_djangos_own_checks_where_https_is_left_to_the_project(hostvars: dict[str, Any]) -> None:
    hostvars["app-1"]["django_app_described"]["https"] = False
    text = "?: (security.W004) x\n?: (security.W018) y"
    hostvars["app-1"]["django_app_checked"] = {"rc": 1, "stderr": text}
    found = judged(hostvars)
    assert [text.partition(";")[0] for text in found["faults"]] == ["app-1: manage.py check --deploy: security.W018"]
    assert [text.partition(";")[0] for text in found["notes"]] == ["app-1: manage.py check --deploy: security.W004"]


def test_a_service_that_does_not_run_says_nothing_of_who_owns_files(hostvars: dict[str, Any]) -> None:
    said = hostvars["redis-1"]["security_probed"]
    said["services"][0] = {"name": "redis-6379", "pid": 0}
    said["secrets"]["files"][0]["group"] = "valkey"
    (found,) = judged(hostvars)["faults"]
    assert "does not run" in found


def test_an_exporter_and_a_firewall(hostvars: dict[str, Any]) -> None:
    redis = hostvars["redis-1"]
    runs = {"sections": {"firewall": {"changed": False, "firewall_load": {"changed": False, "same": True}}}}
    other = {"sections": {"firewall": {"changed": True, "firewall_load": {"changed": True, "same": False}}}}
    for exporter, firewall in (({"heard": 0}, runs), ({"skipped": True}, {"skipped": True})):
        redis |= {"redis_exporter_probed": exporter, "firewall_compared": firewall}
        assert judged(hostvars)["faults"] == []
    # A comparison that could not be run has no sections.
    redis["firewall_compared"] = {"failed": False, "msg": "no such user"}
    assert len(judged(hostvars)["faults"]) == 1
    redis |= {"redis_exporter_probed": {"failed": False, "msg": "it logs in"}, "firewall_compared": other}
    exporter_fault, firewall_fault = judged(hostvars)["faults"]
    assert exporter_fault == "redis-1: the exporter: it logs in; run site.yml"
    assert firewall_fault.startswith("redis-1: the firewall's rules that run are not those of its file; ")


def test_a_fault_in_several_places_is_said_once(hostvars: dict[str, Any]) -> None:
    hostvars["redis-2"] = copy.deepcopy(hostvars["redis-1"])
    hostvars["redis-2"]["security_probed"]["machine"] = "three"
    for name in ("redis-1", "redis-2"):
        hostvars[name]["security_probed"]["services"][0]["shell"] = "/bin/sh"
    (found,) = judged(hostvars)["faults"]
    assert found.startswith("redis-1, redis-2: redis-6379: its user redis has the shell /bin/sh; ")


def test_two_servers_on_one_machine_know_each_other(hostvars: dict[str, Any]) -> None:
    other = copy.deepcopy(hostvars["redis-1"])
    other["redis_described"] |= {"service": "redis-6380", "port": 6380, "holds": ["/etc/redis/redis-6380.auth.conf"]}
    hostvars["redis-2"] = other
    for name in ("redis-1", "redis-2"):
        said = hostvars[name]["security_probed"]
        said["listeners"].append(listener("10.0.0.1", 6380, "redis-6380"))
        said["secrets"]["files"].append(file("/etc/redis/redis-6380.auth.conf", secrets=["redis app"], is_log=False))
    assert judged(hostvars)["faults"] == []


@pytest.mark.parametrize(
    ("bind", "notes"),
    [
        (["*"], ["every address, tcp 0.0.0.0:6379", "every address, tcp [::]:6379"]),
        (["0.0.0.0", "::"], ["every address, tcp 0.0.0.0:6379", "every address, tcp [::]:6379"]),
    ],
)
def test_every_address_where_the_inventory_says_so(hostvars: dict[str, Any], bind: list[str], notes: list[str]) -> None:
    hostvars["redis-1"]["redis_described"]["bind"] = bind
    places = [listener(address, 6379, "redis-6379") for address in ("0.0.0.0", "::")]
    hostvars["redis-1"]["security_probed"]["listeners"] = places
    found = judged(hostvars)
    assert found["faults"] == []
    assert all(note in text for note, text in zip(notes, found["notes"]))


def test_a_cluster(hostvars: dict[str, Any]) -> None:
    hostvars["redis-1"]["redis_described"]["is_cluster"] = True
    said = hostvars["redis-1"]["security_probed"]
    said["listeners"].append(listener("10.0.0.1", 16379, "redis-6379"))
    (found,) = judged(hostvars)["faults"]
    assert "has tls-cluster None, and with TLS it should be yes" in found
    said["servers"][0]["config"]["tls-cluster"] = "yes"
    assert judged(hostvars)["faults"] == []


@pytest.mark.parametrize(
    ("path", "value", "note"),
    [
        ("is_root", False, "did not run as root"),
        ("packages.0.age_days", 8, "newer packages for more than 7 days"),
        ("packages.0.age_days", None, "newer packages for more than 7 days"),
    ],
)
def test_notes(hostvars: dict[str, Any], path: str, value: Any, note: str) -> None:
    put(hostvars["redis-1"]["security_probed"], path, value)
    found = judged(hostvars)
    assert found["faults"] == []
    (text,) = found["notes"]
    assert note in text


def test_a_container_has_the_kernel_of_its_machine(hostvars: dict[str, Any]) -> None:
    said = hostvars["redis-1"]["security_probed"]
    said |= {"container": True, "kernel": {"overcommit_memory": "0", "transparent_hugepages": "always"}}
    found = judged(hostvars)
    assert (found["faults"], len(found["notes"])) == ([], 2)


def test_an_old_systemd_knows_less(hostvars: dict[str, Any]) -> None:
    said = hostvars["redis-1"]["security_probed"]
    said["systemd"], said["services"][0]["exposure"] = 247, 4.1
    assert judged(hostvars)["faults"] == []
    said["services"][0]["exposure"] = 4.6
    assert "4.5 is the worst" in judged(hostvars)["faults"][0]


def test_a_host_that_could_not_be_asked(hostvars: dict[str, Any]) -> None:
    hostvars["redis-1"]["security_probed"] = {"failed": True, "msg": "no Python"}
    (found,) = judged(hostvars)["faults"]
    assert found.startswith("redis-1: it could not be asked: no Python; ")
    (found,) = judged({}, {"failed": True, "msg": "no Python"})["faults"]
    assert found.startswith("the control machine: it could not be asked: no Python; ")


def test_the_control_machine() -> None:
    control = copy.deepcopy(CONTROL)
    kept = file("/home/me/inventory/secrets/redis_password.txt", "0600", secrets=["redis app"], is_log=False)
    control["secrets"]["files"] = [kept]
    assert judged({}, control)["faults"] == []
    kept["mode"] = "0644"
    control["secrets"]["files"].append(
        file("/home/me/inventory/group_vars/all.yml", secrets=["redis app"], is_log=False)
    )
    found = judged({}, control)["faults"]
    assert [text.split(" ")[3] for text in found] == [kept["path"], "/home/me/inventory/group_vars/all.yml"]
