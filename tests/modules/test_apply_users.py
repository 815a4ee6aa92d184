"""The part users: who may log in, to a file and to servers that run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.run import Run
from ansible.module_utils.host.users import TO_LEADER, Desired, State, users
from ansible.module_utils.redis_client import RedisClient, RedisError, connect, connection_of, credentials, quote

from parts import PASSWORD, apply, connection, may, refused
from servers import Farm, RedisServer, free_port, server_binary

USERS = {"admin": PASSWORD, "app": "app's", "replica": 're"plica', "monitor": "figures"}

UsersOf = Callable[..., dict[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file that the server's configuration includes."""
    return tmp_path / "auth.conf"


@pytest.fixture
def users_of(path: Path) -> UsersOf:
    """The parameters for a server, or for a port without one."""

    def asked(server: RedisServer | None = None, **more: Any) -> dict[str, Any]:
        port = server.port if server else free_port()
        words = {"program": str(server_binary()), "passwords": USERS, "clients": ["builtin"], "keys": ["dj/*"]}
        return {"connection": connection(port, path), "candidate": f"port {port}\ninclude {path}\n", **words, **more}

    return asked


@pytest.fixture
def server(farm: Farm, path: Path) -> RedisServer:
    """A server that was deployed with one password."""
    path.write_text('requirepass "old"\n')
    return farm.server("old")


def as_admin(server: RedisServer, *command: str) -> Any:
    """What a server answers to the roles' own user."""
    with RedisClient(server.host, server.port) as admin:
        admin.command("AUTH", "admin", PASSWORD)
        return admin.command(*command)


def test_before_the_server_runs(users_of: UsersOf, path: Path) -> None:
    asked = users_of(mode="0640")
    assert apply(users, asked, check=True)["changed"] is True
    assert not path.exists()
    result = apply(users, asked)
    assert (result["changed"], result["is_new"], result["users"]) == (True, True, [])
    for password in USERS.values():
        assert password not in str(result)
    assert credentials(str(path)) == ("admin", PASSWORD)
    assert path.stat().st_mode & 0o777 == 0o640
    for check in (False, True):
        assert apply(users, asked, check)["changed"] is False
    path.chmod(0o644)
    result = apply(users, asked)
    assert (result["changed"], result["is_new"]) == (True, False)
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_empty_host_in_check_mode(users_of: UsersOf, tmp_path: Path) -> None:
    """Neither the program nor the users nor the directory are there yet."""
    asked = users_of(program=str(tmp_path / "nothing"), run_as="nobody-yet", owner="nobody-yet", group="nobody-yet")
    asked["connection"]["auth_file"] = str(tmp_path / "absent" / "auth.conf")
    assert apply(users, asked, check=True)["changed"] is True


def test_a_running_server_gets_its_users_at_once(server: RedisServer, users_of: UsersOf, path: Path) -> None:
    """Without a restart, and a run that changed the server and did not write the file is done again."""
    asked = users_of(server)
    for attempt in range(2):
        path.write_text('requirepass "old"\n')
        foretold = apply(users, asked, check=True)
        assert foretold["changed"] is True
        result = apply(users, asked)
        assert (result["changed"], result["users"]) == (True, foretold["users"])
        assert ("app" in result["users"]) is (attempt == 0)
    assert apply(users, asked)["changed"] is False
    assert may(server, "", "old", "PING") == "WRONGPASS"
    assert may(server, "app", USERS["app"], "SET", "dj/builtin:1:x", "1") == "OK"
    assert may(server, "app", USERS["app"], "SET", "other:1:x", "1") == "NOPERM"
    for command in ("KEYS *", "CONFIG GET *", "FLUSHALL", "EVAL 1 0", "ACL LIST", "INFO", "REPLICAOF NO ONE", "SAVE"):
        assert may(server, "app", USERS["app"], *command.split()) == "NOPERM", command
    assert may(server, "monitor", USERS["monitor"], "CONFIG", "GET", "masterauth") == "NOPERM"
    assert may(server, "replica", USERS["replica"], "GET", "dj/x") == "NOPERM"


