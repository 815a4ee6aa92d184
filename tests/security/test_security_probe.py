"""The module security_probe against what it is to find: each check sees its fault, and says no secret."""

from __future__ import annotations

import functools
import http.server
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import redis_acl, server_exposure
from ansible.module_utils.redis_client import RedisClient, RedisError
from ansible.plugins.modules import security_probe

from conftest import Certificate
from parts import PASSWORD, ModuleRunner
from searching import ME, NEEDLES, SECRET, Programs
from servers import Farm, RedisServer, free_port

RULES: dict[str, Any] = {"clients": ["builtin"], "keys": ["dj:*"], "app_rules": [], "cluster": False}


Runs = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Runs the module."""
    return functools.partial(ModuleRunner(capsys, monkeypatch), security_probe)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(tmp_path / "bin", monkeypatch)


# Services, listeners, files


def test_service(program: Programs) -> None:
    program("systemd-analyze", "→ Overall exposure level for x.service: 4.1 OK 🙂\n")
    state = security_probe.service_state("x", ["echo", str(os.getpid())])
    assert (state["name"], state["pid"], state["exposure"]) == ("x", os.getpid(), 4.1)
    assert state["user"] == ME
    assert ("CapEff" in state["capabilities"]) is (ME == "root")
    mask = os.umask(0)
    os.umask(mask)
    assert int(state["umask"], 8) == mask
    assert security_probe.service_state("x", ["echo", "0"]) == {"name": "x", "pid": 0}


def test_accounts() -> None:
    assert security_probe.account(0)["user"] == "root"
    nobody = security_probe.account(65534)
    # Who is not root may not know.
    assert (nobody["shell"], nobody["is_locked"]) == ("/usr/sbin/nologin", True if ME == "root" else None)
    assert security_probe.account(4_000_000)["user"] == "4000000"


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")])
def test_listeners(family: int, address: str, kind: int, protocol: str) -> None:
    with socket.socket(family, kind) as server:
        server.bind((address, 0))
        if protocol == "tcp":
            server.listen()
        port = server.getsockname()[1]
        (found,) = [one for one in security_probe.listeners() if one["pid"] == os.getpid() and one["port"] == port]
    assert (found["protocol"], found["address"]) == (protocol, address)
    assert found["process"]


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("0::/system.slice/redis-6379.service\n", "redis-6379"),
        ("1:name=systemd:/docker/1/system.slice/system-redis.slice/redis@1.service\n0::/\n", "redis@1"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/app.service\n", "app"),
        ("0::/init.scope\n", ""),
        ("", ""),
    ],
)
def test_unit_of_a_process(monkeypatch: pytest.MonkeyPatch, line: str, unit: str) -> None:
    monkeypatch.setattr(security_probe, "text_of", lambda path: line)
    assert security_probe.unit_of("1") == unit


def test_closed_files(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir(mode=0o750)
    (tmp_path / "conf" / "secret").touch(mode=0o644)
    (tmp_path / "conf" / "link").symlink_to("/etc/passwd")
    found = security_probe.closed_files([f"{tmp_path}/co*", "/absent"])
    assert [(one["path"], one["mode"], one["is_folder"]) for one in found] == [
        (f"{tmp_path}/conf", "0750", True),
        (f"{tmp_path}/conf/secret", "0644", False),
    ]


def test_files_that_vanish_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers write anew what they keep, and apt its lists."""
    gone = str(tmp_path / "temp-1.rdb")
    kept = tmp_path / "dump.rdb"
    kept.touch(mode=0o640)
    assert [one["path"] for one in security_probe.existing([gone, str(kept)])] == [str(kept)]
    monkeypatch.setattr("glob.glob", lambda _: [gone])
    assert security_probe.package_state("redis-server")["age_days"] is None
    monkeypatch.setattr("glob.glob", lambda _: [gone, str(kept)])
    assert security_probe.package_state("redis-server")["age_days"] == 0


def test_unchecked_tls(tmp_path: Path) -> None:
    path = tmp_path / "settings.py"
    lines = ['"ssl_cert_reqs": "none",', "ssl_cert_reqs=None", "verify = ssl.CERT_NONE", '"ssl_check_hostname": False']
    lines += ['"KEY#1": "rediss://h?ssl_cert_reqs=none"', '"rediss://h?ssl_check_hostname=no"']
    path.write_text("\n".join([*lines, '"ssl_cert_reqs": "required",', "# ssl.CERT_NONE", "x = None"]))
    assert [one["line"] for one in security_probe.unchecked_tls(str(path))] == [1, 2, 3, 4, 5, 6]
    # What is no Python is looked at as it is.
    path.write_text("(ssl.CERT_NONE")
    assert [one["line"] for one in security_probe.unchecked_tls(str(path))] == [1]
    assert security_probe.unchecked_tls("/absent") == []


