"""The CA on the control node. What it issues is given to handshakes and to the program openssl."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.certificates import certificate_state, client_context, handshake
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from deployment import certificates
from deployment.certificates import Authority, AuthorityError, days_left
from deployment.desired.tls import Issued

HOSTS = {"redis-1": ["redis-1.example.com", "10.0.0.1", "2001:db8::1"], "redis-2": ["10.0.0.2"]}

Names = dict[str, list[str]]
Of = Callable[..., Authority]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "tls"


@pytest.fixture
def authority(folder: Path) -> Of:
    """The CA for HOSTS, as a run has it."""

    def start(names: Names | None = None, **changes: Any) -> Authority:
        return Authority(str(folder), HOSTS if names is None else names, **changes)

    return start


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def lasts(folder: Path, host: str) -> int:
    """The days for which a host's certificate is valid."""
    return days_left(load(folder / f"{host}.crt"))


def state(folder: Path, host: str, name: str) -> dict[str, Any]:
    """What a client thinks of a host's certificate that asks for it by this name."""
    cert, key, ca = (str(folder / file) for file in (f"{host}.crt", f"{host}.key", "ca.crt"))
    return dict(certificate_state(cert, key, ca, name))


def refused(one: Authority) -> str:
    """The text with which a CA refuses to look, and to issue."""
    with pytest.raises(AuthorityError) as asked:
        assert one.reasons
    with pytest.raises(AuthorityError) as issued:
        one.issue()
    assert str(asked.value) == str(issued.value)
    return str(issued.value)


def usage(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    # Without key_agreement there is no encipher_only.
    words = set(certificates.KEY_USAGES) - {"encipher_only", "decipher_only"}
    return {word for word in words if getattr(found.value, word)}


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let the CA, and it alone, live that many days later."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(certificates, "datetime", Later)


# What is issued


def test_the_first_run_issues_all(authority: Of, folder: Path) -> None:
    before = authority()
    reasons = {"redis-1": "redis-1.key is missing", "redis-2": "redis-2.key is missing"}
    assert before.reasons == reasons
    assert (before.issued("redis-1"), folder.parent.exists()) == (None, False), "who only asks writes nothing"
    assert authority().issue() == reasons
    assert set(content(folder)) == {"lock", *(f"{one}.{kind}" for one in ("ca", *HOSTS) for kind in ("crt", "key"))}
    texts = [(folder / name).read_text() for name in ("redis-1.crt", "redis-1.key", "ca.crt")]
    assert (authority().issued("redis-1"), authority().days_left) == (Issued(*texts), 3649)
    assert [lasts(folder, host) for host in HOSTS] == [396, 396]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes(authority: Of, folder: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        authority().issue()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != "lock"}
    assert modes == {name: 0o600 if name.endswith(".key") else 0o644 for name in modes}


def test_the_second_run_changes_nothing(authority: Of, folder: Path) -> None:
    authority().issue()
    before = content(folder)
    # Neither the order of the names nor their case makes another certificate, nor how an address is written.
    again = {"redis-1": ["2001:0db8:0:0::1", "REDIS-1.example.com", "10.0.0.1", "10.0.0.1"], "redis-2": ["10.0.0.2"]}
    for names in (HOSTS, again):
        assert authority(names).reasons == authority(names).issue() == {}
    assert content(folder) == before


@pytest.mark.parametrize("name", HOSTS["redis-1"])
def test_a_client_accepts_a_server_by_each_of_its_names(authority: Of, folder: Path, name: str) -> None:
    authority().issue()
    found = state(folder, "redis-1", name)
    assert (found["faults"], found["days_left"]) == ([], 396)


@pytest.mark.parametrize("name", ["redis-2.example.com", "10.0.0.2", "example.com", "redis-1"])
def test_a_client_refuses_a_server_by_another_name(authority: Of, folder: Path, name: str) -> None:
    authority().issue()
    assert [fault["kind"] for fault in state(folder, "redis-1", name)["faults"]] == ["name"]


def test_both_sides_may_ask_for_a_certificate_and_are_strict(authority: Of, folder: Path) -> None:
    """As replication and the cluster's bus do with tls-auth-clients; Python 3.13 and later are strict by default."""
    authority().issue()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), client_context(str(folder / "ca.crt"))
    for context, host in ((server, "redis-1"), (client, "redis-2")):
        context.load_cert_chain(folder / f"{host}.crt", folder / f"{host}.key")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_verify_locations(folder / "ca.crt")
    server.verify_mode = ssl.CERT_REQUIRED
    assert handshake(server, client, "10.0.0.1")["subjectAltName"][0] == ("DNS", "redis-1.example.com")


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_it(authority: Of, folder: Path, purpose: str) -> None:
    authority().issue()
    certificate = str(folder / "redis-1.crt")
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(folder / "ca.crt"), certificate]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"{certificate}: OK\n", done.stderr