# What somebody may have changed by hand, and how the result names it.
DRIFT = {
    "a widened rule": (["ACL", "SETUSER", "app", "+@all", "allkeys"], ["app"]),
    "another command": (["ACL", "SETUSER", "monitor", "+keys"], ["monitor"]),
    "a narrowed rule": (["ACL", "SETUSER", "app", "-get"], ["app"]),
    "a second password": (["ACL", "SETUSER", "app", ">another"], ["app"]),
    "no password": (["ACL", "SETUSER", "app", "nopass"], ["app"]),
    "a user switched off": (["ACL", "SETUSER", "replica", "off"], ["replica"]),
    "a user deleted": (["ACL", "DELUSER", "replica"], ["replica"]),
    "a user of another mode": (["ACL", "SETUSER", "sentinel", "on", ">x", "+@all"], ["sentinel"]),
    "a user whom nobody knows": (["ACL", "SETUSER", "guest", "on", "nopass", "~*", "+@all"], ["guest"]),
    "another password of the roles": (["ACL", "SETUSER", "admin", ">another"], ["admin"]),
    "default switched on": (["ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all"], ["default"]),
    "default with a password": (["CONFIG", "SET", "requirepass", "x"], ["default"]),
    "another login to the leader": (["CONFIG", "SET", "masterauth", "x"], [TO_LEADER]),
    "another user for the leader": (["CONFIG", "SET", "masteruser", "x"], [TO_LEADER]),
}


@pytest.mark.parametrize(("command", "differs"), DRIFT.values(), ids=DRIFT)
def test_what_somebody_changed_is_named_and_healed(
    server: RedisServer, users_of: UsersOf, command: list[str], differs: list[str]
) -> None:
    asked = users_of(server)
    apply(users, asked)
    clean = as_admin(server, "ACL", "LIST")
    for check in (True, False):
        assert apply(users, asked, check)["users"] == []
    as_admin(server, *command)
    foretold = apply(users, asked, check=True)
    assert (foretold["changed"], foretold["is_new"], foretold["users"]) == (True, False, differs)
    result = apply(users, asked)
    assert (result["changed"], result["users"]) == (True, differs)
    assert sorted(as_admin(server, "ACL", "LIST")) == sorted(clean)
    for check in (True, False):
        assert apply(users, asked, check)["changed"] is False


def test_what_somebody_changed_while_clients_have_the_former_ways_in(server: RedisServer, users_of: UsersOf) -> None:
    """What only adds to a user is finished with the rest; what takes away or opens the server is not."""
    asked = users_of(server, finish=False)
    apply(users, {**asked, "finish": True})
    as_admin(server, "ACL", "SETUSER", "app", ">another", "+@all", "allkeys")
    for check in (True, False):
        result = apply(users, asked, check)
        assert (result["changed"], result["users"]) == (False, [])
        assert may(server, "app", "another", "GET", "other") == "None"
    assert apply(users, asked, check=True, finish=True)["users"] == ["app"]
    as_admin(server, "ACL", "SETUSER", "app", "nopass")
    as_admin(server, "ACL", "SETUSER", "default", "on", "nopass", "~*", "+@all")
    assert apply(users, asked, check=True)["users"] == ["default", "app"]
    assert apply(users, asked)["users"] == ["default", "app"]
    assert may(server, "app", "anything", "PING") == may(server, "", "anything", "PING") == "WRONGPASS"


def test_clients_keep_their_ways_in_until_they_have_the_new_ones(server: RedisServer, users_of: UsersOf) -> None:
    asked = users_of(server, finish=False)
    apply(users, asked)
    assert may(server, "", "old", "GET", "x") == "None"
    changed = {**asked, "passwords": {**USERS, "app": "next"}, "keys": ["shop/*"]}
    for check in (True, False):
        assert apply(users, changed, check)["users"] == ["app"]
    for password in (USERS["app"], "next"):
        assert may(server, "app", password, "GET", "dj/x") == may(server, "app", password, "GET", "shop/x") == "None"
    for check in (True, False):
        again = apply(users, changed, check)
        assert (again["changed"], again["users"]) == (False, [])
    assert may(server, "", "old", "GET", "x") == may(server, "app", USERS["app"], "GET", "dj/x") == "None"
    finished = apply(users, changed, finish=True)
    assert (finished["changed"], finished["users"]) == (True, ["default", "app"])
    assert may(server, "", "old", "GET", "x") == may(server, "app", USERS["app"], "GET", "shop/x") == "WRONGPASS"
    assert may(server, "app", "next", "GET", "dj/x") == "NOPERM"
    assert apply(users, changed)["changed"] is False


@pytest.mark.parametrize("rules", [["+@all", "-@dangerous"], ["+@read", "-keys"]])
def test_what_the_rules_take_back_is_never_kept(server: RedisServer, users_of: UsersOf, rules: list[str]) -> None:
    asked = users_of(server, finish=False, app_rules=rules)
    apply(users, asked, finish=True)
    assert may(server, "app", USERS["app"], "KEYS", "*") == "NOPERM"
    assert apply(users, asked)["changed"] is False
    changed = {**asked, "passwords": {**USERS, "app": "next"}}
    apply(users, changed)
    assert may(server, "app", USERS["app"], "PING") == "PONG"
    for password in (USERS["app"], "next"):
        assert may(server, "app", password, "KEYS", "*") == "NOPERM"


