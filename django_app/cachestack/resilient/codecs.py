"""From Python values to the bytes in Redis and back.

A whole number that INCRBY can count is stored as its digits, and so without a signature. Any other value is stored as
tags, signature and payload. The tags say who serialized the payload, and who compressed it; so a value that was written
with other settings is recognised before anything reads it. The signature is there for the serializer `signed` alone.

It says that a process with the SECRET_KEY has written the value under this key, and not when: whoever can write to
Redis can put an old value of a key back, delete it or store a number, but run no code.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Union

from django.conf import settings
from django.utils.encoding import force_bytes
from django.utils.module_loading import import_string

SIGNATURE_LENGTH = hashlib.sha256().digest_size
_SALT = b"cachestack.resilient.signed"
# What INCRBY counts: 64 bits. https://redis.io/docs/latest/commands/incrby/
_LEAST, _MOST = -(2**63), 2**63 - 1
_DIGITS = re.compile(rb"0|-?[1-9][0-9]{0,18}")

Encoded = Union[bytes, int]


class UnreadableValueError(Exception):
    """A stored value that these settings cannot read; the text says why, and never shows the value."""


@dataclass(frozen=True)
class Compressor:
    """A compression by name: the modules that may bring it, the package to install for it, and its tag."""

    tag: bytes
    modules: tuple[str, ...] = ()
    package: str = ""

    def load(self) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
        """Return the functions to compress and to decompress. Raise ImportError if no module brings them."""
        for name in self.modules:
            try:
                module = import_module(name)
            except ImportError:
                continue
            return module.compress, module.decompress
        if self.modules:
            raise ImportError(f"none of {', '.join(self.modules)} is installed")
        return bytes, bytes


COMPRESSORS = {
    "none": Compressor(b"-"),
    "zlib": Compressor(b"z", ("zlib",)),
    "lz4": Compressor(b"l", ("lz4.frame",), "lz4"),
    "zstd": Compressor(b"s", ("compression.zstd", "pyzstd"), "pyzstd"),
}


class PickleSerializer:
    """As Django's own backend does it: anything that can be pickled."""

    def dumps(self, value: Any) -> bytes:
        """Return the pickle."""
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)

    def loads(self, data: bytes) -> Any:
        """Return the value. Whoever wrote the data can run code here."""
        return pickle.loads(data)


class JSONSerializer:
    """What JSON has: no sets or dates; a tuple comes back as a list. No code can be hidden in it."""

    def dumps(self, value: Any) -> bytes:
        """Return the JSON text. Raise TypeError for what it cannot say."""
        return json.dumps(value, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        """Return the value. Raise ValueError if it is no JSON."""
        return json.loads(data)


# The name of a serializer, its tag, its class and whether its payload is signed.
SERIALIZERS: dict[str, tuple[bytes, type[PickleSerializer] | type[JSONSerializer], bool]] = {
    "pickle": (b"p", PickleSerializer, False),
    "json": (b"j", JSONSerializer, False),
    "signed": (b"h", PickleSerializer, True),
}


class Codec:
    """Values to bytes and back, for one alias.

    `serializer` is a name of SERIALIZERS, or what `load_serializer` takes. Payloads of `compress_from` bytes and more
    are compressed.
    """

    def __init__(self, serializer: Any = "signed", compressor: str = "none", compress_from: int = 1024) -> None:
        self._serializer: Any
        if isinstance(serializer, str) and serializer in SERIALIZERS:
            tag, chosen, self._signed = SERIALIZERS[serializer]
            self._serializer = chosen()
        else:
            self._serializer, self._signed = load_serializer(serializer), False
            tag = _custom_tag(self._serializer)
        compression = COMPRESSORS[compressor]
        self._compress, self._decompress = compression.load()
        self._plain, self._compressed = tag + COMPRESSORS["none"].tag, tag + compression.tag
        self._compress_from = compress_from if compressor != "none" else None

    def encode(self, key: str, value: Any) -> Encoded:
        """Return what to store under this complete key. Raise whatever the serializer raises."""
        # bool is an int too, and must come back as bool.
        if type(value) is int and _LEAST <= value <= _MOST:
            return value
        tags, payload = self._plain, _as_bytes(self._serializer.dumps(value))
        if self._compress_from is not None and len(payload) >= self._compress_from:
            tags, payload = self._compressed, self._compress(payload)
        if self._signed:
            return tags + _sign(settings.SECRET_KEY, key, tags, payload) + payload
        return tags + payload

    def decode(self, key: str, data: bytes) -> Any:
        """Return the value that is stored under this complete key. Raise UnreadableValueError."""
        if _DIGITS.fullmatch(data):
            return int(data)
        if not data.startswith((self._plain, self._compressed)):
            raise UnreadableValueError("it was written with another client, serializer or compressor")
        tags, payload = data[: len(self._plain)], data[len(self._plain) :]
        if self._signed:
            signature, payload = payload[:SIGNATURE_LENGTH], payload[SIGNATURE_LENGTH:]
            if not _is_signed(signature, key, tags, payload):
                raise UnreadableValueError("its signature is wrong: somebody else wrote it, or under another key")
        try:
            if tags != self._plain:
                payload = self._decompress(payload)
            return self._serializer.loads(payload)
        # A damaged value can raise anything, also from the classes that it names.
        except Exception as error:
            raise UnreadableValueError(f"it cannot be read ({type(error).__name__})") from error


def load_serializer(serializer: Any) -> Any:
    """Return the object with dumps and loads that Django's own backend takes: as such, as a class or as a dotted path.

    Raises whatever the import or the class raises.
    """
    found = import_string(serializer) if isinstance(serializer, str) else serializer
    return found() if callable(found) else found


def _custom_tag(serializer: Any) -> bytes:
    """Return the tag of the values of this serializer, which another one would not read."""
    # A module may be one too: it has a name itself.
    kind = type(serializer)
    name = getattr(serializer, "__name__", f"{kind.__module__}.{kind.__qualname__}")
    return b"c" + hashlib.sha256(str(name).encode()).digest()[:4]


def _as_bytes(dumped: Any) -> bytes:
    """Return what a serializer made as redis-py would send it; Django's own backend leaves text and numbers to it."""
    if isinstance(dumped, int) and not isinstance(dumped, bool):
        dumped = str(int(dumped))
    if isinstance(dumped, str):
        return dumped.encode()
    if isinstance(dumped, (bytes, bytearray, memoryview)):
        return bytes(dumped)
    raise TypeError(f"dumps of the serializer returned {type(dumped).__name__}; it must return bytes")


def _sign(secret: str | bytes, key: str, tags: bytes, payload: bytes) -> bytes:
    """Return the HMAC of a value. The key is a part of it: a value that was copied to another key has a wrong one."""
    name = key.encode("utf-8", "surrogatepass")
    return hmac.digest(_derive(secret), b"%d:%s%s%s" % (len(name), name, tags, payload), "sha256")


def _is_signed(signature: bytes, key: str, tags: bytes, payload: bytes) -> bool:
    """Tell whether the current SECRET_KEY, or one of those before it, signed the value."""
    # What an empty secret signs, anybody can.
    secrets = filter(None, (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))
    return any(hmac.compare_digest(signature, _sign(secret, key, tags, payload)) for secret in secrets)


@functools.lru_cache(maxsize=8)
def _derive(secret: str | bytes) -> bytes:
    """Return the key for signatures of cached values, as django.utils.crypto.salted_hmac derives one."""
    return hashlib.sha256(_SALT + force_bytes(secret)).digest()
