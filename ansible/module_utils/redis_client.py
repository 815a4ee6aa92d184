"""The little of the Redis protocol that the modules need, so that a host needs nothing but Python.

Speaks RESP2, see https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, BinaryIO

# A server that listens on every address is asked through loopback.
LOOPBACK = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}

# A `tls_name` for a server on one's own host of which nothing but the port is known.
ANY_NAME = "*"


class RedisError(Exception):
    """The server answered with an error; the text is the server's, such as ``NOAUTH Authentication required.``."""


class RedisClient:
    """One connection to one server, as a context manager.

    Raises OSError where the server cannot be reached and RedisError where it refuses. ``timeout`` is in seconds, for
    the connection and for each reply. An ``address`` that begins with / is the path of a Unix socket, which has no TLS.
    With a ``tls_name`` the server's certificate must be for it, and from the authority in ``tls_ca_file``; with
    ANY_NAME it may be any.
    """

    def __init__(
        self, address: str, port: int, tls_ca_file: str | None = None, tls_name: str | None = None, timeout: float = 5.0
    ) -> None:
        # Of a server with TLS: its certificate, and the whole days until that expires where it was checked.
        self.certificate: bytes | None = None
        self.days_left: int | None = None
        if address.startswith("/"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout)
            self._socket.connect(address)
        else:
            self._socket = socket.create_connection((LOOPBACK.get(address, address), port), timeout)
            if tls_name:
                self._encrypt(tls_name, tls_ca_file)
        self._replies: BinaryIO = self._socket.makefile("rb")

    def _encrypt(self, name: str, ca_file: str | None) -> None:
        context = ssl.create_default_context(cafile=ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if name == ANY_NAME:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            encrypted = context.wrap_socket(self._socket, server_hostname=name)
        except OSError:
            self._socket.close()
            raise
        self._socket = encrypted
        self.certificate = encrypted.getpeercert(binary_form=True)
        checked: Any = encrypted.getpeercert()
        if checked:
            self.days_left = int(ssl.cert_time_to_seconds(checked["notAfter"]) - time.time()) // 86400

    def __enter__(self) -> RedisClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._replies.close()
        self._socket.close()

    def command(self, *words: str | int) -> Any:
        """Send one command and return its reply: str, int, None, or a list of these."""
        encoded = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        self._socket.sendall(request)
        return self._reply()

    def info(self, section: str) -> dict[str, str]:
        """The fields of one section of INFO."""
        lines = self.command("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _reply(self) -> Any:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionAbortedError("the server closed the connection")
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest)
        if kind not in (b":", b"$", b"*") or not re.fullmatch(r"-?\d+", rest):
            raise ConnectionError(f"this is no Redis server, it says {line[:80]!r}")
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"*":
            return [self._reply() for _ in range(size)]
        text = self._replies.read(size + 2)
        if len(text) < size + 2:
            raise ConnectionError("the server closed the connection")
        return text[:-2].decode("utf-8", "replace")


def quote(text: str) -> str:
    r"""``text`` as one quoted redis.conf argument, whatever characters it holds.

    Follows sdssplitargs of the Redis source: inside double quotes a backslash escapes, and ``\xHH`` is one byte.
    """
    quoted = []
    for byte in str(text).encode():
        character = chr(byte)
        if character in '"\\':
            quoted.append("\\" + character)
        elif 32 <= byte < 127:
            quoted.append(character)
        else:
            quoted.append(f"\\x{byte:02x}")
    return '"' + "".join(quoted) + '"'


def credentials(path: str) -> tuple[str, str]:
    """The user and the password of the roles themselves in a redis.conf: the user admin, else no user, else neither.

    The argument that has the password was written by ``quote``. Raises OSError where the file cannot be read.
    """
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read()
    for user, pattern in (("admin", r'^user admin on ">((?:[^"\\]|\\.)*)"'), ("", r'^requirepass "(.*)"$')):
        found = re.search(pattern, text, re.M)
        if found:
            return user, _unescaped(found.group(1))
    return "", ""


def unquote(text: str) -> str:
    """An argument of a redis.conf, whether or not it was written in quotes, see `quote`."""
    return _unescaped(text[1:-1]) if len(text) > 1 and text[0] == text[-1] == '"' else text


def _unescaped(text: str) -> str:
    return re.sub(rb"\\(?:x([0-9a-f]{2})|(.))", _unescape, text.encode()).decode("utf-8", "replace")


def _unescape(escape: re.Match[bytes]) -> bytes:
    code, character = escape.groups()
    return bytes([int(code, 16)]) if code else character


def login(client: RedisClient, user: str, password: str) -> None:
    """Log in, where there is something to log in with; without a user by the server's one password."""
    if password:
        client.command("AUTH", *filter(None, (user, password)))


def connect(params: dict[str, Any]) -> RedisClient:
    """A client from the parameters that the Redis modules share, logged in with what ``auth_file`` has.

    A ``login`` among them, the user and the password, is used instead. Raises RedisError where that file does not
    exist: whatever listens on the port is not this inventory's server.
    """
    client = RedisClient(
        params["address"], params["port"], params["tls_ca_file"], params["tls_name"], params["timeout"]
    )
    try:
        if params.get("login"):
            login(client, *params["login"])
        elif params["auth_file"]:
            login(client, *credentials(params["auth_file"]))
    except FileNotFoundError:
        client.close()
        raise RedisError("another server's port, or one that was never deployed") from None
    except (OSError, RedisError):
        client.close()
        raise
    return client


def at(address: str, port: int, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of ``connect`` for another server that has the same users."""
    return {**params, "address": address, "port": port, "tls_name": params["tls_name"] and address}


# What a client runs into that speaks TLS to a server without, which waits for the end of a line; or the reverse. The
# file of the authority is not there before the first run with TLS.
MISUNDERSTOOD = (ssl.SSLError, ConnectionResetError, ConnectionAbortedError, socket.timeout, FileNotFoundError)


def as_it_speaks(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of ``connect`` for what the server on this very host speaks now, wanted or not: TLS or none.

    No secret is sent to find out. Raises OSError where nobody answers.
    """
    try:
        with RedisClient(params["address"], params["port"], timeout=params["timeout"]) as redis:
            redis.command("PING")
    except RedisError:
        pass
    except (ConnectionResetError, ConnectionAbortedError):
        return {**params, "tls_name": ANY_NAME}
    return {**params, "tls_name": None}


def ask_role(params: dict[str, Any]) -> dict[str, Any]:
    """What the server is.

    ``role`` (``leader`` or ``replica``), ``offset`` in the stream of writes, ``server``, ``version``, ``cluster``
    (whether it is a node of one) and ``days_left`` (until its certificate expires, None without TLS); for a leader also
    the number of its ``replicas``; for a replica ``leader_address``, ``leader_port`` and ``link`` (``connected`` when
    it is up). Raises OSError or RedisError.
    """
    with connect(params) as redis:
        role, *details = redis.command("ROLE")
        about = redis.info("server")
        days_left = redis.days_left
    answer: dict[str, Any] = {
        "days_left": days_left,
        "server": about.get("server_name", "redis"),
        "version": about.get("valkey_version", about["redis_version"]),
        "cluster": "cluster" in (about.get("redis_mode"), about.get("server_mode")),
    }
    if role == "master":
        return {**answer, "role": "leader", "offset": details[0], "replicas": len(details[1])}
    if role != "slave":
        raise RedisError(f"this is a {role}, which holds no data")
    address, port, link, offset = details
    answer |= {"leader_address": address, "leader_port": port, "link": link}
    return {**answer, "role": "replica", "offset": offset}


def remembered(path: str | None, before: tuple[str, ...] = ("replicaof",)) -> dict[str, Any]:
    """Whom a server that does not answer followed when it last ran, from the file that it writes itself.

    The address and the port come after the words ``before``: those of a replica, or ("sentinel", "monitor", NAME). A
    line without both says nothing.
    """
    try:
        with open(path or "", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.split()
                place = words[len(before) : len(before) + 2]
                if words[: len(before)] == list(before) and len(place) == 2 and place[1].isdecimal():
                    return {"leader_address": place[0], "leader_port": int(place[1])}
    except FileNotFoundError:
        pass
    return {}


# The argument_spec that goes with `connect`.
CONNECTION_SPEC: dict[str, Any] = {
    "address": {"type": "str", "default": "127.0.0.1"},
    "port": {"type": "int", "required": True},
    "tls_ca_file": {"type": "path"},
    "tls_name": {"type": "str"},
    "auth_file": {"type": "path"},
    "timeout": {"type": "float", "default": 5.0},
}


def connection_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of ``connect`` from those that are given, the others by CONNECTION_SPEC's defaults."""
    return {**{name: option.get("default") for name, option in CONNECTION_SPEC.items()}, **given}
