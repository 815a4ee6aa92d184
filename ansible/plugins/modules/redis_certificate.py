#!/usr/bin/python
"""Ansible module: have a running server serve the certificate that its file has, without a restart."""

from __future__ import annotations

import ssl
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.redis_client import (
    ANY_NAME,
    CONNECTION_SPEC,
    MISUNDERSTOOD,
    RedisClient,
    RedisError,
    as_it_speaks,
    connect,
)

DOCUMENTATION = r"""
module: redis_certificate
short_description: Have a running server serve the certificate that its file has
description:
  - Compares what the server serves with the file, and has it read its files again where that is another one.
  - Connections that there are go on. A server that does not run, or speaks no TLS yet, reads them when it starts.
  - Runs on the server's host, and does not mind a certificate that has expired.
options:
  cert_file: {description: The certificate., type: path, required: true}
  key_file: {description: Its key., type: path, required: true}
  ca_file: {description: The authority that signed it., type: path, required: true}
  reload: {description: "Whether the server can be told; a Sentinel cannot.", type: bool, default: true}
  renew: {description: "Whether it reads its files again, even if it serves that.", type: bool, default: false}
  address: {description: Address to connect to., type: str, default: 127.0.0.1}
  port: {description: Port to connect to., type: int, required: true}
  tls_ca_file: {description: Not used., type: path}
  tls_name: {description: Not used., type: str}
  auth_file: {description: A redis.conf on the host that the roles wrote; it has what to log in with., type: path}
  timeout: {description: Seconds to wait for the connection and for each reply., type: float, default: 5}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Have the running server serve its new certificate
  redis_certificate:
    port: 6379
    auth_file: /etc/redis/redis-6379.auth.conf
    cert_file: /etc/redis/redis-6379.crt
    key_file: /etc/redis/redis-6379.key
    ca_file: /etc/redis/redis-6379.ca.crt
"""

RETURN = r"""
stale: {description: Whether the server serves another certificate and has to be restarted., type: bool}
"""


def first_certificate(path: str) -> bytes:
    """The certificate of a server in a file that may have those of its authorities below it."""
    with open(path, encoding="ascii", errors="replace") as file:
        text = file.read()
    end = "-----END CERTIFICATE-----"
    start = text.index("-----BEGIN CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[start : text.index(end, start) + len(end)])


def served(params: dict[str, Any]) -> bytes | None:
    """The certificate that the server serves, None where it does not run or speaks no TLS. Raises OSError."""
    try:
        with RedisClient(params["address"], params["port"], None, ANY_NAME, params["timeout"]) as redis:
            return redis.certificate
    except ConnectionRefusedError:
        return None
    except MISUNDERSTOOD:
        if as_it_speaks(params)["tls_name"]:
            raise
        return None


def read_again(params: dict[str, Any]) -> None:
    """Have the server read its files again. Raises OSError or RedisError."""
    with connect({**params, "tls_name": ANY_NAME}) as redis:
        # Whichever is named, all are read; together from Redis 7 on, where each must fit the others that are named.
        files = ["tls-cert-file", params["cert_file"]]
        if int(redis.info("server")["redis_version"].split(".")[0]) >= 7:
            files += ["tls-key-file", params["key_file"], "tls-ca-cert-file", params["ca_file"]]
        redis.command("CONFIG", "SET", *files)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            **CONNECTION_SPEC,
            "cert_file": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True},
            "ca_file": {"type": "path", "required": True},
            "reload": {"type": "bool", "default": True},
            "renew": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        has = served(params)
        stale = has is not None and (params["renew"] or has != first_certificate(params["cert_file"]))
        changed = stale and params["reload"]
        if changed and not module.check_mode:
            read_again(params)
            stale = False
            if served(params) != first_certificate(params["cert_file"]):
                raise ValueError("it read its files again, and serves another one")
    except (OSError, RedisError, ValueError) as error:
        if module.check_mode:
            module.exit_json(changed=False, stale=False)
        module.fail_json(msg=f"the server on port {params['port']} does not serve {params['cert_file']}: {error}")
    module.exit_json(changed=changed, stale=stale)


if __name__ == "__main__":
    main()
