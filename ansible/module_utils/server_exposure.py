"""What a Redis server or a Sentinel does for whom: strangers, old TLS, and each of its users. Says no secret.

Changes nothing on the server: what a user must not do is asked for in a way in which nothing happens if it may.
"""

from __future__ import annotations

import socket
import ssl
import time
import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible.module_utils.certificates import DAY, client_context
from ansible.module_utils.redis_acl import (
    ADMIN,
    CHANNELS_SINCE,
    DEFAULT,
    SETINFO_SINCE,
    Version,
    app_rules,
    rules,
    sentinel_rules,
    version_of,
)
from ansible.module_utils.redis_client import LOOPBACK, RedisClient, RedisError

# The versions of TLS, oldest first.
VERSIONS = ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3")
ALL_CIPHERS = "ALL:@SECLEVEL=0"
# Nobody's identity, nothing encrypted, or broken.
WEAK_CIPHERS = "aNULL:eNULL:EXPORT:LOW:RC4:3DES:@SECLEVEL=0"
WRONG_NAME = "wrong.invalid"

# Under this name the probe's own denials are in a server's log of them.
CLIENT = "security_probe"
# The rules with which a user can say a name.
NAMING = {"+hello", "+client|setname"}
# Nobody's key, and nobody's channel.
KEY, CHANNEL = "security-probe:1:x", "security-probe"
# What nobody but the roles' own user may do, by the first word, each with arguments that the server takes.
FORBIDDEN = (
    f"ACL LIST|ACL SETUSER {CLIENT}|BGREWRITEAOF|BGSAVE|CLIENT KILL 127.0.0.1:1|CLIENT LIST|CLUSTER RESET|CONFIG GET *|"
    "CONFIG REWRITE|CONFIG SET timeout 0|DEBUG SLEEP 0|EVAL return(1) 0|EVALSHA 0 0|FAILOVER|FCALL x 0|FLUSHALL|"
    f"FUNCTION LIST|GET {KEY}|INFO|KEYS *|LATENCY DOCTOR|MIGRATE 127.0.0.1 1 {KEY} 0 1|MODULE LIST|MODULE LOAD x|"
    f"MONITOR|PSYNC ? -1|PUBLISH {CHANNEL} x|RANDOMKEY|REPLICAOF NO ONE|RESTORE {KEY} 0 x|SAVE|SCAN 0|SCRIPT FLUSH|"
    f"SET {KEY} x|SHUTDOWN NOSAVE|SLAVEOF NO ONE|SLOWLOG GET|SORT {KEY}|SUBSCRIBE {CHANNEL}|SWAPDB 0 1|SYNC"
).split("|")
FORBIDDEN_TO_ASKERS = (
    f"ACL LIST|ACL SETUSER {CLIENT}|CLIENT KILL 127.0.0.1:1|CLIENT LIST|CONFIG GET *|INFO|PUBLISH {CHANNEL} x|"
    "SENTINEL CONFIG GET *|SENTINEL FAILOVER x|SENTINEL MONITOR x 127.0.0.1 1 1|SENTINEL REMOVE x|SENTINEL RESET x|"
    "SENTINEL SET x quorum 1|SHUTDOWN NOSAVE"
).split("|")
# Those of which even the doing does nothing.
HARMLESS = {"ACL LIST", "CLIENT LIST", "CONFIG GET *", f"GET {KEY}", "INFO", "KEYS *", "MODULE LIST", "SLOWLOG GET"}
# The version that says what a user may without doing it.
DRY_RUN_SINCE = (7, 0)
GUESSES = ("", "foobared", "redis", "password", "default")
SETTINGS = [
    "bind",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "masteruser",
    "port",
    "protected-mode",
    "replica-read-only",
    "tls-cluster",
    "tls-port",
    "tls-protocols",
    "tls-replication",
]


def tls_state(address: str, port: int, name: str, ca_file: str, timeout: float) -> dict[str, Any]:
    """What a server with TLS takes, and what its certificate is worth to a client that trusts ``ca_file``.

    Returns ``versions`` that it takes, a ``weak_cipher`` that it takes or "", ``plain``, what it says to a client
    without TLS, ``error``, why a client at ``name`` refuses it, ``any_name``, whether one is fooled by another name,
    and the ``days_left`` of the certificate and of its ``authority_days_left``, None where nobody gets so far.
    """
    place = (LOOPBACK.get(address, address), port)
    state: dict[str, Any] = {"address": address, "port": port, "name": name, "versions": [], "weak_cipher": ""}
    state |= {"days_left": None, "authority_days_left": None, "any_name": False}
    state |= {"plain": said_plainly(place, timeout), "error": ""}
    if state["plain"]:
        # It would wait for the end of what it takes for a command.
        return {**state, "error": "it has no TLS"}
    state["versions"] = [version for version in VERSIONS if _taken(place, timeout, version, ALL_CIPHERS)]
    state["weak_cipher"] = _taken(place, timeout, "TLSv1_2", WEAK_CIPHERS)
    try:
        context = client_context(ca_file)
        authorities: list[Any] = context.get_ca_certs() if ca_file else []
        state["authority_days_left"] = min((days_left(one) for one in authorities), default=None)
        with socket.create_connection(place, timeout) as plain, context.wrap_socket(plain, server_hostname=name) as tls:
            state["days_left"] = days_left(tls.getpeercert())
    except ssl.SSLCertVerificationError as error:
        state["error"] = error.verify_message
    except OSError as error:
        state["error"] = str(error.strerror or error)
    else:
        try:
            with socket.create_connection(place, timeout) as plain:
                context.wrap_socket(plain, server_hostname=WRONG_NAME).close()
            state["any_name"] = True
        except OSError:
            pass
    return state


