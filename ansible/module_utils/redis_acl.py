"""Who may do what on a server: the rules of the users that the roles make, by its version.

See https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping

from ansible.module_utils.redis_client import quote

Version = tuple[int, ...]

# A version that nobody knows has everything.
UNKNOWN = (99, 0)
# Users came with 6.0, rules for channels with 6.2, more figures with 7.0, what a client says of itself with 7.2.
USERS_SINCE, CHANNELS_SINCE, HISTOGRAM_SINCE, SETINFO_SINCE = (6, 0), (6, 2), (7, 0), (7, 2)
# And Sentinels that have users.
SENTINEL_USERS_SINCE = (6, 2)
ADMIN, DEFAULT = "admin", "default"
# All whom the roles make.
USERS = (ADMIN, "app", "replica", "sentinel", "monitor")

# What Django's cache API comes to, sessions included, whatever the client; HELLO is how some log in.
APP = [
    "+get",
    "+mget",
    "+set",
    "+del",
    "+exists",
    "+expire",
    "+persist",
    "+incrby",
    "+ping",
    "+select",
    "+hello",
    "+flushdb",
]
# What each client says on top. django-redis counts in a script, so its user may run those, on its own keys.
OF_CLIENT = {
    "builtin": ["+mset", "+multi", "+exec"],
    "django_redis": ["+multi", "+exec", "+eval", "+ttl", "+pttl", "+pexpire", "+expireat", "+pexpireat", "+scan"],
    "resilient": ["+pttl", "+role"],
}
OF_CLUSTER = ["+cluster|slots", "+readonly", "+asking"]
# Everybody else's, by name.
OF_USER = {
    "admin": ["~*", "&*", "+@all"],
    "default": ["~*", "&*", "+@all"],
    "replica": ["resetchannels", "-@all", "+psync", "+replconf", "+ping"],
    # https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/, "Access Control List authentication"
    "sentinel": [
        "resetchannels",
        "&__sentinel__:hello",
        "-@all",
        "+multi",
        "+slaveof",
        "+ping",
        "+exec",
        "+subscribe",
        "+config|rewrite",
        "+role",
        "+publish",
        "+info",
        "+client|setname",
        "+client|kill",
        "+script|kill",
    ],
    # Figures, and neither keys nor the configuration, which has passwords.
    "monitor": [
        "resetchannels",
        "-@all",
        "+ping",
        "+info",
        "+latency|latest",
        "+latency|histogram",
        "+slowlog|len",
        "+slowlog|get",
        "+cluster|info",
    ],
}
# On a Sentinel: whoever has its password may ask who leads, and hear of it; the Sentinels ask each other.
OF_SENTINELS = {
    "default": [
        "&*",
        "-@all",
        "+ping",
        "+hello",
        "+role",
        "+subscribe",
        "+psubscribe",
        "+unsubscribe",
        "+punsubscribe",
        "+sentinel|masters",
        "+sentinel|master",
        "+sentinel|get-master-addr-by-name",
        "+sentinel|sentinels",
        "+sentinel|slaves",
        "+sentinel|replicas",
    ],
    "admin": ["&*", "+@all"],
    "sentinel": [
        "resetchannels",
        "&__sentinel__:hello",
        "-@all",
        "+ping",
        "+publish",
        "+client|setname",
        "+sentinel|is-master-down-by-addr",
    ],
}


ALL_KEYS = frozenset(("~*", "allkeys"))
ALL_CHANNELS = frozenset(("&*", "allchannels"))
# Rules that redis.conf takes without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9~*:/+|@&._-]+")


def version_of(text: str) -> Version:
    """The version in what a program says of itself, or in INFO: ``Redis server v=7.0.15 ...`` is (7, 0)."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else (0, 0)


