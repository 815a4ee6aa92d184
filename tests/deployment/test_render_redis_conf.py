"""What the filters write into redis.conf is what the modules and a real server read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.configuration import SECRET
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisClient, RedisError, connect, credentials, quote
from hypothesis import example, given
from hypothesis import strategies as st

from deployment.render.redis_conf import redis_conf, redis_has_secrets, redis_persists
from deployment.secrets import SECRET_DIRECTIVE
from servers import RedisServerFactory

# Text that has an encoding: a lone surrogate has none.
texts = st.text(st.characters(exclude_categories=["Cs"]))

PASSWORDS = {
    "printable": "".join(chr(code) for code in range(32, 127)),
    "unicode": "ключ 钥匙 🔑 \u202e e\u0301",
    "control": "".join(chr(code) for code in [*range(1, 32), 127]),
    "looks quoted": '"x"',
    "looks escaped": "\\x41\\n\\\\",
    "a comment": "# x",
    "ends in a backslash": "x\\",
    "blanks": " x  y ",
}


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conf") / "auth.conf"


@given(text=texts)
@example(text=PASSWORDS["printable"])
@example(text="\\\\x41\\")
def test_the_modules_read_back_what_was_quoted(conf: Path, text: str) -> None:
    conf.write_text(f"# managed\nmasterauth {quote('other')}\nrequirepass {quote(text)}\nport 1\n", "ascii")
    assert credentials(str(conf)) == ("", text)


@given(texts)
def test_a_quoted_text_is_one_printable_word(text: str) -> None:
    quoted = quote(text)
    assert quoted.isascii()
    assert quoted.isprintable()
    assert (quoted[0], quoted[-1]) == ('"', '"')


def test_every_byte_of_the_encoding_is_kept() -> None:
    assert quote('a"\\é\n') == '"a\\"\\\\\\xc3\\xa9\\x0a"'
    assert quote("") == '""'


@pytest.mark.parametrize("password", PASSWORDS.values(), ids=PASSWORDS)
def test_a_server_takes_the_quoted_password(redis_server: RedisServerFactory, tmp_path: Path, password: str) -> None:
    """As deployed: the server includes the file, and the modules take the password from it."""
    auth = tmp_path / "auth.conf"
    auth.write_text(f"requirepass {quote(password)}\nmasterauth {quote(password)}\n", "ascii")
    # Its own client knows the password as the fixture does, so the server is ready only if both agree.
    server = redis_server(password=password, include=str(auth))
    assert server.client().ping()
    defaults = {name: option.get("default") for name, option in CONNECTION_SPEC.items()}
    with connect({**defaults, "port": server.port, "auth_file": str(auth)}) as client:
        assert client.command("CONFIG", "GET", "requirepass") == ["requirepass", password]
        assert client.command("CONFIG", "GET", "masterauth") == ["masterauth", password]
    with RedisClient(server.host, server.port) as stranger, pytest.raises(RedisError, match="NOAUTH"):
        stranger.command("PING")
    server.stop()


@pytest.mark.parametrize(
    ("directives", "text"),
    [
        ({}, ""),
        ({"port": 6379}, "port 6379"),
        ({"hz": "50"}, "hz 50"),
        ({"ratio": 1.5}, "ratio 1.5"),
        ({"appendonly": True, "daemonize": False}, "appendonly yes\ndaemonize no"),
        ({"save": ""}, 'save ""'),
        ({"save": "3600 1 300 100"}, "save 3600 1 300 100"),
        ({"unixsocket": None, "port": 0}, "port 0"),
        ({"loadmodule": ["a.so", "b.so x"], "bind": "::1"}, "bind ::1\nloadmodule a.so\nloadmodule b.so x"),
        ({"rename-command": []}, ""),
        ({"rename-command": [None, 'DEBUG ""']}, 'rename-command DEBUG ""'),
        ({"b": 1, "a": 2, "c": 3}, "a 2\nb 1\nc 3"),
        ({"name": "ключ"}, "name ключ"),
    ],
)
def test_directives(directives: dict[str, Any], text: str) -> None:
    assert redis_conf(directives) == text


@pytest.mark.parametrize("character", [chr(code) for code in range(32)])
@pytest.mark.parametrize("template", ["{}", "10{}requirepass x", "10{}"])
def test_a_control_character_is_refused_by_the_name_of_its_directive(character: str, template: str) -> None:
    with pytest.raises(ValueError, match="directive hz contains a line break or a control character"):
        redis_conf({"hz": template.format(character), "port": 1})
    with pytest.raises(ValueError, match="hz"):
        redis_conf({"hz": [1, template.format(character)]})


def test_a_server_takes_the_directives(redis_server: RedisServerFactory, tmp_path: Path) -> None:
    directives = {
        "appendonly": False,
        "client-output-buffer-limit": ["normal 1mb 1mb 10", "pubsub 2mb 1mb 20"],
        "hz": 50,
        "maxmemory": "64mb",
        "maxmemory-policy": "allkeys-lru",
        "save": "3600 1",
        "unixsocket": None,
    }
    conf = tmp_path / "redis.conf"
    conf.write_text(redis_conf(directives) + "\n")
    server = redis_server(include=str(conf))
    live = server.client().config_get("*")
    server.stop()
    assert [live[name] for name in ("appendonly", "hz", "maxmemory", "save")] == ["no", "50", str(64 << 20), "3600 1"]
    assert live["maxmemory-policy"] == "allkeys-lru"
    limits = str(live["client-output-buffer-limit"])
    assert limits.startswith("normal 1048576 1048576 10 ")
    assert limits.endswith(" pubsub 2097152 1048576 20")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", ("", "")),
        ("port 1\n", ("", "")),
        ('# requirepass "x"\n', ("", "")),
        ('requirepass2 "x"\n', ("", "")),
        ('requirepass ""\n', ("", "")),
        ('requirepass "x"', ("", "x")),
        ('# verwaltet für uns\nrequirepass "x"\n', ("", "x")),
        ('user default off\nuser admin on ">x\\"y" ~* &* +@all\nrequirepass "z"\n', ("admin", 'x"y')),
    ],
)
def test_credentials(tmp_path: Path, content: str, found: tuple[str, str]) -> None:
    conf = tmp_path / "auth.conf"
    conf.write_text(content, "utf-8")
    assert credentials(str(conf)) == found


def test_credentials_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        credentials(str(tmp_path / "absent.conf"))


@pytest.mark.parametrize(
    ("directives", "persists"),
    [
        ({}, False),
        ({"appendonly": True}, True),
        ({"appendonly": "yes", "save": ""}, True),
        ({"appendonly": False, "save": ""}, False),
        ({"appendonly": "no", "save": '""'}, False),
        ({"appendonly": False, "save": None}, False),
        ({"appendonly": False, "save": "3600 1"}, True),
        ({"appendonly": False, "save": ["3600 1", "60 100"]}, True),
        ({"appendonly": False, "save": []}, False),
    ],
)
def test_redis_persists(directives: dict[str, Any], persists: bool) -> None:
    assert redis_persists(directives) is persists


@pytest.mark.parametrize(
    "name", ["user", "requirepass", "masterauth", "primaryauth", "TLS-key-file-pass", "sentinel auth-pass shop"]
)
def test_what_is_a_secret(name: str) -> None:
    assert redis_has_secrets({"maxmemory": "1mb", name: "x"})


def test_what_is_no_secret() -> None:
    assert not redis_has_secrets({"maxmemory": "1mb", "masteruser": "x", "tls-auth-clients": "no", "save": ""})


def test_the_module_knows_the_same_secrets() -> None:
    assert SECRET_DIRECTIVE.pattern == SECRET.pattern
