"""What a server offers to whoever speaks TLS: versions, ciphers and its certificate."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from ansible.module_utils import server_exposure

from conftest import Certificate, Listen
from parts import PASSWORD
from servers import Farm, free_port

RULES: dict[str, Any] = {"clients": ["builtin"], "keys": ["dj:*"], "app_rules": [], "cluster": False}


def tls_state(port: int, certificate: Certificate, **changes: Any) -> dict[str, Any]:
    asked = {"name": certificate.name, "ca_file": str(certificate.ca_file), **changes}
    return server_exposure.tls_state("127.0.0.1", port, timeout=3, **asked)


@pytest.fixture
def tls_server(certificate: Certificate, listen: Listen) -> Callable[..., int]:
    """Listen with TLS of this oldest version and these ciphers. Return the port."""

    def start(oldest: str = "TLSv1_2", ciphers: str = "DEFAULT") -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key_file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.set_ciphers(ciphers)
            context.minimum_version = ssl.TLSVersion[oldest]

        def serve(listener: socket.socket) -> None:
            while True:
                try:
                    client = listener.accept()[0]
                except OSError:
                    return
                try:
                    context.wrap_socket(client, server_side=True).close()
                except OSError:
                    client.close()

        return listen(serve)

    return start


def test_tls_as_it_should_be(tls_server: Callable[..., int], certificate: Certificate) -> None:
    state = tls_state(tls_server(), certificate)
    assert state["versions"] == ["TLSv1_2", "TLSv1_3"]
    assert (state["weak_cipher"], state["plain"], state["error"], state["any_name"]) == ("", "", "", False)
    assert state["days_left"] == state["authority_days_left"] == 0


def test_old_tls_and_weak_ciphers_are_seen(tls_server: Callable[..., int], certificate: Certificate) -> None:
    state = tls_state(tls_server("TLSv1", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"), certificate)
    assert state["versions"] == ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"]
    assert state["weak_cipher"]


def test_certificates_that_clients_refuse(tls_server: Callable[..., int], certificate: Certificate) -> None:
    port = tls_server()
    assert tls_state(port, certificate, ca_file=str(certificate.other_ca_file))["error"]
    assert "not valid for 'redis-1'" in tls_state(port, certificate, name="redis-1")["error"]
    assert "No such file" in tls_state(port, certificate, ca_file="/absent")["error"]
    assert "refused" in tls_state(free_port(), certificate)["error"]


def test_a_server_without_tls_is_seen(farm: Farm, certificate: Certificate) -> None:
    for server, reply in ((farm.server(), "+PONG"), (farm.server(PASSWORD), "-NOAUTH")):
        state = tls_state(server.port, certificate)
        assert state["plain"].startswith(reply)
        assert (state["versions"], bool(state["error"])) == ([], True)
