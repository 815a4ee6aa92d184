"""The module certificate_authority. What it makes is given to handshakes and to the program openssl."""

from __future__ import annotations

import fcntl
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.certificates import certificate_state, client_context, handshake
from ansible.plugins.modules import certificate_authority
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from test_modules import Run, run

__all__ = ["run"]

HOSTS = {"redis-1": ["redis-1.example.com", "10.0.0.1", "2001:db8::1"], "redis-2": ["10.0.0.2"]}

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "tls"


@pytest.fixture
def make(run: Run, folder: Path) -> Make:
    """Run the module for HOSTS."""

    def start(**changes: Any) -> dict[str, Any]:
        return run(certificate_authority, **{"path": str(folder), "certificates": HOSTS, **changes})

    return start


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def load(path: Path | str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def usage(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert found.critical
    # Without key_agreement there is no encipher_only.
    words = set(certificate_authority.KEY_USAGES) - {"encipher_only", "decipher_only"}
    return {word for word in words if getattr(found.value, word)}


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let the module, and it alone, live that many days later."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(certificate_authority, "datetime", Later)


# What is made


def test_the_first_run_makes_all(make: Make, folder: Path) -> None:
    result = make()
    assert (result["changed"], result["made"]) == (True, ["redis-1", "redis-2"])
    assert result["why"] == {"redis-1": "redis-1.key is missing", "redis-2": "redis-2.key is missing"}
    assert result["files"]["redis-1"] == {
        "cert_file": str(folder / "redis-1.crt"),
        "key_file": str(folder / "redis-1.key"),
    }
    assert result["ca_file"] == str(folder / "ca.crt")
    assert result["ca_days_left"] == 3649
    assert result["days_left"] == {"redis-1": 396, "redis-2": 396}
    assert sorted(content(folder)) == [
        "ca.crt",
        "ca.key",
        "lock",
        "redis-1.crt",
        "redis-1.key",
        "redis-2.crt",
        "redis-2.key",
    ]


def test_modes(make: Make, folder: Path) -> None:
    before = os.umask(0o000)
    try:
        make()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.name != "lock"}
    assert modes == {name: 0o600 if name.endswith(".key") else 0o644 for name in modes}


def test_the_second_run_changes_nothing(make: Make, folder: Path) -> None:
    first = make()
    before = content(folder)
    # Neither the order of the names nor their case makes another certificate, nor how an address is written.
    again = {"redis-1": ["2001:0db8:0:0::1", "REDIS-1.example.com", "10.0.0.1", "10.0.0.1"], "redis-2": ["10.0.0.2"]}
    for certificates in (HOSTS, again):
        result = make(certificates=certificates)
        assert (result["changed"], result["made"], result["why"]) == (False, [], {})
        assert (result["files"], result["days_left"]) == (first["files"], first["days_left"])
        assert result["diff"] == {"before": "", "after": ""}
    assert content(folder) == before


@pytest.mark.parametrize("name", HOSTS["redis-1"])
def test_a_client_accepts_a_server_by_each_of_its_names(make: Make, name: str) -> None:
    result = make()
    files = result["files"]["redis-1"]
    state = certificate_state(files["cert_file"], files["key_file"], result["ca_file"], name)
    assert state["faults"] == []
    assert state["days_left"] == 396


@pytest.mark.parametrize("name", ["redis-2.example.com", "10.0.0.2", "example.com", "redis-1"])
def test_a_client_refuses_a_server_by_another_name(make: Make, name: str) -> None:
    result = make()
    files = result["files"]["redis-1"]
    state = certificate_state(files["cert_file"], files["key_file"], result["ca_file"], name)
    assert [fault["kind"] for fault in state["faults"]] == ["name"]


def test_both_sides_may_ask_for_a_certificate_and_are_strict(make: Make) -> None:
    """As replication and the cluster's bus do with tls-auth-clients; Python 3.13 and later are strict by default."""
    result = make()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), client_context(result["ca_file"])
    for context, host in ((server, "redis-1"), (client, "redis-2")):
        context.load_cert_chain(result["files"][host]["cert_file"], result["files"][host]["key_file"])
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_verify_locations(result["ca_file"])
    server.verify_mode = ssl.CERT_REQUIRED
    assert handshake(server, client, "10.0.0.1")["subjectAltName"][0] == ("DNS", "redis-1.example.com")


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
def test_openssl_accepts_it(make: Make, folder: Path, purpose: str) -> None:
    make()
    certificate = str(folder / "redis-1.crt")
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(folder / "ca.crt"), certificate]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"{certificate}: OK\n", done.stderr


