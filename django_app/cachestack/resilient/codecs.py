"""From Python values to the bytes in Redis and back.

A whole number is stored as its digits, since INCRBY counts in digits. Any other value is stored as tags, signature and
payload. The tags are two bytes: who serialized the payload, and who compressed it; so a value that was written with
other settings is recognised before anything reads it. The signature is there for the serializer `signed` alone.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Union

from django.conf import settings
from django.utils.encoding import force_bytes
from django.utils.module_loading import import_string

SIGNATURE_LENGTH = hashlib.sha256().digest_size
_SALT = b"cachestack.resilient.signed"
_DIGITS = frozenset(b"-0123456789")

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
_CUSTOM_TAG = b"c"


class Codec:
    """Values to bytes and back, for one alias.

    `serializer` is a name of SERIALIZERS, or what Django's own backend takes: a class, an object or a dotted path with
    dumps and loads. Payloads of `compress_from` bytes and more are compressed.
    """

    def __init__(self, serializer: Any = "pickle", compressor: str = "none", compress_from: int = 1024) -> None:
        if isinstance(serializer, str) and serializer in SERIALIZERS:
            tag, chosen, self._signed = SERIALIZERS[serializer]
            self._serializer: Any = chosen()
        else:
            found = import_string(serializer) if isinstance(serializer, str) else serializer
            tag, self._serializer, self._signed = _CUSTOM_TAG, found() if callable(found) else found, False
        compression = COMPRESSORS[compressor]
        self._compress, self._decompress = compression.load()
        self._plain, self._compressed = tag + COMPRESSORS["none"].tag, tag + compression.tag
        self._compress_from = compress_from if compressor != "none" else None

    def encode(self, key: str, value: Any) -> Encoded:
        """Return what to store under this complete key. Raise whatever the serializer raises."""
        # bool is an int too, and must come back as bool.
        if type(value) is int:
            return value
        payload: bytes = self._serializer.dumps(value)
        tags = self._plain
        if self._compress_from is not None and len(payload) >= self._compress_from:
            tags, payload = self._compressed, self._compress(payload)
        if self._signed:
            return tags + _sign(settings.SECRET_KEY, key, tags, payload) + payload
        return tags + payload

    def decode(self, key: str, data: bytes) -> Any:
        """Return the value that is stored under this complete key. Raise UnreadableValueError."""
        if data and data[0] in _DIGITS:
            try:
                return int(data)
            except ValueError:
                raise UnreadableValueError("it is no value of this client") from None
        tags, payload = data[:2], data[2:]
        if tags != self._plain and tags != self._compressed:
            raise UnreadableValueError("it was written with another client, serializer or compressor")
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


def _sign(secret: str | bytes, key: str, tags: bytes, payload: bytes) -> bytes:
    """Return the HMAC of a value. The key is a part of it: a value that was copied to another key has a wrong one."""
    return hmac.digest(_derive(secret), b"%d:%s%s%s" % (len(key), key.encode(), tags, payload), "sha256")


def _is_signed(signature: bytes, key: str, tags: bytes, payload: bytes) -> bool:
    """Tell whether the current SECRET_KEY, or one of those before it, signed the value."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(hmac.compare_digest(signature, _sign(secret, key, tags, payload)) for secret in secrets)


@functools.lru_cache(maxsize=8)
def _derive(secret: str | bytes) -> bytes:
    """Return the key for signatures of cached values, as django.utils.crypto.salted_hmac derives one."""
    return hashlib.sha256(_SALT + force_bytes(secret)).digest()