def _taken(place: tuple[str, int], timeout: float, version: str, ciphers: str) -> str:
    """The cipher on which a client of that version and the server agree, "" where they do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with warnings.catch_warnings():
            # That the old ones are old.
            warnings.simplefilter("ignore")
            context.set_ciphers(ciphers)
            context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
        with socket.create_connection(place, timeout) as plain, context.wrap_socket(plain) as tls:
            return (tls.cipher() or ("",))[0]
    except (OSError, ValueError):
        return ""


def days_left(certificate: Any) -> int:
    """Whole days until a certificate, as ``getpeercert`` has it, expires."""
    return int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // DAY)


def said_plainly(place: tuple[str, int], timeout: float) -> str:
    """What a server says to PING without TLS: its reply, "" where it says nothing that is Redis."""
    try:
        with socket.create_connection(place, timeout) as client:
            client.sendall(b"PING\r\n")
            said = client.recv(64)
    except OSError:
        return ""
    return said.decode("ascii", "replace").strip() if said[:1] in (b"+", b"-") else ""


class Door:
    """A server as its clients find it: each call is a new connection. ``timeout`` is in seconds."""

    def __init__(self, server: Mapping[str, Any], timeout: float) -> None:
        self._place = (server["address"], server["port"], server["tls_ca_file"], server["tls_name"], timeout)
        self._passwords: Mapping[str, str] = server["passwords"]

    def stranger(self) -> RedisClient:
        """Connect without logging in. Raises OSError."""
        return RedisClient(*self._place)

    def enter(self, user: str) -> RedisClient:
        """Connect and log in. Raises OSError or RedisError."""
        client = self.stranger()
        password = self._passwords[user]
        client.command("AUTH", *([password] if user == DEFAULT else [user, password]))
        return client

    def enter_by_name(self, user: str, wanted: Collection[str]) -> RedisClient:
        """Connect, log in and say who this is, which a user with these rules can in one or another way."""
        client = self.enter(user)
        client.command(*(["HELLO", 2, "SETNAME"] if "+hello" in wanted else ["CLIENT", "SETNAME"]), CLIENT)
        return client


def verdict(client: RedisClient, *words: str) -> str:
    """What a server makes of a command: OK, or the first word of its error, which may repeat the arguments."""
    try:
        client.command(*words)
    except RedisError as error:
        return str(error).partition(" ")[0]
    return "OK"


def server_state(server: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """What a server does for strangers, and for its users, of whom ``server`` has the ``passwords`` by name.

    Returns ``stranger``: command to verdict; ``guesses``, how many passwords for the user default were right;
    ``error``, why the roles' own user could not look further; ``users``, see ``acl_user``; ``logins``: user to OK or
    the first word of the error; ``may``: user to what it may and must not; ``denied``: what the log says that users
    were denied; and some of its settings as ``config``.
    """
    door = Door(server, timeout)
    state: dict[str, Any] = {"address": server["address"], "port": server["port"], "is_sentinel": server["is_sentinel"]}
    state |= {"stranger": {}, "guesses": 0, "error": "", "version": "", "config": {}}
    state |= {"users": [], "logins": {}, "may": {}, "denied": []}
    try:
        with door.stranger() as stranger:
            questions = ["PING", "INFO", "SENTINEL MASTERS" if server["is_sentinel"] else f"GET {KEY}"]
            state["stranger"] = {question: verdict(stranger, *question.split()) for question in questions}
        with door.stranger() as stranger:
            # Where the user default is none of those who log in, their passwords are no way in for it.
            own = [] if DEFAULT in server["passwords"] else server["passwords"].values()
            logins = [words for guess in (*GUESSES, *own) for words in (["AUTH", guess], ["AUTH", DEFAULT, guess])]
            state["guesses"] = sum(verdict(stranger, *words) == "OK" for words in logins)
        with door.enter(ADMIN if ADMIN in server["passwords"] else DEFAULT) as owner:
            about = owner.info("server")
            state["version"] = about.get("valkey_version", about["redis_version"])
            if ADMIN in server["passwords"]:
                state |= users_state(door, owner, server, version_of(state["version"]))
            if not server["is_sentinel"]:
                # One by one, since an old server knows one at a time; of what it does not know it says nothing.
                replies = [owner.command("CONFIG", "GET", setting) for setting in SETTINGS]
                state["config"] = {reply[0]: reply[1] for reply in replies if reply}
    except RedisError as error:
        state["error"] = str(error).partition(" ")[0]
    except OSError as error:
        state["error"] = str(error.strerror or error)
    return state


def users_state(door: Door, owner: RedisClient, server: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """``users``, ``logins``, ``may`` and ``denied`` of a server that has users."""
    names = list(server["passwords"])
    app = app_rules(server["clients"], server["cluster"], server["keys"], server["app_rules"])
    if server["is_sentinel"]:
        wanted = {name: sentinel_rules(name, version) for name in names}
        forbidden = FORBIDDEN_TO_ASKERS
    else:
        wanted = {name: rules(name, version, app) for name in names}
        forbidden = FORBIDDEN
    return {
        # First, since what comes next is in the log as well.
        "denied": denied(owner.command("ACL", "LOG", 128), names, version),
        "users": [acl_user(owner, line, wanted) for line in owner.command("ACL", "LIST")],
        "logins": {name: login(door, name) for name in names},
        "may": {
            name: allowed(door, owner, name, rules_of, _not_needed(forbidden, rules_of, version), version)
            for name, rules_of in wanted.items()
            if name != ADMIN
        },
    }


def login(door: Door, user: str) -> str:
    """OK where a user gets in with its password, else the first word of the error. Raises OSError."""
    try:
        door.enter(user).close()
    except RedisError as error:
        return str(error).partition(" ")[0]
    return "OK"


def acl_user(owner: RedisClient, line: str, wanted: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """A line of ACL LIST: ``name``, ``is_on``, ``passwords`` (how many), ``needs_none``, and rules that are not wanted.

    ``more`` are these rules, of keys, channels and commands such as ``+config|get``, of a user that is in ``wanted``.
    """
    _, name, *found = line.split()
    commands: set[str] = set()
    for rule in found:
        if rule[0] in "+-":
            word = rule[1:]
            # Redis 6 says in categories what it was told in commands.
            named = set(owner.command("ACL", "CAT", word[1:])) if word[0] == "@" and word != "@all" else {word}
            commands = commands | named if rule[0] == "+" else set() if word == "@all" else commands - named
    patterns = [rule for rule in found if rule.startswith(("~", "&", "%", "("))]
    given = [*patterns, *(f"+{command}" for command in sorted(commands))]
    return {
        "name": name,
        "is_on": "on" in found,
        "passwords": sum(rule.startswith("#") for rule in found),
        "needs_none": "nopass" in found,
        "more": [rule for rule in given if rule not in wanted[name]] if name in wanted else [],
    }


def denied(log: Iterable[list[Any]], names: Collection[str], version: Version) -> list[dict[str, Any]]:
    """What the server's log says that these users wanted and were denied, but for what the probe wanted."""
    # What clients say of themselves; they do not mind.
    harmless = "" if version >= SETINFO_SINCE else "client"
    entries = [dict(zip(entry[::2], entry[1::2])) for entry in log]
    return [
        {"user": entry["username"], "reason": entry["reason"], "object": entry["object"], "count": entry["count"]}
        for entry in entries
        if entry["username"] in names
        and entry["reason"] != "auth"
        and entry["object"] != harmless
        and f" name={CLIENT} " not in entry.get("client-info", "")
    ]


