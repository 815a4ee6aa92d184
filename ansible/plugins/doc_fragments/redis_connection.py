"""The options with which modules reach a Redis server, those of `CONNECTION_SPEC`."""

from __future__ import annotations


class ModuleDocFragment:
    """The documentation fragment ``redis_connection``."""

    DOCUMENTATION = r"""
options:
  address:
    description: The address of the server, or the path of its Unix socket.
    type: str
    default: 127.0.0.1
  port: {description: The port of the server., type: int, required: true}
  tls_ca_file: {description: The CA certificate that signed the certificate of a server with TLS., type: path}
  tls_name: {description: The name in that certificate; without it the connection has no TLS., type: str}
  auth_file:
    description: A redis.conf on the host that the roles wrote. It has the user and the password to log in with.
    type: path
  timeout: {description: Seconds to wait for the connection and for each reply., type: float, default: 5}
"""