def test_a_user_that_may_use_every_key(server: RedisServer, users_of: UsersOf) -> None:
    """The server refuses a pattern after the one for everything, which must not cost the former password."""
    asked = users_of(server, finish=False)
    apply(users, asked)
    every = {**asked, "passwords": {**USERS, "app": "next"}, "app_rules": ["~*", "&news", "&*"]}
    apply(users, every)
    for password in (USERS["app"], "next"):
        assert may(server, "app", password, "GET", "other") == "None"
    narrow = {**asked, "passwords": every["passwords"]}
    apply(users, narrow)
    assert may(server, "app", USERS["app"], "GET", "other") == "None"
    for check in (True, False):
        assert apply(users, narrow, check)["changed"] is False


@pytest.mark.parametrize("before", ["", "old"])
def test_one_password(farm: Farm, users_of: UsersOf, path: Path, before: str) -> None:
    server = farm.server(before)
    asked = users_of(server, passwords={"default": PASSWORD})
    path.write_text(f"requirepass {quote(before)}\n")
    assert apply(users, asked, check=True)["changed"] is True
    assert apply(users, asked)["changed"] is True
    for check in (True, False):
        assert apply(users, asked, check)["changed"] is False
    assert credentials(str(path)) == ("", PASSWORD)
    with connect(connection_of(asked["connection"])) as admin:
        for name in ("requirepass", "masterauth"):
            assert admin.command("CONFIG", "GET", name) == [name, PASSWORD]
        admin.command("CONFIG", "SET", "masterauth", "")
    assert apply(users, asked, check=True)["users"] == [TO_LEADER]
    with RedisClient(server.host, server.port) as stranger, pytest.raises(RedisError, match=r"^NOAUTH "):
        stranger.command("PING")


def test_users_are_taken_away_again(server: RedisServer, users_of: UsersOf) -> None:
    asked = users_of(server)
    apply(users, asked)
    without = {**asked, "passwords": {"default": "one"}}
    apply(users, without, finish=False)
    assert may(server, "app", USERS["app"], "GET", "dj/x") == may(server, "", "one", "GET", "dj/x") == "None"
    assert apply(users, without)["users"] == ["admin", "app", "replica", "monitor"]
    assert may(server, "app", USERS["app"], "GET", "dj/x") == "WRONGPASS"


def test_a_server_that_nobody_knows_the_password_of(server: RedisServer, users_of: UsersOf, path: Path) -> None:
    asked = users_of(server, passwords={"default": "opensesame"})
    path.write_text('requirepass "wrong"\n')
    for check in (True, False):
        text = refused(users, asked, check)
        assert text.startswith(f"the server on port {server.port} does not take its users: WRONGPASS ")
        assert "opensesame" not in text
    assert path.read_text() == 'requirepass "wrong"\n'


def test_a_rule_that_the_program_does_not_know_is_refused(server: RedisServer, users_of: UsersOf, path: Path) -> None:
    """Whether a server runs or not, with nothing changed and nothing told."""
    for asked in (users_of(server, app_rules=["+nonsense"]), users_of(app_rules=["+nonsense"])):
        for check in (True, False):
            text = refused(users, asked, check)
            assert "'+nonsense'" in text
            assert text.endswith("; see redis_app_rules")
            assert PASSWORD not in text
    assert path.read_text() == 'requirepass "old"\n'
    assert may(server, "", "old", "PING") == "PONG"


def test_a_server_without_users_has_one_password() -> None:
    """Before version 6, of which no program is at hand here."""
    desired = Desired({"default": "next"}, [], finish=True)
    about_to = State({}, "next", ("next", ""))
    assert desired.differences(State({}, "old", ("old", "")), about_to) == ["default", TO_LEADER]
    assert desired.differences(about_to, about_to) == []
    # The new program has users, and the running server has not.
    assert desired.differences(about_to, State({"default": {"on"}}, "next", ("next", ""))) == []


def test_the_trial_server_is_shared(users_of: UsersOf) -> None:
    run = Run(check_mode=True)
    try:
        asked = users_of()
        users(asked, run)
        trial = run.trial(run._trial.setup) if run._trial else None
        users({**asked, "finish": False}, run)
        assert trial is not None
        assert trial is run._trial
    finally:
        run.close()


def test_a_diff_shows_what_changes_and_no_password(users_of: UsersOf) -> None:
    diff = apply(users, users_of())["diff"]
    assert "user app on *** ~dj/*" in str(diff)
    assert not any(password in str(diff) for password in USERS.values())
