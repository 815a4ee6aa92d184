"""Values to bytes and back: what comes back is what was stored, or a value that these settings cannot read."""

from __future__ import annotations

import datetime
import enum
import json
import pickle
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache.backends.redis import RedisSerializer
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from cachestack.resilient.codecs import COMPRESSORS, SERIALIZERS, SIGNATURE_LENGTH, Codec, UnreadableValueError, _sign

pytestmark = pytest.mark.usefixtures("django_project", "_no_traps")

KEY = "app:1:key"
OLD, NEW = "the-secret-of-yesterday", "the-secret-of-today"
FLAVOURS = [(serializer, compressor) for serializer in SERIALIZERS for compressor in COMPRESSORS]
EVERY_FLAVOUR = pytest.mark.parametrize(("serializer", "compressor"), FLAVOURS)
# Compressible, so that it can be seen that it was compressed.
LONG = "long " * 1000

sprung: list[str] = []


def spring(word: str) -> str:
    """Leave a trace."""
    sprung.append(word)
    return word


class Trap:
    """Unpickling it leaves a trace."""

    def __reduce__(self) -> Any:
        return spring, ("unpickled",)


@pytest.fixture
def _no_traps() -> Iterator[None]:
    sprung.clear()
    yield
    assert sprung == []


class Colour(enum.IntEnum):
    """A subclass of int."""

    RED = 5


class Number(int):
    """Another one."""


class Shouting:
    """A custom serializer whose dumps returns text."""

    def dumps(self, value: Any) -> Any:
        return json.dumps(value).upper()

    def loads(self, data: bytes) -> Any:
        return json.loads(data.lower())


class Whispering(Shouting):
    """Another one, which could read what the first one wrote, and would return something else."""

    def loads(self, data: bytes) -> Any:
        return data.decode()


class Raw:
    """A custom serializer whose dumps returns what it is told."""

    def dumps(self, value: Any) -> Any:
        return value

    def loads(self, data: bytes) -> Any:
        return data


class Settings:
    """An instance is a serializer too, when it is no callable."""

    def __init__(self, indent: int) -> None:
        self.indent = indent

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, indent=self.indent).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def stored(codec: Codec, value: Any, key: str = KEY) -> bytes:
    """What Redis has after the value was stored: redis-py writes numbers as digits."""
    data = codec.encode(key, value)
    return str(data).encode() if isinstance(data, int) else data


def assert_unreadable(codec: Codec, data: bytes, key: str = KEY) -> None:
    with pytest.raises(UnreadableValueError) as raised:
        codec.decode(key, data)
    # It goes to the log, where values have no business.
    assert "long" not in str(raised.value)
    assert len(str(raised.value)) < 100


def flipped(data: bytes, bit: int) -> bytes:
    place, offset = divmod(bit, 8)
    return data[:place] + bytes([data[place] ^ 1 << offset]) + data[place + 1 :]


# What is stored comes back.

JSON_VALUES = [None, True, False, "", "text", "ключ 🔑", LONG, 1.5, [], [1, [2]], {"a": {"b": None}}]
PICKLE_VALUES = [
    b"",
    b"\xff",
    (1, 2),
    {1: 2},
    {3, 4},
    Decimal("1.10"),
    datetime.date(2024, 2, 29),
    Colour.RED,
    Number(7),
]


@EVERY_FLAVOUR
@pytest.mark.parametrize("compress_from", [0, 1024, 10**9])
def test_what_is_stored_comes_back(serializer: str, compressor: str, compress_from: int) -> None:
    codec = Codec(serializer, compressor, compress_from)
    for value in JSON_VALUES if serializer == "json" else [*JSON_VALUES, *PICKLE_VALUES]:
        found = codec.decode(KEY, stored(codec, value))
        assert found == value
        assert type(found) is type(value)


