"""The part ``certificate``: have a running server serve the certificate that its file has, without a restart."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked
from ansible.module_utils.redis_client import (
    ANY_NAME,
    MISUNDERSTOOD,
    RedisClient,
    RedisError,
    as_it_speaks,
    connect,
    connection_of,
)


def first_certificate(text: str) -> bytes:
    """The certificate of a server in a file's text that may have those of its CAs below it. Raises ValueError."""
    end = "-----END CERTIFICATE-----"
    start = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[start : text.index(end, start) + len(end)])


def served(connection: dict[str, Any]) -> bytes | None:
    """The certificate that the server serves, None where it does not run or speaks no TLS. Raises OSError."""
    try:
        with RedisClient(connection["address"], connection["port"], None, ANY_NAME, connection["timeout"]) as redis:
            return redis.certificate
    except ConnectionRefusedError:
        return None
    except MISUNDERSTOOD:
        if as_it_speaks(connection)["tls_name"]:
            raise
        return None


def read_again(connection: dict[str, Any], cert_file: str, key_file: str, ca_file: str) -> None:
    """Have the server read its files again. Raises OSError or RedisError."""
    with connect({**connection, "tls_name": ANY_NAME}) as redis:
        # Whichever is named, all are read; together from Redis 7 on, where each must fit the others that are named.
        files = ["tls-cert-file", cert_file]
        if int(redis.info("server")["redis_version"].split(".")[0]) >= 7:
            files += ["tls-key-file", key_file, "tls-ca-cert-file", ca_file]
        redis.command("CONFIG", "SET", *files)


def certificate(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Compare what the server serves with the file, and have it read its files again where that is another one.

    Connections that there are go on. A server that does not run, or speaks no TLS yet, reads them when it starts. With
    ``reload`` false the server is never told (a Sentinel cannot be); with ``renew`` it reads its files in any case.
    Returns ``changed`` and ``stale``: whether it serves another certificate and has to be restarted. Raises PartError.
    """
    params = checked(
        params,
        connection=REQUIRED,
        cert_file=REQUIRED,
        key_file=REQUIRED,
        ca_file=REQUIRED,
        reload=True,
        renew=False,
    )
    connection, cert_file = connection_of(params["connection"]), params["cert_file"]
    try:
        has = served(connection)
        text = run.text(cert_file)
        if has is None:
            return {"changed": False, "stale": False}
        if text is None:
            raise ValueError("there is no such file")
        stale = bool(params["renew"] or has != first_certificate(text))
        changed = stale and params["reload"]
        if changed and not run.check_mode:
            read_again(connection, cert_file, params["key_file"], params["ca_file"])
            stale = False
            if served(connection) != first_certificate(text):
                raise ValueError("it read its files again, and serves another one")
    except (OSError, RedisError, ValueError) as error:
        if run.check_mode:
            return {"changed": False, "stale": False}
        raise PartError(f"the server on port {connection['port']} does not serve {cert_file}: {error}") from error
    return {"changed": changed, "stale": stale}