@pytest.mark.parametrize(
    ("policy", "installed", "candidate"),
    [
        ("redis-server:\n  Installed: 5:7.0.15-1\n  Candidate: 5:7.0.16-1\n", "5:7.0.15-1", "5:7.0.16-1"),
        ("redis-server:\n  Installed: (none)\n  Candidate: 5:7.0.16-1\n", "", "5:7.0.16-1"),
        ("", "", ""),
    ],
)
def test_packages(program: Programs, policy: str, installed: str, candidate: str) -> None:
    program("apt-cache", policy)
    state = security_probe.package_state("redis-server")
    assert (state["installed"], state["candidate"]) == (installed, candidate)


# Servers


def passwords(*names: str) -> dict[str, str]:
    return {name: f"the password of {name} é" for name in names}


USERS = passwords("admin", "app", "replica", "sentinel", "monitor")
MAY_NOTHING: dict[str, list[str]] = {name: [] for name in USERS if name != "admin"}


@pytest.fixture
def redis(farm: Farm) -> RedisServer:
    """A server with the users that the roles make."""
    server = farm.server()
    version = redis_acl.version_of(server.client().info("server")["valkey_version"])
    app = redis_acl.app_rules(RULES["clients"], RULES["cluster"], RULES["keys"], RULES["app_rules"])
    for name, password in USERS.items():
        words = [redis_acl.hashed(password), *redis_acl.rules(name, version, app)]
        server.ask("ACL", "SETUSER", name, "reset", "on", *words)
    server.ask("ACL", "SETUSER", "default", "off", "resetpass")
    return server


def asked(server: RedisServer, users: Mapping[str, str] = USERS, **changes: Any) -> dict[str, Any]:
    place: dict[str, Any] = {"address": server.host, "port": server.port, "tls_name": None, "tls_ca_file": None}
    return {**place, "is_sentinel": False, "passwords": dict(users), **RULES, **changes}


def as_admin(server: RedisServer, *words: str, user: str = "admin") -> None:
    with RedisClient(server.host, server.port) as client:
        client.command("AUTH", user, USERS[user])
        client.command(*words)


def look(server: RedisServer, **changes: Any) -> dict[str, Any]:
    return server_exposure.server_state(asked(server, **changes), 3)


def test_a_server_as_it_should_be(redis: RedisServer) -> None:
    state = look(redis)
    assert state["error"] == ""
    assert state["stranger"] == {"PING": "NOAUTH", "INFO": "NOAUTH", f"GET {server_exposure.KEY}": "NOAUTH"}
    assert (state["guesses"], state["denied"]) == (0, [])
    assert state["logins"] == dict.fromkeys(USERS, "OK")
    assert state["may"] == MAY_NOTHING
    assert [(user["more"], user["needs_none"]) for user in state["users"]] == [([], False)] * 6
    assert [user["name"] for user in state["users"] if not user["is_on"]] == ["default"]
    assert state["config"]["protected-mode"] == "yes"
    assert all(password not in str(state) for password in USERS.values())
    assert "#" not in str(state)


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ("+keys", ["KEYS *"]),
        ("+config|get", ["CONFIG GET *"]),
        (
            "+@dangerous",
            ["FLUSHALL", "SHUTDOWN NOSAVE", "REPLICAOF NO ONE", "DEBUG SLEEP 0", "MONITOR", "SAVE", "INFO"],
        ),
        ("+eval", ["EVAL return(1) 0"]),
        ("+script", ["SCRIPT FLUSH"]),
        ("~*", [f"GET {server_exposure.KEY}", f"SET {server_exposure.KEY} x"]),
        ("allcommands", ["CLUSTER RESET", "ACL LIST", "MODULE LIST", "CLIENT LIST", "SWAPDB 0 1"]),
    ],
)
def test_a_rule_too_many_is_seen(redis: RedisServer, rule: str, allowed: list[str]) -> None:
    as_admin(redis, "ACL", "SETUSER", "app", rule)
    state = look(redis)
    assert set(allowed) <= set(state["may"]["app"])
    (app,) = [user for user in state["users"] if user["name"] == "app"]
    assert app["more"]
    # Nothing of what was tried has happened.
    assert look(redis)["error"] == ""


def test_channels_are_seen(redis: RedisServer) -> None:
    as_admin(redis, "ACL", "SETUSER", "sentinel", "allchannels")
    assert look(redis)["may"]["sentinel"] == ["PUBLISH security-probe x", "SUBSCRIBE security-probe"]


