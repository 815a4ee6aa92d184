"""What is wrong with a server's certificate, with real certificates of authorities of the test."""

from __future__ import annotations

import ipaddress
import os
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import with_usual_extensions

NOW = datetime.now(timezone.utc)


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is in `file`."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    file: Path

    def sign(self, name: str, *names: str, days: tuple[float, float] = (-1, 90)) -> tuple[str, str]:
        """Make a certificate for `names` that is valid from and until those days; return its path and its key's."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.folder / f"{name}.pem"
        certificate.write_bytes(_signed(name, key, "authority", self.key, days, names))
        (self.folder / f"{name}.key").write_bytes(_private(key))
        return str(certificate), str(self.folder / f"{name}.key")


def _private(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    days: tuple[float, float],
    names: tuple[str, ...] = (),
) -> bytes:
    subject, by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, one)]) for one in (name, issuer))
    builder = x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
    first, last = (NOW + timedelta(days=day) for day in days)
    is_ca = name == issuer
    builder = builder.not_valid_before(first).not_valid_after(last)
    builder = with_usual_extensions(builder, key, signer, is_ca)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _authority(folder: Path, days: tuple[float, float] = (-100, 1000)) -> Authority:
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "authority.pem").write_bytes(_signed("authority", key, "authority", key, days))
    return Authority(folder, key, folder / "authority.pem")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("certificates") / "first")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("certificates") / "second")


def kinds(state: dict[str, Any]) -> list[tuple[str, str]]:
    return [(fault["file"], fault["kind"]) for fault in state["faults"]]


@pytest.mark.parametrize("name", ["redis-1.example", "10.0.0.6", "2001:db8::6"])
def test_a_certificate_that_will_do(authority: Authority, name: str) -> None:
    files = authority.sign("right", "redis-1.example", "10.0.0.6", "2001:db8::6")
    state = certificates.certificate_state(*files, str(authority.file), name)
    assert state["faults"] == []
    assert state["names"][:2] == ["redis-1.example", "10.0.0.6"]
    assert state["days_left"] == 89


@pytest.mark.parametrize("name", ["10.0.0.7", "redis-2.example", "2001:db8::7"])
def test_a_certificate_for_another_name(authority: Authority, name: str) -> None:
    state = certificates.certificate_state(
        *authority.sign("other", "redis-1.example", "10.0.0.6"), str(authority.file), name
    )
    assert kinds(state) == [("cert_file", "name")]
    assert state["names"] == ["redis-1.example", "10.0.0.6"]


@pytest.mark.parametrize(
    ("days", "kind", "left"), [((-30, -2), "expired", -2), ((2, 30), "early", 29), ((-30, 12.5), "", 12)]
)
def test_a_certificate_at_its_time(authority: Authority, days: tuple[float, float], kind: str, left: int) -> None:
    files = authority.sign("timely", "redis-1", days=days)
    state = certificates.certificate_state(*files, str(authority.file), "redis-1")
    assert kinds(state) == ([("cert_file", kind)] if kind else [])
    # Within the second in which it is asked.
    assert state["days_left"] in (left, left - 1)


def test_everything_that_is_wrong_with_a_certificate_is_said_at_once(authority: Authority) -> None:
    files = authority.sign("worst", "redis-1", days=(-30, -1))
    state = certificates.certificate_state(*files, str(authority.file), "redis-2")
    assert kinds(state) == [("cert_file", "expired"), ("cert_file", "name")]


def test_a_certificate_of_another_authority(authority: Authority, stranger: Authority) -> None:
    state = certificates.certificate_state(*authority.sign("strange", "redis-1"), str(stranger.file), "redis-1")
    assert kinds(state) == [("cert_file", "untrusted")]
    assert "certificate" in state["faults"][0]["text"]
    # Nor does the host itself trust it.
    state = certificates.certificate_state(*authority.sign("strange", "redis-1"), "", "redis-1")
    assert kinds(state) == [("cert_file", "untrusted")]


def test_a_certificate_of_an_authority_that_has_expired(tmp_path: Path) -> None:
    old = _authority(tmp_path / "old", (-100, -1))
    state = certificates.certificate_state(*old.sign("new", "redis-1"), str(old.file), "redis-1")
    assert kinds(state) == [("ca_file", "outdated")]
    assert "expired" in state["faults"][0]["text"]


def test_the_key_of_another_certificate(authority: Authority) -> None:
    (file, _), (_, key) = authority.sign("one", "redis-1"), authority.sign("two", "redis-1")
    assert kinds(certificates.certificate_state(file, key, str(authority.file), "redis-1")) == [
        ("key_file", "mismatch")
    ]


ALL_FILES = ["cert_file", "key_file", "ca_file"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask as somebody else")
@pytest.mark.parametrize(("reader", "closed"), [("nobody", ALL_FILES), ("root", []), ("absent", [])])
def test_files_that_the_server_may_not_read(
    authority: Authority, tmp_path: Path, reader: str, closed: list[str]
) -> None:
    tmp_path.chmod(0o700)
    certificate, key, ca = (
        str(shutil.copy(file, tmp_path)) for file in (*authority.sign("closed", "redis-1"), authority.file)
    )
    state = certificates.certificate_state(certificate, key, ca, "redis-1", reader=reader)
    assert kinds(state) == [(file, "closed") for file in closed]


def test_a_key_with_a_password(authority: Authority, tmp_path: Path) -> None:
    file, key = authority.sign("locked", "redis-1")
    locked = tmp_path / "locked.key"
    plain = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    assert isinstance(plain, ec.EllipticCurvePrivateKey)
    locked.write_bytes(_private(plain, b"open sesame"))
    asked = (file, str(locked), str(authority.file), "redis-1")
    assert kinds(certificates.certificate_state(*asked)) == [("key_file", "unreadable")]
    assert kinds(certificates.certificate_state(*asked, "open sesame")) == []


def test_files_that_are_not_there_or_are_something_else(authority: Authority, tmp_path: Path) -> None:
    file, key = authority.sign("present", "redis-1")
    text = tmp_path / "text"
    text.write_text("hello\n")

    def faults(**changes: str) -> list[tuple[str, str]]:
        asked = {"cert_file": file, "key_file": key, "ca_file": str(authority.file), "name": "redis-1", **changes}
        return kinds(certificates.certificate_state(**asked))

    assert faults() == []
    absent = {name: f"/absent/{name}" for name in ("cert_file", "key_file", "ca_file")}
    assert faults(**absent) == [(name, "missing") for name in absent]
    assert faults(cert_file=str(text)) == [("cert_file", "unreadable")]
    assert faults(ca_file=str(text)) == [("ca_file", "unreadable")]
    assert faults(key_file=str(text)) == [("key_file", "unreadable")]
    assert faults(key_file=str(tmp_path)) == [("key_file", "unreadable")]


def test_the_authority_that_a_client_is_to_trust(authority: Authority) -> None:
    assert certificates.file_faults("ca_file", str(authority.file)) == []
    assert certificates.file_faults("ca_file", "/absent") == [
        {"file": "ca_file", "kind": "missing", "text": "No such file or directory"}
    ]
