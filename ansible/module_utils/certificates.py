"""What is wrong with a server's certificate, found by a handshake with oneself in memory: no port, no server."""

from __future__ import annotations

import os
import pwd
import ssl
import subprocess
import time
from typing import Any

# X509_V_FLAG_NO_CHECK_TIME, which the module ssl has no name for.
NO_CHECK_TIME = 0x200000
DAY = 86400


def certificate_state(
    cert_file: str, key_file: str, ca_file: str, name: str, key_password: str = "", reader: str = ""
) -> dict[str, Any]:
    """What a client that trusts `ca_file` (empty: what the host trusts) would make of a server at `name`.

    The user `reader`, where there is one already, must be able to read the files.

    Returns `faults`, a list of dicts with `file` (cert_file, key_file or ca_file), `kind` (missing, unreadable, closed,
    mismatch, untrusted, outdated, name, early or expired) and the `text` of it; `names`, those in the certificate; and
    `days_left`, whole days until it expires, None where nobody gets so far.
    """
    state: dict[str, Any] = {"faults": [], "names": [], "days_left": None}
    files = {"cert_file": cert_file, "key_file": key_file, "ca_file": ca_file}
    state["faults"] += [fault for file, path in files.items() for fault in file_faults(file, path)]
    state["faults"] = state["faults"] or [
        {"file": file, "kind": "closed", "text": reader} for file, path in files.items() if _is_closed(path, reader)
    ]
    if state["faults"]:
        return state
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With a password at hand, be it empty, OpenSSL does not ask the terminal for one.
        server.load_cert_chain(cert_file, key_file, key_password)
    except OSError as error:
        kind = "mismatch" if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH" else "unreadable"
        state["faults"].append(_fault("key_file", kind, error))
        return state
    try:
        peer = handshake(server, client_context(ca_file, any_name=True, any_time=True), name)
    except (ssl.SSLError, ValueError) as error:
        state["faults"].append(_fault("cert_file", "untrusted", error))
        return state
    starts, ends = (ssl.cert_time_to_seconds(peer[when]) for when in ("notBefore", "notAfter"))
    state["names"], state["days_left"] = names_of(peer), int((ends - time.time()) // DAY)
    if not starts <= time.time() <= ends:
        kind, when = ("expired", "notAfter") if ends < time.time() else ("early", "notBefore")
        state["faults"].append({"file": "cert_file", "kind": kind, "text": peer[when]})
    try:
        handshake(server, client_context(ca_file, any_time=True), name)
    except (ssl.SSLError, ValueError) as error:
        state["faults"].append(_fault("cert_file", "name", error))
    if not state["faults"]:
        # What is left is an authority that has expired itself.
        try:
            handshake(server, client_context(ca_file), name)
        except ssl.SSLError as error:
            state["faults"].append(_fault("ca_file", "outdated", error))
    return state


def _is_closed(path: str, user: str) -> bool:
    """Whether a user that there is may not read a file, or open a folder above it; only root can tell."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return bool(path) and os.geteuid() == 0 and subprocess.call(["runuser", "-u", user, "--", "test", "-r", path]) != 0


def file_faults(file: str, path: str) -> list[dict[str, str]]:
    """What is wrong with a file of certificates or, as far as one sees without them, of a key. None is no fault."""
    if not path:
        return []
    try:
        with open(path, "rb"):
            pass
        if file != "key_file":
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        return [_fault(file, "unreadable" if os.path.exists(path) else "missing", error)]
    return []


def client_context(ca_file: str, any_name: bool = False, any_time: bool = False) -> ssl.SSLContext:
    """A client that trusts that authority as the bundle's own clients do, told not to mind the name or the dates."""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.check_hostname = not any_name
    if any_time:
        context.verify_flags |= NO_CHECK_TIME
    return context


def handshake(server_side: ssl.SSLContext, client_side: ssl.SSLContext, name: str) -> Any:
    """The server's certificate as the client sees it. Raises ssl.SSLError where the client refuses it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    # As often as it takes in the oldest version of TLS; who has nothing more to say does nothing.
    for side in (client, server) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert()


def names_of(peer: dict[str, Any]) -> list[str]:
    """The names and addresses that a certificate is for, else its common name."""
    names = [str(value) for _, value in peer.get("subjectAltName", ())]
    return names or [str(value) for part in peer.get("subject", ()) for key, value in part if key == "commonName"]


def _fault(file: str, kind: str, error: Exception) -> dict[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message
    elif isinstance(error, ssl.SSLError):
        text = error.reason or str(error)
    else:
        text = getattr(error, "strerror", None) or str(error)
    return {"file": file, "kind": kind, "text": text}