def test_what_the_inventory_gives_is_not_too_much(redis: RedisServer) -> None:
    as_admin(redis, "ACL", "SETUSER", "app", "+eval", "+scan", "~other:*")
    rules = {"app_rules": ["+eval", "+scan"], "keys": ["dj:*", "other:*"]}
    state = look(redis, **rules)
    assert state["may"]["app"] == []
    assert [user["more"] for user in state["users"]] == [[]] * 6


@pytest.mark.parametrize(
    ("words", "guesses"),
    [
        (["on", "nopass"], 10),
        (["on", ">foobared"], 2),
        (["on", f">{USERS['app']}"], 2),
    ],
)
def test_the_user_default_is_tried(redis: RedisServer, words: list[str], guesses: int) -> None:
    as_admin(redis, "ACL", "SETUSER", "default", *words)
    state = look(redis)
    assert state["guesses"] == guesses
    assert state["stranger"]["PING"] == ("OK" if "nopass" in words else "NOAUTH")
    (default,) = [user for user in state["users"] if user["name"] == "default"]
    assert (default["is_on"], default["needs_none"]) == (True, "nopass" in words)


def test_other_passwords_and_other_users_are_seen(redis: RedisServer) -> None:
    as_admin(redis, "ACL", "SETUSER", "app", ">another password")
    as_admin(redis, "ACL", "SETUSER", "monitor", "resetpass", ">another password")
    as_admin(redis, "ACL", "SETUSER", "stranger", "on", "nopass", "+@all", "~*")
    state = look(redis)
    users = {user["name"]: user for user in state["users"]}
    assert users["app"]["passwords"] == 2
    assert users["stranger"]["is_on"]
    assert (state["logins"]["app"], state["logins"]["monitor"]) == ("OK", "WRONGPASS")


def test_denials_of_users_are_seen_but_not_the_probes_own(redis: RedisServer) -> None:
    look(redis)
    assert look(redis)["denied"] == []
    with pytest.raises(RedisError, match="NOPERM"):
        as_admin(redis, "KEYS", "*", user="app")
    (entry,) = look(redis)["denied"]
    assert (entry["user"], entry["reason"], entry["object"]) == ("app", "command", "keys")