def test_what_is_in_the_certificates(make: Make, folder: Path) -> None:
    make()
    now, ca, host = datetime.now(timezone.utc), load(folder / "ca.crt"), load(folder / "redis-1.crt")
    constraints = [one.extensions.get_extension_for_class(x509.BasicConstraints) for one in (ca, host)]
    assert [(one.critical, one.value.ca, one.value.path_length) for one in constraints] == [
        (True, True, 0),
        (True, False, None),
    ]
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


def test_no_certificate_outlives_the_authority(make: Make, folder: Path) -> None:
    make(days=5000)
    host, ca = load(folder / "redis-1.crt"), load(folder / "ca.crt")
    assert (host.not_valid_before_utc, host.not_valid_after_utc) == (ca.not_valid_before_utc, ca.not_valid_after_utc)


@pytest.mark.parametrize("host", ["ca", "..", "a/b", "../../redis", "[::1]:22", "redis 1", "ключ", "x%", "lock", "-"])
def test_a_host_may_have_any_name(make: Make, folder: Path, host: str) -> None:
    files = make(certificates={host: ["10.0.0.1"], "redis-1": ["10.0.0.1"]})["files"][host]
    assert {Path(path).parent for path in files.values()} == {folder}
    assert {Path(path) for path in files.values()} <= set(folder.iterdir())
    assert len(list(folder.iterdir())) == 7
    assert not make(certificates={host: ["10.0.0.1"]})["changed"]


def test_a_name_in_another_script_is_written_as_clients_ask_for_it(make: Make) -> None:
    result = make(certificates={"redis-1": ["Пример.рф"]})
    files = result["files"]["redis-1"]
    state = certificate_state(files["cert_file"], files["key_file"], result["ca_file"], "пример.рф")
    assert (state["faults"], state["names"]) == ([], ["xn--e1afmkfd.xn--p1ai"])


# Why one is made anew


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
def test_a_damaged_one_is_made_anew(make: Make, folder: Path, damage: Callable[[Path], object], why: str) -> None:
    make()
    before = content(folder)
    damage(folder)
    assert make()["why"] == {"redis-1": why}
    after = content(folder)
    assert {name for name in before if before[name] != after[name]} == {"redis-1.crt", "redis-1.key"}
    assert not make()["changed"]


@pytest.mark.parametrize("names", [["10.0.0.2", "10.0.0.3"], ["10.0.0.3"]])
def test_one_for_other_names_is_made_anew(make: Make, names: list[str]) -> None:
    make()
    result = make(certificates={**HOSTS, "redis-2": names})
    assert result["why"] == {"redis-2": "it is for other names"}
    until = f"{datetime.now(timezone.utc) + timedelta(days=397):%Y-%m-%d}"
    assert result["diff"] == {
        "before": f"redis-2: 10.0.0.2 until {until}\n",
        "after": f"redis-2: {' '.join(names)} until {until} (it is for other names)\n",
    }


def test_one_of_another_authority_is_made_anew(run: Run, make: Make, folder: Path, tmp_path: Path) -> None:
    make()
    run(certificate_authority, path=str(tmp_path / "other"), certificates=HOSTS)
    for name in ("ca.key", "ca.crt"):
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert set(make()["why"].values()) == {"it is of another authority"}
    assert not make()["changed"]


@pytest.mark.parametrize(("days", "changed"), [(366.9, False), (367.1, True), (500, True)])
def test_one_that_expires_soon_is_made_anew(
    make: Make, monkeypatch: pytest.MonkeyPatch, days: float, changed: bool
) -> None:
    make()
    later(monkeypatch, days)
    result = make()
    assert result["changed"] is changed
    if changed:
        until = f"{datetime.now(timezone.utc) + timedelta(days=397):%Y-%m-%d}"
        assert set(result["why"].values()) == {f"it ends on {until}"}
        assert set(result["days_left"].values()) == {396}
        assert not make()["changed"]


def test_renew_before_is_in_days(make: Make) -> None:
    make()
    assert not make(renew_before=396)["changed"]
    assert make(days=500, renew_before=397)["made"] == ["redis-1", "redis-2"]


