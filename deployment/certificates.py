"""A certificate authority (CA) on the control node, and the certificates that it issues.

It makes ``ca.key`` and ``ca.crt`` if its directory has no certificates yet, and never replaces them, since everyone
trusts them. A host's certificate is for servers and for clients, since a replica and a node of a cluster are both.
Runs side by side wait for each other. One that is cut short leaves whole files, and the next one goes on.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from deployment.desired.tls import Issued
from deployment.errors import DeploymentError

CA = "ca"
CA_DAYS = 3650
# A host whose clock is behind takes a new certificate as well.
CLOCK_SKEW = timedelta(days=1)
START_OVER = (
    "delete that folder, and run site.yml once with -e '{redis_tls_new_authority: true}': it makes a new authority and "
    "new certificates, and stops all servers together."
)
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class AuthorityError(DeploymentError):
    """What the user has to put right; the text says how."""


class UnusableError(Exception):
    """A key and its certificate will not do; the text says why."""


class Pair(NamedTuple):
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def general_name(name: str) -> x509.GeneralName:
    """A host name or an address as a certificate has it; raises ValueError for anything else."""
    # A zone such as in fe80::1%eth0 has a meaning on one host alone.
    if "%" not in name:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            pass
    host = name.encode("idna").decode().lower()
    labels = host.split(".")
    # A last part of digits is a mistyped address.
    if len(host) > 253 or not all(LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError(name)
    return x509.DNSName(host)


def wanted_names(certificates: Mapping[str, Sequence[str]]) -> dict[str, list[x509.GeneralName]]:
    """Host to the names that its certificate shall have; raises AuthorityError with all that are wrong."""
    wanted: dict[str, list[x509.GeneralName]] = {}
    wrong = []
    for host, names in certificates.items():
        wanted[host] = []
        for name in dict.fromkeys(map(str, names)):
            try:
                wanted[host].append(general_name(name))
            except ValueError:
                wrong.append(f"{host}: {name!r} is neither a host name nor an address")
    if wrong:
        raise AuthorityError("; ".join(wrong))
    return wanted


def names_in(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """The names that a certificate is for."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except (x509.ExtensionNotFound, ValueError):
        return []


def file_name(host: str) -> str:
    """A file name without suffix for an inventory host, whatever its name; no host has the authority's own."""
    name = quote(host, safe="")
    return f"{name}%" if name == CA else name


def files_of(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a key and its certificate are."""
    return folder / f"{name}.key", folder / f"{name}.crt"


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in a file; raises UnusableError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except TypeError as error:
        raise UnusableError(f"{path.name} has a password") from error
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise UnusableError(f"{path.name} cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnusableError(f"{path.name} is no elliptic curve key")
    return key


def load(folder: Path, name: str) -> Pair:
    """A key and its certificate; raises UnusableError where they are not there or do not belong together."""
    key_file, cert_file = files_of(folder, name)
    for path in (key_file, cert_file):
        if not path.exists():
            raise UnusableError(f"{path.name} is missing")
    key = load_key(key_file)
    try:
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
        is_pair = certificate.public_key() == key.public_key()
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise UnusableError(f"{cert_file.name} cannot be read") from error
    if not is_pair:
        raise UnusableError(f"{key_file.name} is not the key of {cert_file.name}")
    return Pair(key, certificate)


def save(folder: Path, name: str, pair: Pair) -> None:
    """Write a key and its certificate, the key first: a certificate that is there has had its key."""
    encoding, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_file, cert_file = files_of(folder, name)
    replace(key_file, pair.key.private_bytes(encoding, kind, serialization.NoEncryption()), 0o600)
    replace(cert_file, pair.certificate.public_bytes(encoding), 0o644)


def replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file aside and rename it, so that it is never half there."""
    aside = path.with_name(f"{path.name}.partial")
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        # Whatever the umask, and whoever was here before.
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def new_authority(key: ec.EllipticCurvePrivateKey) -> Pair:
    """An authority with this key. Its name is from the key, so that one is told from another."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest
    name = subject(x509.NameAttribute(x509.NameOID.COMMON_NAME, f"cachestack {digest.hex()[:8]}"))
    starts, ends = lifetime(CA_DAYS)
    builder = x509.CertificateBuilder(issuer_name=name).not_valid_before(starts).not_valid_after(ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return Pair(key, sign(builder, name, key, key, "key_cert_sign", "crl_sign"))


def new_certificate(names: list[x509.GeneralName], days: int, authority: Pair) -> Pair:
    """A key, and a certificate for these names that the authority has signed."""
    key, (starts, ends), signer = new_key(), lifetime(days), authority.certificate
    builder = x509.CertificateBuilder(issuer_name=signer.subject)
    builder = builder.not_valid_before(max(starts, signer.not_valid_before_utc))
    builder = builder.not_valid_after(min(ends, signer.not_valid_after_utc))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return Pair(key, sign(builder, subject(), key, authority.key, "digital_signature"))


def sign(
    builder: x509.CertificateBuilder,
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signing_key: ec.EllipticCurvePrivateKey,
    *usages: str,
) -> x509.Certificate:
    """Add what every certificate has, and sign it."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key())
    builder = builder.subject_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.KeyUsage(**{word: word in usages for word in KEY_USAGES}), critical=True)
    builder = builder.add_extension(identifier, critical=False).add_extension(signed_by, critical=False)
    return builder.sign(signing_key, hashes.SHA256())


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key that every OpenSSL since 1.1.1 and every old client takes."""
    return ec.generate_private_key(ec.SECP256R1())


def subject(*more: x509.NameAttribute[str]) -> x509.Name:
    """Whose a certificate is. The names that it is for are elsewhere in it."""
    return x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "cachestack"), *more])


def lifetime(days: int) -> tuple[datetime, datetime]:
    """From when and until when a certificate that is made now is valid."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    return now - CLOCK_SKEW, now + timedelta(days=days)