@pytest.mark.parametrize(
    "rule", ["-@all +multi +swapdb +flushall +keys", "+flushall +swapdb +keys", "-multi +flushall +keys"]
)
def test_a_server_that_cannot_say_what_a_user_may(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """As before Redis 7: in a transaction that is never run, or where it may have none, by what does no harm."""
    monkeypatch.setattr(server_exposure, "DRY_RUN_SINCE", (99, 0))
    assert look(redis)["may"] == MAY_NOTHING
    as_admin(redis, "ACL", "SETUSER", "app", *rule.split())
    wanted = ["KEYS *"] if "-multi" in rule else ["FLUSHALL", "KEYS *", "SWAPDB 0 1"]
    for _ in range(2):
        state = look(redis)
        assert (state["may"]["app"], state["error"], state["denied"]) == (wanted, "", [])


def test_categories_are_what_is_in_them(redis: RedisServer) -> None:
    """Redis 6 says `+@transaction -watch` where it was told `+multi` and others."""
    with RedisClient(redis.host, redis.port) as owner:
        owner.command("AUTH", "admin", USERS["admin"])
        line = "user x on #00 ~x -@all +@transaction -watch -unwatch +get"
        found = server_exposure.acl_user(owner, line, {"x": ["~x", "+get", "+multi", "+exec"]})
    assert found["more"] == ["+discard"]


def test_a_server_with_one_password(farm: Farm) -> None:
    users = {"default": PASSWORD}
    state = server_exposure.server_state(asked(farm.server(PASSWORD), users), 3)
    assert (state["error"], state["users"], state["guesses"]) == ("", [], 0)
    assert state["stranger"]["PING"] == "NOAUTH"
    state = server_exposure.server_state(asked(farm.server(), users), 3)
    assert set(state["stranger"].values()) == {"OK"}
    state = server_exposure.server_state(asked(farm.server("redis"), users), 3)
    assert (state["guesses"], state["error"]) == (2, "WRONGPASS")


def test_a_server_that_is_away(farm: Farm) -> None:
    state = server_exposure.server_state({**asked(farm.server()), "port": free_port()}, 3)
    assert state["error"] == "Connection refused"


def test_a_sentinel(farm: Farm) -> None:
    leader = farm.server()
    (host, port), *_ = farm.sentinels(leader)
    users = passwords("default", "admin", "sentinel")
    with RedisClient(host, port) as owner:
        version = redis_acl.version_of(owner.info("server")["valkey_version"])
        for name, password in reversed(users.items()):
            words = [redis_acl.hashed(password), *redis_acl.sentinel_rules(name, version)]
            owner.command("ACL", "SETUSER", name, "reset", "on", *words)
    server = {**asked(leader, users), "port": port, "is_sentinel": True}
    state = server_exposure.server_state(server, 3)
    assert (state["error"], state["guesses"]) == ("", 0)
    assert set(state["stranger"].values()) == {"NOAUTH"}
    assert state["may"] == {"default": [], "sentinel": []}
    assert state["logins"] == dict.fromkeys(users, "OK")
    assert [user["more"] for user in state["users"]] == [[]] * 3
    with RedisClient(host, port) as owner:
        owner.command("AUTH", "admin", users["admin"])
        owner.command("ACL", "SETUSER", "default", "+sentinel|failover", "+info")
    state = server_exposure.server_state(server, 3)
    assert state["may"]["default"] == ["INFO", "SENTINEL FAILOVER x"]


# Web servers


@pytest.fixture
def web() -> Iterator[Callable[[Mapping[str, str]], int]]:
    """Serve pages by path, or by `path of host`, on loopback. Return the port."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(pages: Mapping[str, str]) -> int:
        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = pages.get(self.path, pages.get(f"{self.path} of {self.headers['Host']}"))
                self.send_response(404 if text is None else 200)
                self.end_headers()
                self.wfile.write((text or "").encode())

            def log_message(self, *_: Any) -> None:
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server.server_port

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_pages(web: Callable[[Mapping[str, str]], int]) -> None:
    port = web({"/": "all is well", "/debug": "you have DEBUG = True", "/bad": f"rediss://x:{SECRET}@redis-1"})
    pages = [
        security_probe.page_state(f"http://127.0.0.1:{port}/{page}", "", NEEDLES, 2)
        for page in ("", "debug", "bad", "x")
    ]
    assert [(page["status"], page["words"], page["secrets"]) for page in pages] == [
        (200, [], []),
        (200, ["DEBUG = True"], []),
        (200, ["rediss://"], ["password"]),
        (404, [], []),
    ]


def test_a_page_is_asked_for_at_the_name_of_the_site(web: Callable[[Mapping[str, str]], int]) -> None:
    port = web({"/ of shop.example": "all is well"})
    url = f"http://127.0.0.1:{port}/"
    assert security_probe.page_state(url, "shop.example", NEEDLES, 2)["status"] == 200
    assert security_probe.page_state(url, "", NEEDLES, 2)["status"] == 404
    assert security_probe.page_state("http://127.0.0.1:1/", "", NEEDLES, 2)["status"] == 0


# The whole of it


def test_security_probe(run: Runs, redis: RedisServer, tmp_path: Path, certificate: Certificate) -> None:
    """Everything at once; what is found is said by name alone, and nothing is written."""
    (tmp_path / "conf").write_text(f"password {USERS['app']}")
    result = run(
        True,
        secrets={"redis app": USERS["app"], "own": SECRET},
        folders=[str(tmp_path)],
        services=[{"name": "x", "pid_command": ["echo", str(os.getpid())]}],
        closed=[str(tmp_path)],
        servers=[{"address": redis.host, "port": redis.port, "passwords": USERS, **RULES}],
        tls=[{"address": redis.host, "port": redis.port, "name": "x", "ca_file": str(certificate.ca_file)}],
        timeout=2,
    )
    assert (result["changed"], result.get("failed")) == (False, None)
    (file,) = result["secrets"]["files"]
    assert (file["path"], file["secrets"]) == (str(tmp_path / "conf"), ["redis app"])
    assert result["servers"][0]["logins"] == dict.fromkeys(USERS, "OK")
    assert result["tls"][0]["plain"].startswith("-NOAUTH")
    assert result["is_root"] == (os.geteuid() == 0)
    assert result["kernel"]["overcommit_memory"] in ("0", "1", "2")
    assert all(value not in json.dumps(result, ensure_ascii=False) for value in (*USERS.values(), SECRET))


def test_an_error_that_repeats_a_password_is_not_repeated(run: Runs, say_back: int) -> None:
    server = {"address": "127.0.0.1", "port": say_back, "passwords": {"default": SECRET}}
    result = run(folders=[], servers=[server], timeout=2)
    assert result["servers"][0]["error"] == "ERR"
    assert SECRET not in json.dumps(result)


@pytest.fixture
def say_back() -> Iterator[int]:
    """A server that, as an old Redis does, repeats the arguments of what it does not know. Return the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client:
            while data := client.recv(4096):
                client.sendall(
                    b"-ERR unknown command, with args beginning with: " + data.replace(b"\r\n", b" ") + b"\r\n"
                )

    def accept() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()