@EVERY_FLAVOUR
def test_large_payloads_alone_are_compressed(serializer: str, compressor: str) -> None:
    codec = Codec(serializer, compressor, 1024)
    assert (len(stored(codec, LONG)) < len(LONG)) is (compressor != "none")
    small = "x" * 800
    assert len(stored(codec, small)) > len(small)
    # From this size on, and not above it.
    plain = SERIALIZERS[serializer][1]().dumps(small)
    at, above = (stored(Codec(serializer, compressor, len(plain) + more), small) for more in (0, 1))
    assert at[1:2] == COMPRESSORS[compressor].tag
    assert above[1:2] == COMPRESSORS["none"].tag


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("number", [0, 1, -1, 42, 10**18, 2**63 - 1, -(2**63)])
def test_a_number_that_redis_can_count_is_its_digits(serializer: str, number: int) -> None:
    codec = Codec(serializer, "zlib", 0)
    data = codec.encode(KEY, number)
    assert data == number
    assert type(data) is int
    assert codec.decode(KEY, b"%d" % number) == number


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**100])
def test_a_number_that_redis_cannot_count_is_serialized(serializer: str, number: int) -> None:
    codec = Codec(serializer)
    data = codec.encode(KEY, number)
    assert isinstance(data, bytes)
    assert codec.decode(KEY, data) == number


def test_a_number_that_python_does_not_print_comes_back() -> None:
    codec = Codec("signed", "zlib")
    assert codec.decode(KEY, stored(codec, 10**5000)) == 10**5000


@pytest.mark.parametrize("value", [True, False, Colour.RED, Number(7)])
def test_what_is_like_a_number_is_none(value: Any) -> None:
    for serializer in ("pickle", "signed"):
        codec = Codec(serializer)
        found = codec.decode(KEY, stored(codec, value))
        assert type(found) is type(value)
        assert found == value


@pytest.mark.parametrize(
    "data", [b"", b"-", b"--1", b"+1", b"1_000", b" 1", b"1 ", b"1\n", b"007", b"-0", b"1.5", b"1" * 20]
)
def test_what_is_no_number_of_redis_is_not_read_as_one(data: bytes) -> None:
    assert_unreadable(Codec(), data)


@pytest.mark.parametrize("serializer", ["json", f"{__name__}.Shouting"])
def test_what_a_serializer_cannot_say_is_the_callers_mistake(serializer: str) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        Codec(serializer).encode(KEY, {1, 2})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers() | st.binary(), inner)
    ),
    max_leaves=10,
)


@given(
    VALUES, st.sampled_from(["pickle", "signed"]), st.sampled_from(sorted(COMPRESSORS)), st.text(), st.integers(0, 99)
)
def test_any_value_comes_back(value: Any, serializer: str, compressor: str, key: str, compress_from: int) -> None:
    codec = Codec(serializer, compressor, compress_from)
    found = codec.decode(key, stored(codec, value, key))
    assert found == value
    assert type(found) is type(value)


# What others wrote is unreadable, and nothing else happens.


@EVERY_FLAVOUR
@given(garbage=st.binary(max_size=200), tags=st.booleans())
def test_garbage_is_unreadable(serializer: str, compressor: str, garbage: bytes, tags: bool) -> None:
    codec = Codec(serializer, compressor)
    # With the tags of this very codec, compressed or not; pickle's own garbage is below.
    head = SERIALIZERS[serializer][0] + COMPRESSORS[compressor].tag
    if tags and head != b"p-":
        garbage = head + garbage
    elif garbage.isdigit() or garbage[:1] == b"-":
        garbage = b"x" + garbage
    try:
        found = codec.decode(KEY, garbage)
    except UnreadableValueError:
        return
    # Random bytes can be JSON.
    assert serializer == "json"
    assert found == json.loads(garbage[2:])