def test_what_is_in_the_certificates(authority: Of, folder: Path) -> None:
    authority().issue()
    now, ca, host = datetime.now(timezone.utc), load(folder / "ca.crt"), load(folder / "redis-1.crt")
    constraints = [one.extensions.get_extension_for_class(x509.BasicConstraints) for one in (ca, host)]
    wanted = [(True, True, 0), (True, False, None)]
    assert [(one.critical, one.value.ca, one.value.path_length) for one in constraints] == wanted
    assert usage(ca) == {"key_cert_sign", "crl_sign"}
    assert usage(host) == {"digital_signature"}
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert ca.subject.rfc4514_string() == f"CN=cachestack {identifier.hex()[:8]},O=cachestack"
    assert host.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    assert not host.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert isinstance(host.public_key(), ec.EllipticCurvePublicKey)
    # A host's clock may be behind.
    assert now - timedelta(days=1, minutes=5) < host.not_valid_before_utc <= now - timedelta(hours=23)
    assert host.serial_number != load(folder / "redis-2.crt").serial_number


def test_no_certificate_outlives_the_ca(authority: Of, folder: Path) -> None:
    authority(days=5000).issue()
    host, ca = load(folder / "redis-1.crt"), load(folder / "ca.crt")
    assert ca.not_valid_before_utc <= host.not_valid_before_utc
    assert host.not_valid_after_utc == ca.not_valid_after_utc


@pytest.mark.parametrize("host", ["ca", "..", "a/b", "../../redis", "[::1]:22", "redis 1", "ключ", "x%", "lock", "-"])
def test_a_host_may_have_any_name(authority: Of, folder: Path, host: str) -> None:
    authority({host: ["10.0.0.1"], "redis-1": ["10.0.0.1"]}).issue()
    # The CA, two hosts and the lock.
    assert (len(list(folder.iterdir())), len(list(folder.parent.iterdir()))) == (7, 1)
    assert authority({host: ["10.0.0.1"]}).issue() == {}
    issued = authority({host: ["10.0.0.1"]}).issued(host)
    assert issued is not None
    assert issued.cert != issued.ca


def test_a_name_in_another_script_is_written_as_clients_ask_for_it(authority: Of, folder: Path) -> None:
    authority({"redis-1": ["Пример.рф"]}).issue()
    found = state(folder, "redis-1", "пример.рф")
    assert (found["faults"], found["names"]) == ([], ["xn--e1afmkfd.xn--p1ai"])


# Why one is issued anew


def drop(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def spoil(name: str, text: str = "") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def take(source: str, *, to: str) -> Callable[[Path], object]:
    return lambda folder: (folder / to).write_bytes((folder / source).read_bytes())


def lock_key(path: Path) -> None:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    kind, secret = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, secret))


def other_kind(path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    kind = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (drop("redis-1.crt"), "redis-1.crt is missing"),
        (drop("redis-1.key"), "redis-1.key is missing"),
        (spoil("redis-1.crt"), "redis-1.crt cannot be read"),
        (spoil("redis-1.key", "x"), "redis-1.key cannot be read"),
        (lambda folder: lock_key(folder / "redis-1.key"), "redis-1.key has a password"),
        (lambda folder: other_kind(folder / "redis-1.key"), "redis-1.key is no elliptic curve key"),
        (take("redis-2.key", to="redis-1.key"), "redis-1.key is not the key of redis-1.crt"),
        (take("redis-2.crt", to="redis-1.crt"), "redis-1.key is not the key of redis-1.crt"),
    ],
)
def test_a_damaged_one_is_issued_anew(authority: Of, folder: Path, damage: Callable[[Path], object], why: str) -> None:
    authority().issue()
    before = content(folder)
    damage(folder)
    damaged = authority()
    assert (damaged.issued("redis-1"), damaged.issued("redis-2") is None) == (None, False)
    assert damaged.reasons == authority().issue() == {"redis-1": why}
    after = content(folder)
    assert {name for name in before if before[name] != after[name]} == {"redis-1.crt", "redis-1.key"}
    assert authority().issue() == {}