def _not_needed(commands: Iterable[str], wanted: Iterable[str], version: Version) -> list[str]:
    """The commands but for those that a user with these rules is to say; with a foreign key or channel nobody is."""
    foreign = (KEY, CHANNEL) if version >= CHANNELS_SINCE else (KEY,)
    needs = tuple(f"{rule[1:].replace('|', ' ').upper()} " for rule in wanted if rule.startswith("+"))
    return [
        command
        for command in commands
        if any(word in foreign for word in command.split()) or not f"{command} ".startswith(needs)
    ]


def allowed(
    door: Door, owner: RedisClient, user: str, wanted: Collection[str], commands: Iterable[str], version: Version
) -> list[str]:
    """Those of the commands that a user may, who is to have the rules ``wanted``.

    Redis 7 says so itself. Before, the user begins a transaction, in which a command is refused or waits, and leaves;
    one that may not is seen trying what does no harm. Who can say no name would leave traces: its rules have to do.
    """
    if version >= DRY_RUN_SINCE:
        return [command for command in commands if _dry_run(owner, user, *command.split()) == "OK"]
    if not NAMING.intersection(wanted):
        return []
    try:
        with door.enter_by_name(user, wanted) as client:
            if verdict(client, "MULTI") == "OK":
                return [command for command in commands if verdict(client, *command.split()) == "OK"]
            tried = [command for command in commands if command in HARMLESS]
            return [command for command in tried if verdict(client, *command.split()) == "OK"]
    except RedisError:
        # Said of its login.
        return []


def _dry_run(owner: RedisClient, user: str, *words: str) -> str:
    """OK where a user may, else why not: it must not, or there is no such command."""
    try:
        return str(owner.command("ACL", "DRYRUN", user, *words))
    except RedisError as error:
        return str(error)