def days_left(certificate: x509.Certificate) -> int:
    """Whole days until a certificate expires."""
    return (certificate.not_valid_after_utc - datetime.now(timezone.utc)).days


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether clients take what it has signed (RFC 5280, 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def find_authority(folder: Path) -> tuple[Pair, bool]:
    """The authority in the folder, and whether it is new; raises AuthorityError where it will not do."""
    # Who has a certificate trusts its authority, so that cannot be made again. A key alone has signed nothing: it is
    # what a first run left that was cut short.
    is_new = not any(folder.glob("*.crt"))
    key_file, cert_file = files_of(folder, CA)
    try:
        if is_new:
            return new_authority(load_key(key_file) if key_file.exists() else new_key()), True
        authority = load(folder, CA)
        if not is_authority(authority.certificate):
            raise UnusableError(f"{cert_file.name} is no authority's certificate")
    except UnusableError as error:
        raise AuthorityError(
            f"the authority in {folder}: {error}. Restore {key_file.name} and {cert_file.name} from a backup. Without "
            f"one: {START_OVER}"
        ) from error
    starts, ends = authority.certificate.not_valid_before_utc, authority.certificate.not_valid_after_utc
    if not starts <= datetime.now(timezone.utc) < ends:
        raise AuthorityError(
            f"the authority in {folder} is valid from {starts:%Y-%m-%d} until {ends:%Y-%m-%d}. If the clock of this "
            f"machine is right: {START_OVER}"
        )
    return authority, False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the directory, and wait until no other run writes to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Authority:
    """The CA in a directory, and the ``names`` that the certificate of each host must have.

    ``days``: how long a new certificate lasts, but never longer than the CA; ``renew_before``: days before its end at
    which a certificate is issued anew; ``renew``: issue all of them anew, the CA stays. Every method raises
    AuthorityError for what the user has to put right.
    """

    directory: str
    names: Mapping[str, Sequence[str]]
    days: int = 397
    renew_before: int = 30
    renew: bool = False

    @property
    def folder(self) -> Path:
        """The directory on the control node."""
        return Path(self.directory).expanduser().absolute()

    @cached_property
    def reasons(self) -> dict[str, str]:
        """The hosts that need a new certificate, and why. Writes nothing."""
        authority, _ = find_authority(self.folder)
        found = {}
        for host, names in wanted_names(self.names).items():
            try:
                self._check(load(self.folder, file_name(host)).certificate, names, authority)
            except UnusableError as error:
                found[host] = str(error)
        return found

    @property
    def days_left(self) -> int:
        """Whole days until the CA expires."""
        return days_left(find_authority(self.folder)[0].certificate)

    def issued(self, host: str) -> Issued | None:
        """The files of a host; None where a new certificate is still to be issued."""
        if host in self.reasons or not (self.folder / f"{CA}.crt").exists():
            return None
        key_file, cert_file = files_of(self.folder, file_name(host))
        ca_file = files_of(self.folder, CA)[1]
        cert, key, ca = (path.read_text("ascii") for path in (cert_file, key_file, ca_file))
        return Issued(cert, key, ca)

    def issue(self) -> dict[str, str]:
        """Make what is missing or will not do. Returns the hosts with a new certificate, and why."""
        if self.days <= self.renew_before:
            raise AuthorityError(
                f"redis_tls_days ({self.days}) must be more than redis_tls_renew_before_days ({self.renew_before}), "
                "else each run issues all certificates anew"
            )
        wanted = wanted_names(self.names)
        try:
            with locked(self.folder):
                return self._issue(wanted)
        except OSError as error:
            raise AuthorityError(f"the authority in {self.folder} cannot be written: {error}") from error

    def _issue(self, wanted: Mapping[str, list[x509.GeneralName]]) -> dict[str, str]:
        authority, is_new = find_authority(self.folder)
        if is_new:
            save(self.folder, CA, authority)
        # Another run may have issued some meanwhile.
        reasons = Authority(self.directory, self.names, self.days, self.renew_before, self.renew).reasons
        for host in reasons:
            pair = new_certificate(wanted[host], self.days, authority)
            save(self.folder, file_name(host), pair)
        # Such as from a backup.
        for path in self.folder.glob("*.key"):
            path.chmod(0o600)
        return reasons

    def _check(self, certificate: x509.Certificate, names: list[x509.GeneralName], authority: Pair) -> None:
        """Raise UnusableError where a host's certificate will not do for these names, or shall be issued anew."""
        starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        try:
            certificate.verify_directly_issued_by(authority.certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise UnusableError("it is of another authority") from error
        if set(names_in(certificate)) != set(names):
            raise UnusableError("it is for other names")
        if starts > datetime.now(timezone.utc):
            raise UnusableError(f"it is not valid before {starts:%Y-%m-%d}")
        # Where the CA ends, a new one would end as well.
        if days_left(certificate) < self.renew_before and ends < authority.certificate.not_valid_after_utc:
            raise UnusableError(f"it ends on {ends:%Y-%m-%d}")
        if self.renew:
            raise UnusableError("renewal was asked for")
