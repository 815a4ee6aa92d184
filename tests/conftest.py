"""Fixtures: throwaway Redis-protocol servers on loopback, and the shipped Django project."""

from __future__ import annotations

import ipaddress
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import ansible
import ansible.module_utils
import ansible.plugins
import django
import hypothesis
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.utils.module_loading import import_string

from servers import Farm, RedisServer, RedisServerFactory

PROJECT = Path(__file__).resolve().parent.parent
DJANGO_APP = PROJECT / "django_app"
LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""

# The same examples in every run, so that a red run can be repeated, and no time limit for a busy machine.
hypothesis.settings.register_profile("cachestack", max_examples=60, deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("cachestack")

# As its manage.py does: the project is not installed, it is run where it lies.
sys.path.insert(0, str(DJANGO_APP))
# As Ansible does when it packs a module: the project's module_utils and plugins are found beside Ansible's own.
ansible.__path__.append(str(PROJECT / "ansible"))
ansible.plugins.__path__.append(str(PROJECT / "ansible" / "plugins"))
ansible.module_utils.__path__.append(str(PROJECT / "ansible" / "module_utils"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServerFactory]:
    """Start servers, each as `servers.Farm.server` has it; all end with the session."""
    with Farm(tmp_path_factory.mktemp) as farm:
        yield farm.server


@pytest.fixture(scope="module")
def listening() -> Iterator[tuple[int, int]]:
    """The port and the process id of another process that listens."""
    with subprocess.Popen([sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        yield int(started.stdout.readline()), started.pid
        # Leaving closes its standard input, with which it ends.
        started.communicate()


@pytest.fixture
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """Start servers, Sentinels and clusters that the test may break; all end with the test."""
    with Farm(tmp_path_factory.mktemp) as farm:
        yield farm


@pytest.fixture(scope="module")
def set_password(redis_server: RedisServerFactory) -> Iterator[Callable[[str], RedisServer]]:
    """Give one server this password; one connection stays open and may always change it."""
    server = redis_server()
    with server.client() as owner, owner.client() as connection:

        def change(password: str) -> RedisServer:
            connection.config_set("requirepass", password)
            return server

        yield change


@pytest.fixture(scope="session")
def django_project() -> Path:
    """Set Django up with the project's base settings, once. Return its folder; use override_settings for the rest."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    return DJANGO_APP


@pytest.fixture
def _no_shared_pools() -> None:
    forget_pools()


def forget_pools() -> None:
    """django-redis keeps its pools for the whole process, by URL: a test must not meet those of another."""
    import_string("django_redis.pool.ConnectionFactory")._pools.clear()


@dataclass(frozen=True)
class Certificate:
    """A server's certificates for `name` and for its address, their key, their authority and another one."""

    name: str
    file: Path
    address_file: Path
    key_file: Path
    ca_file: Path
    other_ca_file: Path


def with_usual_extensions(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, is_ca: bool
) -> x509.CertificateBuilder:
    """A certificate with what Python 3.13 and later ask for."""
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(issuer, critical=False)
    usages = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    usage = dict.fromkeys((*usages, "decipher_only"), False)
    usage |= {"digital_signature": not is_ca, "key_cert_sign": is_ca, "crl_sign": is_ca}
    return builder.add_extension(x509.KeyUsage(**usage), critical=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Certificates for `localhost` and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    subjects: list[tuple[str, x509.GeneralName | None]] = [
        ("CA", None),
        ("other CA", None),
        ("name", x509.DNSName("localhost")),
        ("address", x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
    ]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name, _ in subjects]
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    keys.append(keys[2])
    for index, (name, key, (_, subject)) in enumerate(zip(names, keys, subjects)):
        signer, is_ca = (0, False) if subject else (index, True)
        builder = x509.CertificateBuilder(names[signer], name, key.public_key(), x509.random_serial_number())
        now = datetime.now(timezone.utc)
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        builder = with_usual_extensions(builder, key, keys[signer], is_ca)
        if subject:
            builder = builder.add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        signed = builder.sign(keys[signer], hashes.SHA256())
        (folder / f"{index}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(keys[2].private_bytes(encoding, private, serialization.NoEncryption()))
    files = [folder / f"{index}.pem" for index in range(len(subjects))]
    return Certificate("localhost", files[2], files[3], folder / "key.pem", files[0], files[1])


TLSFront = Callable[..., int]
Listen = Callable[[Callable[[socket.socket], None]], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen on a port, and have a function serve it in a thread, until its listener is closed. Return the port."""
    listeners = []

    def start(serve: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture(scope="session")
def tls_front(certificate: Certificate) -> Iterator[TLSFront]:
    """Listen with TLS in front of a plain port on loopback, since the wheel's server has no TLS. Return the port.

    With a second argument the certificate is another file. Who speaks first and without TLS is let through: so servers
    can have this port for each other, and tell it to their clients.
    """
    fronts: list[socketserver.ThreadingTCPServer] = []

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # The other direction has ended the connection.
            return

    def start(port: int, file: Path = certificate.file) -> int:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file, certificate.key_file)

        class Front(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                client: socket.socket = self.request
                try:
                    # What a handshake begins with, and no command of Redis.
                    if client.recv(1, socket.MSG_PEEK) == b"\x16":
                        client = context.wrap_socket(client, server_side=True)
                    server = socket.create_connection(("127.0.0.1", port))
                except OSError:
                    # The client does not trust the certificate, or the server has ended.
                    return
                with client, server:
                    answers = threading.Thread(target=copy, args=(server, client), daemon=True)
                    answers.start()
                    copy(client, server)
                    answers.join()

        front = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Front)
        front.daemon_threads = True
        fronts.append(front)
        threading.Thread(target=front.serve_forever, args=(0.05,), daemon=True).start()
        chosen: int = front.socket.getsockname()[1]
        return chosen

    yield start
    for front in fronts:
        front.shutdown()
        # Not server_close, which waits for clients that keep their connections in pools.
        front.socket.close()