def test_one_from_the_future_is_made_anew(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    with monkeypatch.context() as patch:
        later(patch, 10)
        make(certificates={"redis-2": ["10.0.0.3"]})
    starts = f"{datetime.now(timezone.utc) + timedelta(days=9):%Y-%m-%d}"
    assert make(certificates={"redis-2": ["10.0.0.3"]})["why"] == {"redis-2": f"it is not valid before {starts}"}


def test_renew_makes_all_anew_but_the_authority(make: Make, folder: Path) -> None:
    make()
    before = content(folder)
    assert set(make(renew=True)["why"].values()) == {"renew is true"}
    after = content(folder)
    assert {name for name in before if before[name] == after[name]} == {"ca.crt", "ca.key", "lock"}


def test_a_host_that_left_keeps_its_files_and_a_new_one_gets_some(make: Make, folder: Path) -> None:
    make()
    before = content(folder)
    assert make(certificates={"redis-2": HOSTS["redis-2"], "redis-3": ["10.0.0.3"]})["made"] == ["redis-3"]
    assert before.items() <= content(folder).items()


def test_a_key_that_others_may_read_is_closed(make: Make, folder: Path) -> None:
    make()
    (folder / "ca.key").chmod(0o644)
    for check in (True, False):
        result = make(check=check)
        assert (result["changed"], result["made"]) == (True, [])
        assert result["diff"] == {"before": "ca.key: mode 0644\n", "after": "ca.key: mode 0600\n"}
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    assert not make()["changed"]


# Check mode and --diff


def test_check_mode_writes_nothing(make: Make, folder: Path) -> None:
    foretold = make(check=True)
    assert not folder.parent.exists()
    result = make()
    assert foretold.pop("diff")["after"].count("\n") == result.pop("diff")["after"].count("\n") == 3
    assert {**foretold, "invocation": 0} == {**result, "invocation": 0}

    before = content(folder)
    assert make(check=True, renew=True)["made"] == ["redis-1", "redis-2"]
    assert not make(check=True)["changed"]
    assert content(folder) == before


def test_the_diff_has_no_key(make: Make, folder: Path) -> None:
    result = make()
    assert "PRIVATE" not in str(result)
    for path in folder.glob("*.key"):
        assert [line for line in path.read_text().splitlines() if line in str(result)] == []


# Runs that are cut short, or side by side


@pytest.mark.parametrize("written", range(6))
def test_a_run_that_was_cut_short_is_gone_on_with(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Cut short at each of its six files, after half of it was written."""
    rename = os.replace
    done: list[Path] = []

    def cut(source: Path, target: Path) -> None:
        if len(done) == written:
            source.write_bytes(source.read_bytes()[:50])
            raise KeyboardInterrupt
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(KeyboardInterrupt):
            make()
    left = {name: text for name, text in content(folder).items() if name.endswith((".crt", ".key"))}
    assert len(left) == written
    assert all(text.endswith(b"-----\n") for text in left.values())
    result = make()
    # What was whole is still in use, and nothing lies about.
    whole = {name for host in ("ca", "redis-1", "redis-2") if f"{host}.crt" in left for name in left if host in name}
    assert {name: content(folder)[name] for name in whole} == {name: left[name] for name in whole}
    assert len(content(folder)) == 7
    for host, names in HOSTS.items():
        files = result["files"][host]
        state = certificate_state(files["cert_file"], files["key_file"], result["ca_file"], names[0])
        assert state["faults"] == []
    assert not make()["changed"]


def test_a_disk_that_is_full_is_an_error(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
        result = make()
    assert result["failed"]
    assert "No space left on device" in result["msg"]
    assert make()["made"] == ["redis-1", "redis-2"]


def test_a_run_waits_for_the_other(make: Make, folder: Path) -> None:
    make()
    ended = []
    with (folder / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Check mode waits for nobody.
        assert not make(check=True)["changed"]

        def other() -> None:
            with certificate_authority.locked(folder):
                ended.append(time.monotonic())

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        assert ended == []
    thread.join(5)
    assert len(ended) == 1


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
def test_an_authority_that_is_broken_is_never_replaced(
    make: Make, folder: Path, damage: Callable[[Path], object], text: str
) -> None:
    make()
    damage(folder)
    before = content(folder)
    for check in (True, False):
        result = make(check=check)
        assert result["failed"]
        assert result["msg"].startswith(f"the authority in {folder}: {text}. Restore ca.key and ca.crt from a backup. ")
        assert "delete that folder, and run site.yml once with -e '{redis_tls_new_authority: true}'" in result["msg"]
        assert content(folder) == before


def test_an_authority_alone_in_its_folder_is_kept(make: Make, folder: Path) -> None:
    first = make(certificates={})
    assert (first["changed"], first["made"], first["files"]) == (True, [], {})
    before = content(folder)
    make()
    assert before.items() <= content(folder).items()


def test_an_authority_that_has_expired(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    later(monkeypatch, 3650.5)
    before = content(folder)
    result = make()
    assert result["failed"]
    assert f"the authority in {folder} is valid from " in result["msg"]
    assert "delete that folder" in result["msg"]
    assert content(folder) == before


def test_an_authority_that_expires_soon(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning; and certificates that end with the authority are not made anew in each run."""
    make()
    later(monkeypatch, 3630.5)
    result = make()
    assert (result["made"], result["ca_days_left"]) == (["redis-1", "redis-2"], 19)
    assert set(result["days_left"].values()) == {19}
    result = make()
    assert (result["changed"], result["ca_days_left"]) == (False, 19)
    assert f"the authority in {folder} ends in 19 days, and with it all certificates" in str(result["warnings"])


@pytest.mark.parametrize(
    "name",
    ["", " ", "redis 1", "*.example.com", "redis-1.", ".example", "-a", "a-.b", "10.0.0.256", "10.0.0", "fe80::1%eth0",
     "10.0.0.1/24", "[::1]", "redis-1:6379", "x" * 64, ".".join(["x" * 60] * 5), "https://redis-1", "a\n"],
)  # fmt: skip
def test_what_is_no_name(make: Make, folder: Path, name: str) -> None:
    result = make(certificates={**HOSTS, "redis-3": ["10.0.0.3", name]})
    assert result["failed"]
    assert result["msg"] == f"redis-3: {name!r} is neither a host name nor an address"
    assert not folder.exists()


@pytest.mark.parametrize("name", ["redis_1", "a", "xn--j1avq.example", "1.example", "::1", "x" * 63, "127.0.0.1"])
def test_what_is_a_name(make: Make, name: str) -> None:
    assert make(certificates={"redis-1": [name]})["made"] == ["redis-1"]


def test_all_that_is_wrong_is_said_at_once(make: Make) -> None:
    result = make(certificates={"redis-1": "10.0.0.1", "redis-2": [], "redis-3": [5, {}]})
    assert result["msg"].split("; ") == [
        "redis-1: write a list of host names and addresses",
        "redis-2: write a list of host names and addresses",
        "redis-3: '5' is neither a host name nor an address",
        "redis-3: '{}' is neither a host name nor an address",
    ]


def test_days_that_would_make_all_anew_each_time(make: Make, folder: Path) -> None:
    assert "days (30) must be more than renew_before (30)" in make(days=30)["msg"]
    assert not folder.exists()


def test_a_folder_that_cannot_be_written(make: Make, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    result = make()
    assert result["failed"]
    assert str(folder) in result["msg"]


def test_without_cryptography(make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_authority, "VERSION", 0)
    result = make()
    assert result["failed"]
    assert "has no Python package cryptography 42 or later" in result["msg"]
    assert "pip install -r requirements.txt" in result["msg"]
    assert not folder.exists()


def test_the_module_is_read_without_cryptography(tmp_path: Path) -> None:
    (tmp_path / "cryptography.py").write_text("raise ImportError\n")
    code = "import certificate_authority; print(certificate_authority.VERSION)"
    path = f"{tmp_path}:{Path(certificate_authority.__file__).parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout == "0\n", done.stderr


def test_many_hosts_take_no_time(make: Make) -> None:
    """Measured here: 0.1 s when nothing is to do. The limit is for a busy machine."""
    hosts = {f"redis-{number}": [f"10.0.0.{number}", f"redis-{number}.example.com"] for number in range(1, 201)}
    assert len(make(certificates=hosts)["made"]) == 200
    began = time.monotonic()
    assert not make(certificates=hosts)["changed"]
    assert time.monotonic() - began < 2