@pytest.mark.parametrize("names", [["10.0.0.2", "10.0.0.3"], ["10.0.0.3"]])
def test_one_for_other_names_is_issued_anew(authority: Of, names: list[str]) -> None:
    authority().issue()
    assert authority({**HOSTS, "redis-2": names}).issue() == {"redis-2": "it is for other names"}


def test_one_of_another_ca_is_issued_anew(authority: Of, folder: Path, tmp_path: Path) -> None:
    authority().issue()
    Authority(str(tmp_path / "other"), HOSTS).issue()
    for name in ("ca.key", "ca.crt"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert set(authority().issue().values()) == {"it is of another authority"}
    assert authority().issue() == {}


@pytest.mark.parametrize(("days", "changed"), [(366.9, False), (367.1, True), (500, True)])
def test_one_that_expires_soon_is_issued_anew(
    authority: Of, folder: Path, monkeypatch: pytest.MonkeyPatch, days: float, changed: bool
) -> None:
    authority().issue()
    until = f"{datetime.now(timezone.utc) + timedelta(days=397):%Y-%m-%d}"
    later(monkeypatch, days)
    assert set(authority().issue().values()) == ({f"it ends on {until}"} if changed else set())
    if changed:
        assert {lasts(folder, host) for host in HOSTS} == {396}
        assert authority().issue() == {}


def test_renew_before_is_in_days(authority: Of) -> None:
    authority().issue()
    assert authority(renew_before=396).issue() == {}
    assert list(authority(days=500, renew_before=397).issue()) == ["redis-1", "redis-2"]


def test_one_from_the_future_is_issued_anew(authority: Of, monkeypatch: pytest.MonkeyPatch) -> None:
    authority().issue()
    with monkeypatch.context() as patch:
        later(patch, 10)
        authority({"redis-2": ["10.0.0.3"]}).issue()
    starts = f"{datetime.now(timezone.utc) + timedelta(days=9):%Y-%m-%d}"
    assert authority({"redis-2": ["10.0.0.3"]}).issue() == {"redis-2": f"it is not valid before {starts}"}


def test_renew_issues_all_anew_and_keeps_the_ca(authority: Of, folder: Path) -> None:
    authority().issue()
    before = content(folder)
    assert authority(renew=True).issued("redis-1") is None
    assert set(authority(renew=True).issue().values()) == {"renewal was asked for"}
    after = content(folder)
    assert {name for name in before if before[name] == after[name]} == {"ca.crt", "ca.key", "lock"}


def test_a_host_that_left_keeps_its_files_and_a_new_one_gets_some(authority: Of, folder: Path) -> None:
    authority().issue()
    before = content(folder)
    assert list(authority({"redis-2": HOSTS["redis-2"], "redis-3": ["10.0.0.3"]}).issue()) == ["redis-3"]
    assert before.items() <= content(folder).items()


def test_a_key_that_others_may_read_is_closed(authority: Of, folder: Path) -> None:
    authority().issue()
    (folder / "ca.key").chmod(0o644)
    assert authority().issue() == {}
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600


# What the user has to put right


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (drop("ca.crt"), "ca.crt is missing"),
        (drop("ca.key"), "ca.key is missing"),
        (lambda folder: (drop("ca.key")(folder), drop("ca.crt")(folder)), "ca.key is missing"),
        (spoil("ca.crt", "x"), "ca.crt cannot be read"),
        (spoil("ca.key"), "ca.key cannot be read"),
        (take("redis-1.key", to="ca.key"), "ca.key is not the key of ca.crt"),
        (lambda folder: lock_key(folder / "ca.key"), "ca.key has a password"),
        (
            lambda folder: [take(f"redis-1.{kind}", to=f"ca.{kind}")(folder) for kind in ("key", "crt")],
            "ca.crt is no authority's certificate",
        ),
    ],
)
def test_a_ca_that_is_broken_is_never_replaced(
    authority: Of, folder: Path, damage: Callable[[Path], object], text: str
) -> None:
    authority().issue()
    damage(folder)
    before = content(folder)
    said = refused(authority(renew=True))
    assert said.startswith(f"the authority in {folder}: {text}. Restore ca.key and ca.crt from a backup. ")
    assert "delete that folder, and run site.yml once with -e '{redis_tls_new_authority: true}'" in said
    assert content(folder) == before