def program_version(program: str, environment: Mapping[str, str]) -> Version:
    """The version of a server's program, UNKNOWN where it cannot be asked, as in check mode."""
    try:
        done = subprocess.run(
            [program, "--version"], stdout=subprocess.PIPE, env={**os.environ, **environment}, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return UNKNOWN
    return version_of(done.stdout.partition("v=")[2])


def app_rules(clients: Iterable[str], is_cluster: bool, keys: Iterable[str], more: Iterable[str]) -> list[str]:
    """The rules of the user ``app``: its own keys, the least that its clients say, and ``more`` of the inventory's."""
    said = dict.fromkeys([*APP, *(word for client in clients for word in OF_CLIENT[client])])
    cluster = OF_CLUSTER if is_cluster else []
    return _broadest([*(f"~{pattern}" for pattern in keys), "resetchannels", "-@all", *said, *cluster, *more])


def _broadest(words: list[str]) -> list[str]:
    """The rules without patterns beside one that stands for everything, which the server would refuse."""
    for everything, patterns in ((ALL_KEYS, ("~", "%")), (ALL_CHANNELS, ("&",))):
        if everything.intersection(words):
            words = [word for word in words if word in everything or not word.startswith(patterns)]
    return words


def rules(name: str, version: Version, app: Iterable[str] = ()) -> list[str]:
    """The rules of a user by its name, without its password, as a server of that version knows them."""
    wanted = [*app, "+client|setinfo"] if name == "app" else OF_USER[name]
    return [rule for rule in wanted if _is_known(rule, version)]


def _is_known(rule: str, version: Version) -> bool:
    if rule == "resetchannels" or rule.startswith("&"):
        return version >= CHANNELS_SINCE
    if rule == "+latency|histogram":
        return version >= HISTOGRAM_SINCE
    # Before 7.0 any word after CLIENT can be named; 7.0 wants one that it knows.
    return rule != "+client|setinfo" or version < HISTOGRAM_SINCE or version >= SETINFO_SINCE


def hashed(password: str) -> str:
    """A password as ACL rules have it where nobody has to read it back."""
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def users(replies: Iterable[str]) -> dict[str, set[str]]:
    """The words of each user's rules in the answer to ACL LIST, whether they came from a file or by ACL SETUSER."""
    return {line.split()[1]: set(line.split()[2:]) - {"sanitize-payload"} for line in replies}


def user_lines(passwords: Mapping[str, str], version: Version, app: Iterable[str]) -> list[str]:
    """The lines of redis.conf that make these users and leave the server's default user no way in.

    The password of the user ``admin`` is one to be read back: the roles log in with it.
    """
    lines = [f"user {DEFAULT} off"]
    for name, password in passwords.items():
        secret = quote(f">{password}") if name == ADMIN else hashed(password)
        words = (rule if _PLAIN.fullmatch(rule) else quote(rule) for rule in rules(name, version, app))
        lines.append(" ".join(["user", name, "on", secret, *words]))
    return lines


def sentinel_lines(password: str, others: Mapping[str, str], version: Version) -> list[str]:
    """The lines of sentinel.conf that say who may log in to a Sentinel, and how it does to the others.

    ``password`` is what clients have, ``others`` those of ``admin`` and ``sentinel``. Without them, or where Sentinels
    have no users yet, the password alone opens everything.
    """
    if not others or version < SENTINEL_USERS_SINCE:
        return [f"requirepass {quote(password)}"]
    lines = []
    for name, own in {DEFAULT: password, **others}.items():
        secret = quote(f">{own}") if name == ADMIN else hashed(own)
        lines.append(" ".join(["user", name, "on", secret, *sentinel_rules(name, version)]))
    return [*lines, "sentinel sentinel-user sentinel", f"sentinel sentinel-pass {quote(others['sentinel'])}"]


def sentinel_rules(name: str, version: Version) -> list[str]:
    """The rules of a user on a Sentinel, without its password."""
    return [rule for rule in [*OF_SENTINELS[name], "+client|setinfo"] if _is_known(rule, version)]
