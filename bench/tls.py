"""A server that listens with TLS as well, with a certificate of this run's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployment.certificates import CA, files_of, general_name, new_authority, new_certificate, new_key, save
from servers import HOST, Farm, RedisServer, free_port


@dataclass(frozen=True)
class TLS:
    """Where the server listens with TLS, and the authority to trust."""

    url: str
    ca_file: Path


def start(farm: Farm, folder: Path, **directives: str) -> tuple[RedisServer, TLS | None]:
    """Start a server. Without TLS, after a line that says so, where it does not start with it.

    To set it live would be simpler, but the wheel's server, which has none, dies of that.
    """
    ca_file, key_file, cert_file = _files(folder)
    port = free_port()
    files = {"tls_ca_cert_file": str(ca_file), "tls_key_file": str(key_file), "tls_cert_file": str(cert_file)}
    try:
        server = farm.server("", None, **directives, **files, tls_port=str(port), tls_auth_clients="no")
    except RuntimeError:
        print("without TLS, which this server does not have; --server=/usr/bin/redis-server names another")
        return farm.server("", None, **directives), None
    return server, TLS(f"rediss://{HOST}:{port}", ca_file)


def _files(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority, and a key with a certificate, as the bundle does for its own servers."""
    authority = new_authority(new_key())
    save(folder, CA, authority)
    save(folder, "redis", new_certificate([general_name(HOST)], 1, authority))
    return files_of(folder, CA)[1], *files_of(folder, "redis")