@EVERY_FLAVOUR
@pytest.mark.parametrize("value", [{"a": [1, "text"]}, LONG])
def test_a_cut_value_is_unreadable(serializer: str, compressor: str, value: Any) -> None:
    codec = Codec(serializer, compressor)
    data = stored(codec, value)
    for length in {*range(min(100, len(data))), len(data) // 2, len(data) - 1}:
        assert_unreadable(codec, data[:length])


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_value_with_one_wrong_bit_is_another_one_or_unreadable(compressor: str) -> None:
    codec = Codec("pickle", compressor, 0)
    data = stored(codec, {"a": [1, "text", None, 1.5, (True,)]})
    unreadable = 0
    for bit in range(8 * len(data)):
        try:
            codec.decode(KEY, flipped(data, bit))
        except UnreadableValueError:
            unreadable += 1
    assert unreadable > 16


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_signed_value_with_one_wrong_bit_is_unreadable(compressor: str) -> None:
    codec = Codec("signed", compressor, 0)
    data = stored(codec, Trap())
    for bit in range(8 * len(data)):
        assert_unreadable(codec, flipped(data, bit))


@pytest.mark.parametrize("extra", [b"\0", b"."])
def test_a_longer_signed_value_is_unreadable(extra: bytes) -> None:
    codec = Codec("signed")
    assert_unreadable(codec, stored(codec, Trap()) + extra)


def test_the_trap_works() -> None:
    for serializer in ("pickle", "signed"):
        codec = Codec(serializer)
        codec.decode(KEY, stored(codec, Trap()))
    assert sprung == ["unpickled"] * 2
    sprung.clear()


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_what_somebody_else_wrote_is_never_unpickled(compressor: str) -> None:
    codec = Codec("signed", compressor, 0)
    with override_settings(SECRET_KEY="another secret"):
        foreign = stored(codec, Trap())
    ours = stored(codec, Trap())
    payload = pickle.dumps(Trap())
    compressed = COMPRESSORS[compressor].load()[0](payload)
    forged = [
        foreign,
        # The built-in backend's, and those of the other serializers.
        payload,
        stored(Codec("pickle", compressor, 0), Trap()),
        *(tag + mark + payload for tag, *_ in SERIALIZERS.values() for mark in (b"-", b"z", b"l", b"s")),
        # Without a signature, with an empty one, and with that of another value.
        ours[:2] + compressed,
        ours[:2] + b"\0" * SIGNATURE_LENGTH + compressed,
        stored(codec, "innocent")[: 2 + SIGNATURE_LENGTH] + compressed,
        # Our signature on a payload that is not said to be compressed.
        ours[:1] + (b"z" if compressor != "zlib" else b"-") + ours[2:],
    ]
    for data in forged:
        assert_unreadable(codec, data)
    # From another key, and from another version of it.
    for key in ("app:1:kez", "app:2:key", f"{KEY} ", ""):
        assert_unreadable(codec, ours, key)


def test_the_signature_is_for_the_tags_and_the_borders_too() -> None:
    codec = Codec("signed", "zlib", 0)
    data = stored(codec, Trap())
    with pytest.raises(UnreadableValueError, match="signature is wrong"):
        codec.decode(KEY, b"h-" + data[2:])
    # The same bytes, cut elsewhere.
    assert _sign(NEW, "ab", b"h-", b"x") != _sign(NEW, "a", b"bh", b"-x")


def test_a_key_that_is_no_unicode_is_signed_too() -> None:
    codec = Codec("signed")
    assert codec.decode("\udcff", stored(codec, "x", "\udcff")) == "x"


def test_a_secret_is_rotated_through_the_fallbacks() -> None:
    codec = Codec("signed", "zlib", 0)
    with override_settings(SECRET_KEY=OLD):
        old = stored(codec, ["value"])
    with override_settings(SECRET_KEY=NEW):
        new = stored(codec, ["value"])
        assert_unreadable(codec, old)
    assert old != new
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=["older", OLD]):
        assert codec.decode(KEY, old) == ["value"]
        assert codec.decode(KEY, new) == ["value"]
        # What is written now outlives the fallback.
        assert stored(codec, ["value"]) == new
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=["older"]):
        assert_unreadable(codec, old)
        assert codec.decode(KEY, new) == ["value"]


