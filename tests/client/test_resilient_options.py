"""What CACHES may say to the resilient backends: each mistake is told at start-up, with its fix and no password."""

from __future__ import annotations

import ssl
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from cachestack.entries import Server
from cachestack.resilient.options import CONNECTION_DEFAULTS, WrongOptionsError, parse
from entries_of_caches import (
    BACKENDS,
    LOCMEM,
    SECRET,
    SENTINELS,
    SESSIONS,
    URL,
    assert_says,
    check,
    cluster,
    entry,
    parsed,
    sentinel,
)
from servers import SERVICE

pytestmark = pytest.mark.usefixtures("django_project")


class Dumb:
    """No serializer."""


class Picky:
    """A serializer that cannot be made without arguments."""

    def __init__(self, needed: str) -> None:
        self.dumps = self.loads = needed


# An entry, and the words that the one message about it must have.
ENTRY_MISTAKES: list[tuple[dict[str, Any], str]] = [
    (entry(TIMEOUT="None"), "TIMEOUT 'None' whole number None for ever"),
    (entry(TIMEOUT=0.5), "TIMEOUT 0.5 whole number"),
    (entry(TIMEOUT=True), "TIMEOUT True whole number"),
    (entry(TIMEOUT=-1), "TIMEOUT -1 nothing would be stored None for ever"),
    (entry(TIMEOUT=10**12), "TIMEOUT 1000000000000 at most"),
    (entry(TIMEOUT=float("inf")), "TIMEOUT inf whole number"),
    (entry(KEY_PREFIX=5), "KEY_PREFIX 5 must be text"),
    (entry(KEY_PREFIX=None), "KEY_PREFIX None must be text leave it out"),
    (entry(VERSION="1"), "VERSION '1' whole number without quotes"),
    (entry(VERSION=True), "VERSION True whole number"),
    (entry(VERSION=None), "VERSION None whole number"),
    (entry(KEY_FUNCTION="no.such.function"), "KEY_FUNCTION 'no.such.function' cannot be imported No module"),
    (entry(KEY_FUNCTION="function"), "KEY_FUNCTION dotted path"),
    (entry(KEY_FUNCTION="sys.path"), "KEY_FUNCTION 'sys.path' must be a function"),
    (entry(KEY_FUNCTION=7), "KEY_FUNCTION 7 must be a function"),
    (entry(OPTIONS=None), "OPTIONS must be a dict"),
    (entry(OPTIONS=["password", SECRET]), "OPTIONS must be a dict"),
    (entry(OPTIONS=SECRET), "OPTIONS must be a dict"),
    (entry(TIMEOUTS=5), "'TIMEOUTS' did you mean 'TIMEOUT'"),
    (entry(Key_prefix="x"), "'Key_prefix' did you mean 'KEY_PREFIX'"),
    ({**entry(), "socket_timeout": 1}, "'socket_timeout' beside OPTIONS write it in OPTIONS"),
    (cast(Any, {**entry(VERSION=1), cast(Any, 5): 1}), "5 no option of Django remove it"),
]
OPTION_MISTAKES: list[tuple[dict[str, Any], str]] = [
    (entry(max_conections=1), "'max_conections' did you mean 'max_connections'"),
    (entry(OPTIONS={"Password": SECRET}), "'Password' did you mean 'password'"),
    (entry(OPTIONS={"PASSWORD": SECRET}), "'PASSWORD' write password"),
    (entry(OPTIONS={"CONNECTION_POOL_KWARGS": {"password": SECRET}}), "'CONNECTION_POOL_KWARGS' write its entries"),
    (entry(OPTIONS={"MAX_ENTRIES": 5}), "'MAX_ENTRIES' maxmemory"),
    (entry(qqqqqqqq=SECRET), "'qqqqqqqq' no option remove it"),
    (entry(OPTIONS={5: SECRET}), "5 no option"),
    (
        entry(
            OPTIONS={
                None: SECRET,
            }
        ),
        "None no option",
    ),
    (entry(OPTIONS={("db",): SECRET}), "(of the type tuple) no option"),
    (entry(OPTIONS={f"redis://:{SECRET}@h": 1}), "(of the type str) no option"),
    (entry(password=5), "['password'] must be text"),
    (entry(password=SECRET.encode()), "['password'] must be text"),
    (entry(password=[SECRET]), "['password'] must be text"),
    (entry(username=None), "['username'] None must be text leave it out"),
    (entry(client_name="a b"), "['client_name'] 'a b' without blanks"),
    (entry(client_name="é"), "['client_name'] without blanks"),
    (entry(max_connections=0), "['max_connections'] 0 at least 1"),
    (entry(max_connections="5"), "['max_connections'] '5' whole number without quotes"),
    (entry(max_connections=5.0), "['max_connections'] 5.0 whole number"),
    (entry(max_connections=10**25), "['max_connections'] at most"),
    (entry(socket_timeout=0), "['socket_timeout'] 0 above 0"),
    (entry(socket_timeout=float("nan")), "['socket_timeout'] nan above 0"),
    (entry(socket_timeout=float("inf")), "['socket_timeout'] inf at most"),
    (entry(socket_timeout=None), "['socket_timeout'] None must be a number"),
    (entry(socket_connect_timeout="1"), "['socket_connect_timeout'] '1' without quotes"),
    (entry(socket_connect_timeout=-1), "['socket_connect_timeout'] -1 above 0"),
    (entry(retry_deadline=-0.1), "['retry_deadline'] -0.1 at least 0"),
    (entry(health_check_interval=True), "['health_check_interval'] True number"),
    (entry(db="1"), "['db'] '1' without quotes"),
    (entry(db=f"redis://{SECRET}"), "['db'] (of the type str) without quotes"),
    (entry(db=-1), "['db'] -1 at least 0"),
    (entry(protocol=4), "['protocol'] 4 2 or 3"),
    (entry(protocol=2.0), "['protocol'] 2.0 2 or 3"),
    (entry(socket_keepalive="yes"), "['socket_keepalive'] 'yes' True or False"),
    (entry(socket_keepalive_options={"TCP_KEEPIDLE": 1}), "['socket_keepalive_options'] socket.TCP_KEEPIDLE"),
    (entry(on_error="mis"), "['on_error'] 'mis' did you mean 'miss'"),
    (entry(on_error=["miss"]), "['on_error'] 'miss' or 'raise'"),
    (entry(read_from="replica"), "['read_from'] 'replica' did you mean 'replicas'"),
    (entry(read_from="replicas"), "['read_from'] needs replicas the leader first"),
    (entry(max_lag=0), "['max_lag'] 0 above 0"),
    (entry(compress_from=1.5), "['compress_from'] 1.5 whole number"),
    (entry(compressor="zlip"), "['compressor'] 'zlip' did you mean 'zlib'"),
    (entry(compressor=None), "['compressor'] None 'zstd'"),
    (entry(compressor={}), "['compressor'] 'zstd'"),
    (entry(serializer="jsn"), "['serializer'] 'jsn' did you mean 'json'"),
    (entry(serializer="no.such.Class"), "['serializer'] 'no.such.Class' cannot be imported No module"),
    (entry(serializer="json.Dumb"), "['serializer'] 'json.Dumb' cannot be imported"),
    (entry(serializer=f"redis://:{SECRET}@h.x"), "['serializer'] dotted path"),
    (entry(serializer=Dumb), "['serializer'] dumps and loads 'pickle'"),
    (entry(serializer=Picky), "['serializer'] TypeError"),
    (entry(serializer=None), "['serializer'] None dumps and loads"),
    (entry(serializer=[SECRET]), "['serializer'] dumps and loads"),
    (entry(sentinels=SENTINELS), "'sentinels' SentinelRedisCache"),
    (entry(ssl_ca_certs="/ca.pem"), "'ssl_ca_certs' no TLS rediss://"),
    (entry(location="rediss://h", ssl_cert_reqs="non"), "['ssl_cert_reqs'] 'non' did you mean 'none'"),
    (entry(location="rediss://h", ssl_cert_reqs=ssl.CERT_NONE), "['ssl_cert_reqs'] 'none'"),
    (entry(location="rediss://h", ssl_ca_certs=Path("/ca.pem")), "['ssl_ca_certs'] must be text"),
    (entry(location="rediss://h", ssl_min_version="TLSv1.2"), "['ssl_min_version'] 'TLSv1.2' ssl.TLSVersion"),
    (entry(location="rediss://h", ssl_password=5), "['ssl_password'] must be text"),
    (entry(location="unix:///run/redis.sock", socket_keepalive=True), "'socket_keepalive' Unix socket remove it"),
    (entry(location="unix:///run/redis.sock", ssl_ca_certs="/ca.pem"), "'ssl_ca_certs' no TLS"),
    (entry(location=[URL, "unix:///run/redis.sock"], socket_keepalive=True), "'socket_keepalive' Unix socket"),
]
LOCATION_MISTAKES: list[tuple[dict[str, Any], str]] = [
    (entry(location=None), "LOCATION None URL redis://127.0.0.1:6379"),
    (entry(location=5), "LOCATION 5 list of URLs"),
    (entry(location={"redis": SECRET}), "LOCATION (of the type dict) list of URLs"),
    (entry(location={URL}), "LOCATION (of the type set) list of URLs"),
    (entry(location=URL.encode()), "LOCATION (of the type bytes) list of URLs"),
    (entry(location=Path("/run/redis.sock")), "LOCATION list of URLs"),
    (entry(location=""), "LOCATION is empty write a URL"),
    (entry(location=[]), "LOCATION is empty write a URL"),
    (entry(location=["", None]), "LOCATION is empty write a URL"),
    (entry(location=[[URL]]), "LOCATION (of the type list) must be a URL"),
    (entry(location=[URL, 5]), "LOCATION entry 2 5 must be a URL"),
    (entry(location=[URL, URL.encode()]), "LOCATION entry 2 (of the type bytes) must be a URL"),
    (entry(location=f"{URL};"), "LOCATION entry 2 is empty remove it"),
    (entry(location=f"{URL}, redis://b"), "LOCATION entry 2 blanks remove them"),
    (entry(location="redis://h\t:6379"), "LOCATION control characters remove them"),
    (entry(location="127.0.0.1:6379"), "LOCATION no scheme redis://, rediss:// or unix://"),
    (entry(location=f"redis:{SECRET}@h"), "LOCATION no scheme"),
    (entry(location=f"{SECRET}@redis://h"), "LOCATION no scheme"),
    (entry(location="valkey://h"), "LOCATION valkey:// redis://, rediss:// or unix://"),
    (entry(location="REDIS://h"), "LOCATION REDIS:// redis://, rediss:// or unix://"),
    (entry(location="redis://h:0"), "LOCATION no port from 1 to 65535"),
    (entry(location="redis://h:99999"), "LOCATION no port from 1 to 65535"),
    (entry(location="redis://h:abc"), "LOCATION no port from 1 to 65535"),
    (entry(location="redis://::1"), "LOCATION redis://[::1]:6379"),
    (entry(location="redis://[::1"), "LOCATION redis://[::1]:6379"),
    (entry(location="redis://"), "LOCATION no host redis://host:port"),
    (entry(location="redis://:6379"), "LOCATION no host redis://host:port"),
    (entry(location="redis://a..b"), "LOCATION no host redis://host:port"),
    (entry(location="rediss://a b"), "LOCATION no host rediss://host:port"),
    (entry(location=f"redis://:{SECRET}/x@h"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://:12/{SECRET}@h"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://me:12/{SECRET}@h:6379"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://me:12?{SECRET}@h:6379"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://me:12#{SECRET}@h:6379"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://{SECRET}/word@h"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://:{SECRET}[@h"), "LOCATION percent-encode OPTIONS"),
    (entry(location=f"redis://:{SECRET}℀@h"), "LOCATION percent-encode OPTIONS"),
    (entry(location="redis://h#"), "LOCATION after the host percent-encode"),
    (entry(location="redis://h/abc"), "LOCATION (h:6379) database 'abc' no number write /0"),
    (entry(location="redis://h/-1"), "LOCATION database '-1' no number"),
    (entry(location="redis://h/1/2"), "LOCATION database '1/2' no number"),
    (entry(location="redis://h/\u0661"), "LOCATION database no number"),
    (entry(location=f"redis://h/{'9' * 5000}"), "LOCATION database no number"),
    (entry(location="redis://h?db="), "LOCATION database '' no number"),
    (entry(location="redis://h/1?db=2"), "LOCATION two databases 1 and 2"),
    (entry(location=f"redis://h?password={SECRET}"), "LOCATION ?password= write it in OPTIONS"),
    (entry(location=f"redis://h?{SECRET}"), "LOCATION ?...= write it in OPTIONS"),
    (entry(location="unix://"), "LOCATION no path unix:///path/to/redis.sock"),
    (entry(location="unix://run/redis.sock"), "LOCATION no path unix:///path/to/redis.sock"),
    (entry(location=f"unix://:{SECRET}/x@/run/redis.sock"), "LOCATION unix:///path/to/redis.sock percent-encode"),
    (entry(location=["redis://localhost:6379", "redis://LOCALHOST:6379"]), "LOCATION localhost:6379 twice remove one"),
    (entry(location=["redis://h", "redis://h:6379"]), "LOCATION h:6379 twice remove one"),
    (entry(location="redis://[::1],redis://[0:0:0:0:0:0:0:1]"), "LOCATION [::1]:6379 twice"),
    (entry(location=["unix:///a", "unix:////a"]), "LOCATION unix:///a twice"),
    (entry(location=["redis://a", "rediss://b"]), "LOCATION mixes rediss:// everywhere or nowhere"),
    (entry(location=["unix:///a", "rediss://b"]), "LOCATION mixes rediss:// everywhere or nowhere"),
    (entry(location=["redis://a/1", "redis://b/2"]), "LOCATION different databases db in OPTIONS"),
    (entry(location=[f"redis://:{SECRET}@a", "redis://b"]), "LOCATION different credentials OPTIONS"),
    (entry(location=f"redis://:{SECRET}@a", password=f"{SECRET}2"), "LOCATION and OPTIONS 'password' OPTIONS alone"),
    (entry(location="redis://a/1", db=2), "LOCATION and OPTIONS 'db' OPTIONS alone"),
]
KIND_MISTAKES: list[tuple[dict[str, Any], str]] = [
    (sentinel(sentinels=None), "['sentinels'] list of (host, port) pairs 26379"),
    (sentinel(sentinels=[]), "['sentinels'] list of (host, port) pairs"),
    (sentinel(sentinels="10.0.0.1:26379"), "['sentinels'] list of (host, port) pairs"),
    (sentinel(sentinels={("10.0.0.1", 26379)}), "['sentinels'] list of (host, port) pairs"),
    (sentinel(sentinels=["10.0.0.1:26379"]), "['sentinels'] '10.0.0.1:26379' ('10.0.0.1', 26379)"),
    (sentinel(sentinels=[f"redis://:{SECRET}@h:26379"]), "['sentinels'] entry 1 pair"),
    (sentinel(sentinels=[(f"redis://:{SECRET}@h", 26379)]), "['sentinels'] entry 1 host name"),
    (sentinel(sentinels=[*SENTINELS, ("h", "26379")]), "['sentinels'] '26379' entry 2 without quotes"),
    (sentinel(sentinels=[("h", 0)]), "['sentinels'] 0 1 to 65535"),
    (sentinel(sentinels=[("h", True)]), "['sentinels'] True 1 to 65535"),
    (sentinel(sentinels=[("h", 1, 2)]), "['sentinels'] entry 1 pair"),
    (sentinel(sentinels=[b"ab"]), "['sentinels'] entry 1 pair"),
    (sentinel(sentinels=[("", 1)]), "['sentinels'] host name"),
    (sentinel(sentinels=[("h..x", 1)]), "['sentinels'] 'h..x' host name"),
    (sentinel(sentinels=[({}, [])]), "['sentinels'] host name"),
    (sentinel(sentinels=[("h", 1), ["H", 1]]), "['sentinels'] twice remove one"),
    (entry("sentinel", "redis://mymaster"), "lacks 'sentinels' (host, port)"),
    (sentinel(location="mymaster"), "LOCATION no scheme redis://"),
    (sentinel(location="redis://mymaster:26379"), "LOCATION port service redis://mymaster"),
    (sentinel(location=["redis://a", "redis://b"]), "LOCATION several one service"),
    (sentinel(location="unix:///run/redis.sock"), "LOCATION unix:// Sentinel redis://"),
    (sentinel(sentinel_kwargs=SECRET), "['sentinel_kwargs'] must be a dict"),
    (sentinel(sentinel_kwargs=["password", SECRET]), "['sentinel_kwargs'] must be a dict"),
    (sentinel(sentinel_kwargs={"password": [SECRET]}), "['sentinel_kwargs']['password'] must be text"),
    (sentinel(sentinel_kwargs={"pasword": SECRET}), "['sentinel_kwargs'] 'pasword' did you mean 'password'"),
    (sentinel(sentinel_kwargs={"db": 1}), "['sentinel_kwargs'] 'db' no option remove it"),
    (sentinel(sentinel_kwargs={5: 1}), "['sentinel_kwargs'] 5 no option"),
    (sentinel(sentinel_kwargs={"ssl": "yes"}), "['sentinel_kwargs']['ssl'] 'yes' True or False"),
    (sentinel(sentinel_kwargs={"ssl_ca_certs": "/ca"}), "['sentinel_kwargs'] 'ssl_ca_certs' 'ssl': True"),
    (cluster("redis://h/1"), "LOCATION db database 0 remove it"),
    (cluster("redis://h?db=1"), "LOCATION db database 0 remove it"),
    (cluster(db=0), "'db' database 0 remove it"),
    (cluster("unix:///run/redis.sock"), "LOCATION unix:// Cluster redis://"),
    (cluster(sentinels=SENTINELS), "'sentinels' SentinelRedisCache"),
]
MISTAKES = [*ENTRY_MISTAKES, *OPTION_MISTAKES, *LOCATION_MISTAKES, *KIND_MISTAKES]


@pytest.mark.parametrize(("setting", "words"), MISTAKES, ids=[words for _, words in MISTAKES])
def test_a_mistake_is_told_with_its_fix_and_no_password(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongOptionsError) as raised:
        parsed(setting)
    assert len(raised.value.problems) == 1, raised.value.problems
    assert_says(raised.value.problems[0], words)
    [error] = check(web=setting)
    assert error.id == "cachestack.E001"
    assert error.msg == raised.value.problems[0]


def test_every_mistake_of_an_entry_is_told() -> None:
    setting = sentinel(
        location="redis://mymaster:6379/abc?ssl=1",
        sentinels=["h:1"],
        sentinel_kwargs={"passwort": SECRET, "ssl_keyfile": "/key"},
        password=5,
        db="1",
        on_error="mis",
        TIMEOUT="5",
        VERSION="1",
    )
    errors = check(web=setting, other=entry(location=""))
    words = ["TIMEOUT", "VERSION", "has a port", "?ssl=", "'abc'", "['sentinels']", "passwort", "ssl_keyfile"]
    words += ["['password']", "['db']", "'mis'", "CACHES['other']: LOCATION"]
    assert len(errors) == len(words)
    assert [word for word in words if sum(word in error.msg for error in errors) != 1] == []
    assert {error.id for error in errors} == {"cachestack.E001"}


def test_a_number_that_python_does_not_print_is_told() -> None:
    with pytest.raises(WrongOptionsError, match=r"OPTIONS\['db'\].*at most"):
        parsed(entry(db=10**5000))


def test_the_secret_key_is_asked_for_at_start_up() -> None:
    with override_settings(SECRET_KEY=""):
        [error] = check(web=entry())
        assert check(web=entry(serializer="json")) == []
    assert_says(error.msg, "['serializer'] SECRET_KEY")


def test_a_compressor_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    [error] = check(web=entry(compressor="lz4"))
    assert_says(error.msg, "['compressor'] 'lz4' pip install lz4")


GOOD: list[tuple[dict[str, Any], list[str]]] = [
    (entry(), ["127.0.0.1:6379"]),
    (entry(location="redis://h"), ["h:6379"]),
    (entry(location="redis://H_1:1/"), ["h_1:1"]),
    (entry(location="redis://[::1]:7/3"), ["[::1]:7"]),
    (entry(location="redis://[fe80::1%25eth0]"), ["[fe80::1%eth0]:6379"]),
    (entry(location=f"redis://me:{SECRET}@h:1/2?db=2"), ["h:1"]),
    (entry(location="redis://:a@b@h"), ["h:6379"]),
    (entry(location="redis://a,redis://b;redis://c"), ["a:6379", "b:6379", "c:6379"]),
    (entry(location=(URL, "unix:///run/a@b.sock?db=0")), ["127.0.0.1:6379", "unix:///run/a@b.sock"]),
    (entry(location=f"unix://me:{SECRET}@/run/redis.sock"), ["unix:///run/redis.sock"]),
    (entry(location="rediss://h", ssl_check_hostname=False, ssl_min_version=ssl.TLSVersion.TLSv1_2), ["h:6379"]),
    (entry(location="rediss://h"), ["h:6379"]),
    (entry(TIMEOUT=0, KEY_PREFIX="", VERSION=-1, KEY_FUNCTION="os.path.join"), ["127.0.0.1:6379"]),
    (entry(TIMEOUT=None, KEY_FUNCTION=print, OPTIONS={}), ["127.0.0.1:6379"]),
    (entry(location=f"redis://:{SECRET}@h", password=SECRET), ["h:6379"]),
    (entry(password="", socket_keepalive=True, socket_keepalive_options={4: 60}), ["127.0.0.1:6379"]),
    (entry(serializer="django.core.signing.JSONSerializer", retry_deadline=0), ["127.0.0.1:6379"]),
    (sentinel(location="redis://MyMaster/1"), ["MyMaster"]),
    (sentinel(sentinels=(["h_1", 26379], ["::1", 26379]), sentinel_kwargs={}), [SERVICE]),
    (sentinel(sentinel_kwargs={"ssl": True, "ssl_ca_certs": "/ca", "password": SECRET}), [SERVICE]),
    (cluster("redis://h/0"), ["h:6379"]),
]


@pytest.mark.parametrize(("setting", "names"), GOOD, ids=[" ".join(names) for _, names in GOOD])
def test_what_is_right_is_taken_and_its_password_never_shown(setting: dict[str, Any], names: list[str]) -> None:
    options = parsed(setting)
    assert [server.name for server in options.servers] == names
    assert SECRET not in repr(options)


def test_a_url_is_read_as_redis_py_reads_it() -> None:
    [server] = parsed(entry(location="redis://m%40e:p%3Aw%2F@H:1/2")).servers
    assert server == Server("h:1", "h", 1, db=2, username="m@e", password="p:w/")
    assert "m@e" not in repr(server)
    assert parsed(entry(location="rediss://[::1]")).servers == (Server("[::1]:6379", "::1", tls=True),)
    [server] = parsed(entry(location="unix://:pw@/run/x%20y?db=3")).servers
    assert server == Server("unix:///run/x y", path="/run/x y", db=3, password="pw")


def test_tls_is_checked_unless_said_otherwise() -> None:
    connection = parsed(entry(location="rediss://h")).connection
    assert (connection["ssl_cert_reqs"], connection["ssl_check_hostname"]) == ("required", True)
    connection = parsed(entry(location="rediss://h", ssl_cert_reqs="none")).connection
    assert (connection["ssl_cert_reqs"], connection["ssl_check_hostname"]) == ("none", False)
    assert parsed(sentinel(sentinel_kwargs={"ssl": True})).sentinel_kwargs["ssl_check_hostname"] is True
    assert "ssl_check_hostname" not in parsed(entry()).connection


def test_sentinels_get_the_timeouts_of_the_alias() -> None:
    options = parsed(sentinel(socket_timeout=7, sentinel_kwargs={"socket_connect_timeout": 3}))
    assert options.sentinel_kwargs == {"socket_timeout": 7, "socket_connect_timeout": 3, "protocol": 2}


@pytest.mark.parametrize("place", ["default", "web"])
def test_an_alias_of_sessions_raises_also_where_another_one_is_the_same(place: str) -> None:
    caches = {"default": entry(), "web": entry()}
    with override_settings(CACHES=caches, SESSION_ENGINE=SESSIONS, SESSION_CACHE_ALIAS=place):
        options = parse("server", URL, {})
        assert (options.on_error, options.retry_deadline) == ("raise", 2.0)
        assert parse("server", "redis://other", {}).on_error == "miss"


def test_the_name_of_an_alias_is_found() -> None:
    with override_settings(CACHES={"default": LOCMEM, "a": entry(db=1), "b": entry(db="2", VERSION=2)}):
        assert parse("server", URL, {"OPTIONS": {"db": 1}}).alias == "a"
        with pytest.raises(ImproperlyConfigured, match=r"^CACHES\['b'\]: OPTIONS\['db'\] '2'"):
            parse("server", URL, {"OPTIONS": {"db": "2"}, "VERSION": 2})
        assert parse("server", "redis://elsewhere", {}).alias == "?"
        # A backend that somebody makes from the whole entry.
        assert parse("server", URL, entry(db=1)).alias == "a"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
URLS = st.builds(
    "".join,
    st.lists(st.sampled_from(["redis://", "unix://", "h", ":", "1", "/", "@", "?db=", "[", "]", "#", "%", ",", "."])),
)
NAMES = [*CONNECTION_DEFAULTS, "db", "username", "password", "sentinels", "sentinel_kwargs", "serializer", "on_error"]
NAMES += ["compressor", "read_from", "compress_from", "ssl_cert_reqs", "ssl_min_version", "socket_keepalive_options"]


@given(
    kind=st.sampled_from(sorted(BACKENDS)),
    location=URLS | st.lists(URLS, max_size=3) | ANYTHING,
    params=st.dictionaries(st.sampled_from(["TIMEOUT", "VERSION", "KEY_PREFIX", "KEY_FUNCTION"]), ANYTHING),
    options=ANYTHING | st.dictionaries(st.sampled_from(NAMES), ANYTHING),
)
def test_nothing_else_is_ever_raised(kind: str, location: Any, params: dict[str, Any], options: Any) -> None:
    with suppress(WrongOptionsError):
        assert parse(kind, location, {**params, "OPTIONS": options}).servers


@given(secret=st.text("ab/@:?#[]%;, =&", min_size=6, max_size=12), user=st.sampled_from(["", "me"]))
def test_no_piece_of_a_password_in_a_url_is_shown(secret: str, user: str) -> None:
    # Whatever it is cut into, each piece has the letter Z, which no message has.
    dirty = "Z".join(f" {secret} ".replace(" ", "Z"))
    for location in (f"redis://{user}:{dirty}@h:6379/0", [f"redis://{user}:{dirty}@h/0"]):
        try:
            shown = repr(parse("server", location, {}, "web"))
        except WrongOptionsError as error:
            shown = str(error)
        assert "Z" not in shown