def test_a_ca_alone_in_its_folder_is_kept(authority: Of, folder: Path) -> None:
    assert authority({}).issue() == {}
    before = content(folder)
    authority().issue()
    assert before.items() <= content(folder).items()


def test_a_ca_that_has_expired(authority: Of, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority().issue()
    later(monkeypatch, 3650.5)
    before = content(folder)
    said = refused(authority())
    assert f"the authority in {folder} is valid from " in said
    assert "delete that folder" in said
    assert content(folder) == before


def test_a_ca_that_expires_soon(authority: Of, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that end with the CA are not issued anew in each run."""
    authority().issue()
    later(monkeypatch, 3630.5)
    assert list(authority().issue()) == ["redis-1", "redis-2"]
    assert load(folder / "redis-1.crt").not_valid_after_utc == load(folder / "ca.crt").not_valid_after_utc
    assert (authority().issue(), authority().days_left) == ({}, 19)


@pytest.mark.parametrize(
    "name",
    ["", " ", "redis 1", "*.example.com", "redis-1.", ".example", "-a", "a-.b", "10.0.0.256", "10.0.0", "fe80::1%eth0",
     "10.0.0.1/24", "[::1]", "redis-1:6379", "x" * 64, ".".join(["x" * 60] * 5), "https://redis-1", "a\n"],
)  # fmt: skip
def test_what_is_no_name(authority: Of, folder: Path, name: str) -> None:
    said = refused(authority({**HOSTS, "redis-3": ["10.0.0.3", name]}))
    assert said == f"redis-3: {name!r} is neither a host name nor an address"
    assert not folder.exists()


@pytest.mark.parametrize("name", ["redis_1", "a", "xn--j1avq.example", "1.example", "::1", "x" * 63, "127.0.0.1"])
def test_what_is_a_name(authority: Of, name: str) -> None:
    assert list(authority({"redis-1": [name]}).issue()) == ["redis-1"]


def test_all_that_is_wrong_is_said_at_once(authority: Of) -> None:
    assert refused(authority({"redis-1": ["a b", "10.0.0.1"], "redis-3": ["5", "{}"]})).split("; ") == [
        "redis-1: 'a b' is neither a host name nor an address",
        "redis-3: '5' is neither a host name nor an address",
        "redis-3: '{}' is neither a host name nor an address",
    ]


def test_days_that_would_issue_all_anew_each_time(authority: Of, folder: Path) -> None:
    with pytest.raises(AuthorityError) as raised:
        authority(days=30).issue()
    assert "redis_tls_days (30) must be more than redis_tls_renew_before_days (30)" in str(raised.value)
    assert not folder.exists()


def test_a_disk_that_is_full(authority: Of, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
        with pytest.raises(AuthorityError, match="No space left on device"):
            authority().issue()
    assert list(authority().issue()) == ["redis-1", "redis-2"]


def test_a_folder_that_cannot_be_written(authority: Of, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    with pytest.raises(AuthorityError) as raised:
        authority().issue()
    assert str(folder) in str(raised.value)


def test_many_hosts_take_no_time(authority: Of) -> None:
    hosts = {f"redis-{number}": [f"10.0.0.{number}", f"redis-{number}.example.com"] for number in range(1, 201)}
    assert len(authority(hosts).issue()) == 200
    began = time.process_time()
    assert authority(hosts).reasons == {}
    assert time.process_time() - began < 2