def test_a_secret_may_be_bytes() -> None:
    codec = Codec("signed")
    with override_settings(SECRET_KEY=OLD.encode()):
        data = stored(codec, "x")
    with override_settings(SECRET_KEY=OLD):
        assert codec.decode(KEY, data) == "x"


def test_an_empty_fallback_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Codec("signed")
    with monkeypatch.context() as patch:
        patch.setattr("cachestack.resilient.codecs.settings", type("Settings", (), {"SECRET_KEY": ""}))
        forged = stored(codec, Trap())
    with override_settings(SECRET_KEY_FALLBACKS=[""]):
        assert_unreadable(codec, forged)


@EVERY_FLAVOUR
def test_what_other_settings_wrote_is_unreadable_or_the_same(serializer: str, compressor: str) -> None:
    for value, readable in ((LONG, compressor), ("short", "none")):
        data = stored(Codec(serializer, compressor), value)
        for other, another in FLAVOURS:
            codec = Codec(other, another)
            if other == serializer and (readable == "none" or another == compressor):
                assert codec.decode(KEY, data) == value
            else:
                assert_unreadable(codec, data)


@pytest.mark.parametrize("value", ["text", LONG, [1], True])
def test_what_other_backends_wrote_is_unreadable(value: Any) -> None:
    for data in (RedisSerializer().dumps(value), zlib.compress(pickle.dumps(value)), json.dumps(value).encode()):
        for serializer, compressor in FLAVOURS:
            assert_unreadable(Codec(serializer, compressor, 0), data)


def test_a_class_that_is_gone_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored(Codec(), Colour.RED)
    monkeypatch.delattr(f"{__name__}.Colour")
    assert_unreadable(Codec(), data)


def test_a_value_too_deep_is_unreadable() -> None:
    assert_unreadable(Codec("json"), b"j-" + b"[" * 100_000)


# Somebody's own serializer.


@pytest.mark.parametrize(
    "serializer",
    [
        f"{__name__}.Shouting",
        Shouting,
        Shouting(),
        json,
        Settings(2),
        "django.core.signing.JSONSerializer",
        "django.core.cache.backends.redis.RedisSerializer",
    ],
)
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_custom_serializer_is_used(serializer: Any, compressor: str) -> None:
    codec = Codec(serializer, compressor, 100)
    for value in ("text", ["a", {"b": 1.5}], True, None, LONG.replace("L", "l"), 2**70, 5):
        found = codec.decode(KEY, stored(codec, value))
        assert found == value
        assert type(found) is type(value)
    for data in (b"", b"c", b"c-", b"c-garbage", b"p-garbage", stored(codec, "x")[:-2], pickle.dumps(5)):
        assert_unreadable(codec, data)


def test_one_custom_serializer_does_not_read_what_another_one_wrote() -> None:
    one, other = Codec(Shouting), Codec(f"{__name__}.Whispering")
    assert_unreadable(other, stored(one, "text"))
    assert_unreadable(one, stored(other, "text"))
    assert_unreadable(Codec(json), stored(one, "text"))
    # However it is named in the settings, it is the same one.
    assert Codec(Shouting()).decode(KEY, stored(Codec(f"{__name__}.Shouting"), "text")) == "text"


@pytest.mark.parametrize(
    ("dumped", "payload"),
    [
        ("ключ", "ключ".encode()),
        (b"x", b"x"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (2**70, b"%d" % 2**70),
        (Colour.RED, b"5"),
    ],
)
def test_what_redis_py_would_send_is_taken_from_a_serializer(dumped: Any, payload: bytes) -> None:
    codec = Codec(Raw)
    assert codec.decode(KEY, stored(codec, dumped)) == payload


@pytest.mark.parametrize("dumped", [None, True, 1.5, [b"x"], {}])
def test_anything_else_is_refused_clearly(dumped: Any) -> None:
    with pytest.raises(
        TypeError, match=f"dumps of the serializer returned {type(dumped).__name__}; it must return bytes"
    ):
        Codec(Raw).encode(KEY, dumped)
