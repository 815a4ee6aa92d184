#!/usr/bin/python
"""Ansible module: make an authority on the control machine, and the certificates that it signs."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule

try:
    import cryptography
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    VERSION = int(cryptography.__version__.partition(".")[0])
except ImportError:
    VERSION = 0

DOCUMENTATION = r"""
module: certificate_authority
short_description: Make an authority on the control machine, and the certificates that it signs
description:
  - Runs once on the control machine for all hosts; another task copies what it made.
  - Makes C(ca.key) and C(ca.crt) if the folder has no certificates yet, and never replaces them, since everyone
    trusts that authority. Makes a key and a certificate for each host where they are missing or will not do.
  - A host's certificate is for servers and for clients, since a replica and a node of a cluster are both.
  - Runs side by side wait for each other. One that is cut short leaves whole files, and the next one goes on.
options:
  path: {description: Folder of the authority., type: path, required: true}
  certificates: {description: Inventory host to the list of its host names and addresses., type: dict, required: true}
  days: {description: "How long a new certificate lasts, but never longer than the authority.", type: int, default: 397}
  renew_before: {description: Days before its end at which a certificate is made anew., type: int, default: 30}
  renew: {description: Make all certificates anew; the authority stays., type: bool, default: false}
author: the cachestack authors
"""

EXAMPLES = r"""
- name: Make the certificates
  certificate_authority:
    path: /home/me/cachestack/secrets/tls
    certificates: {redis-1: [redis-1.example.com, 10.0.0.1], redis-2: ["2001:db8::2"]}
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
made: {description: "The hosts whose key and certificate are new, or would be without check mode.", type: list}
why: {description: Each of those hosts to the reason., type: dict}
files: {description: Each host to its C(cert_file) and C(key_file) on the control machine., type: dict}
days_left: {description: Each host to the whole days until its certificate expires., type: dict}
ca_file: {description: "The authority's certificate on the control machine.", type: str}
ca_days_left: {description: Whole days until the authority expires., type: int}
"""

# The lowest version of cryptography that has what is used here.
FLOOR = 42
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


class AuthorityError(Exception):
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


def wanted_names(certificates: dict[str, Any]) -> dict[str, list[x509.GeneralName]]:
    """Host to the names that its certificate shall have; raises AuthorityError with all that are wrong."""
    wanted: dict[str, list[x509.GeneralName]] = {}
    wrong = []
    for host, names in certificates.items():
        if not isinstance(names, list) or not names:
            wrong.append(f"{host}: write a list of host names and addresses")
            continue
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


def describe(name: str, certificate: x509.Certificate, remark: str = "") -> str:
    """A line of --diff."""
    names = "".join(f" {general.value}" for general in names_in(certificate))
    return f"{name}:{names} until {certificate.not_valid_after_utc:%Y-%m-%d}{remark}\n"


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


def check(
    certificate: x509.Certificate, names: list[x509.GeneralName], authority: Pair, params: dict[str, Any]
) -> None:
    """Raise UnusableError where a host's certificate will not do for these names, or shall be made anew."""
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise UnusableError("it is of another authority") from error
    if set(names_in(certificate)) != set(names):
        raise UnusableError("it is for other names")
    if starts > datetime.now(timezone.utc):
        raise UnusableError(f"it is not valid before {starts:%Y-%m-%d}")
    # Where the authority ends, a new one would end as well.
    if days_left(certificate) < params["renew_before"] and ends < authority.certificate.not_valid_after_utc:
        raise UnusableError(f"it ends on {ends:%Y-%m-%d}")
    if params["renew"]:
        raise UnusableError("renew is true")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, and wait until no other run writes to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(
    folder: Path, wanted: dict[str, list[x509.GeneralName]], params: dict[str, Any], is_dry: bool
) -> dict[str, Any]:
    """Make what is missing or will not do, and return the module's result; a dry run only leaves out the writing."""
    authority, is_new = find_authority(folder)
    before = after = ""
    if is_new:
        after += describe("authority", authority.certificate)
        if not is_dry:
            save(folder, CA, authority)
    why, left, files = {}, {}, {}
    for host, names in wanted.items():
        name, pair = file_name(host), None
        try:
            pair = load(folder, name)
            check(pair.certificate, names, authority, params)
        except UnusableError as error:
            before += describe(host, pair.certificate) if pair else ""
            pair, why[host] = new_certificate(names, params["days"], authority), str(error)
            after += describe(host, pair.certificate, f" ({error})")
            if not is_dry:
                save(folder, name, pair)
        key_file, cert_file = files_of(folder, name)
        left[host], files[host] = days_left(pair.certificate), {"cert_file": str(cert_file), "key_file": str(key_file)}
    # Such as from a backup.
    for path in sorted(folder.glob("*.key")):
        mode = path.stat().st_mode & 0o7777
        if mode & 0o077:
            before, after = f"{before}{path.name}: mode {mode:04o}\n", f"{after}{path.name}: mode 0600\n"
            if not is_dry:
                path.chmod(0o600)
    return {
        "changed": bool(after),
        "made": list(why),
        "why": why,
        "files": files,
        "days_left": left,
        "ca_file": str(files_of(folder, CA)[1]),
        "ca_days_left": days_left(authority.certificate),
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        {
            "path": {"type": "path", "required": True},
            "certificates": {"type": "dict", "required": True},
            "days": {"type": "int", "default": 397},
            "renew_before": {"type": "int", "default": 30},
            "renew": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if VERSION < FLOOR:
        module.fail_json(
            msg=f"{sys.executable} has no Python package cryptography {FLOOR} or later. Run this through make, or with "
            "the Python that has what requirements.txt names: pip install -r requirements.txt"
        )
    if params["days"] <= params["renew_before"]:
        module.fail_json(
            msg=f"days ({params['days']}) must be more than renew_before ({params['renew_before']}), else each run "
            "makes all certificates anew"
        )
    folder = Path(params["path"]).absolute()
    try:
        wanted = wanted_names(params["certificates"])
        with nullcontext() if module.check_mode else locked(folder):
            result = make(folder, wanted, params, module.check_mode)
    except (AuthorityError, OSError) as error:
        module.fail_json(msg=str(error))
    left = result["ca_days_left"]
    if left < params["renew_before"]:
        module.warn(
            f"the authority in {folder} ends in {left} days, and with it all certificates. Before that, {START_OVER}"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
