"""What a Django host is to have: the release, the settings, the secrets, and what serves them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from builders import MODES, PYTHON, SECRETS, Values, facts, issued, parts, running, site, values, with_ca
from conftest import PROJECT
from deployment.desired.django import PYTHON_FLOOR, DjangoHost
from deployment.desired.parts import Secret
from deployment.errors import DeploymentError
from deployment.site import Site
from deployment.specs import options
from deployment.states import States


def app(mode: str = "standalone", **common: Any) -> DjangoHost:
    return States(site(mode, **common)).apps["app-1"]


def names(one: DjangoHost) -> list[str]:
    """Of the parts those that have a name, and the kinds of the others."""
    return [str(found.get("name") or found["part"]) for found in one.parts(None)]


# The client and its caches


@pytest.mark.parametrize(
    ("mode", "common", "client"),
    [
        ("locmem", {}, "builtin"),
        ("standalone", {}, "builtin"),
        ("replication", {}, "builtin"),
        ("sentinel", {}, "resilient"),
        ("cluster", {}, "resilient"),
        # Django has its own since 4.0.
        ("standalone", {"django_app_django_version": "3.2"}, "django_redis"),
        ("locmem", {"django_app_django_version": "3.2"}, "builtin"),
        ("cluster", {"django_app_django_version": "3.2"}, "resilient"),
        ("standalone", {"cache_client": "resilient"}, "resilient"),
    ],
)
def test_the_client(mode: str, common: Values, client: str) -> None:
    assert app(mode, **common).client == client


def test_the_aliases_and_the_one_of_the_sessions() -> None:
    assert list(app().aliases) == list(app("cluster").aliases) == ["default", "dj_session"]
    # A cluster has one database, so its aliases differ in their prefixes.
    prefixes = {alias.get("key_prefix") for alias in app("cluster").aliases.values()}
    assert len(prefixes) == 2
    assert [app(mode).session_alias for mode in MODES] == ["", *["dj_session"] * 4]
    assert app(django_app_session_alias="").session_alias == ""
    assert app(django_app_session_alias="default").session_alias == "default"
    own = {"shop": {"database": 3}}
    assert app(django_app_cache_aliases=own).aliases == own


def test_django_is_told_of_all_servers() -> None:
    caches = app("replication").caches
    assert caches["default"]["LOCATION"] == [f"redis://10.0.0.{number}:6379" for number in (1, 2, 3)]
    own = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    assert app("replication", django_app_caches=own).caches == own


# Settings and secrets


def assigned(text: str, name: str) -> Any:
    """What a module assigns to a name at its top."""
    for line in ast.parse(text).body:
        if isinstance(line, ast.Assign) and [ast.unparse(target) for target in line.targets] == [name]:
            return ast.literal_eval(line.value)
    raise KeyError(name)


@pytest.mark.parametrize("mode", MODES)
def test_settings_are_python_and_hold_no_secret(mode: str) -> None:
    text = app(mode, said=running(mode)).settings
    assert [secret for secret in SECRETS.values() if secret in text] == []
    client = "resilient" if mode in ("sentinel", "cluster") else "builtin"
    assert assigned(text, "CACHESTACK") == {"mode": mode, "client": client}
    assert assigned(text, "DEBUG") is False
    assert ("REDIS_PASSWORD = " in text) == (mode != "locmem")
    assert ("REDIS_SENTINEL_PASSWORD = " in text) == (mode == "sentinel")


def test_what_the_inventory_says_of_settings() -> None:
    own: Values = {"django_app_settings": {"LANGUAGE_CODE": "de", "SECURE_HSTS_SECONDS": 60}}
    own |= {"django_app_base_settings": "shop.settings", "django_app_allowed_hosts": ["shop.example"]}
    text = app(**own).settings
    assert "from shop.settings import *\n" in text
    assert assigned(text, "ALLOWED_HOSTS") == ["shop.example"]
    assert text.endswith("LANGUAGE_CODE = 'de'\n\nSECURE_HSTS_SECONDS = 60\n")
    assert "SECURE_HSTS_PRELOAD" not in text
    assert "SECURE_SSL_REDIRECT = True" in text
    assert "SECURE_SSL_REDIRECT" not in app(django_app_https=False).settings


def test_secrets_are_those_of_the_servers() -> None:
    """A host of the Django group may have other passwords, if those were given to groups."""
    one = site("sentinel", own={"app-1": {"redis_password": "", "redis_sentinel_password": ""}})
    assert States(one).apps["app-1"].secrets == {
        "secret_key": SECRETS["django_app_secret_key"],
        "redis_password": SECRETS["redis_password"],
        "redis_sentinel_password": SECRETS["redis_sentinel_password"],
    }
    assert app("locmem").secrets == {
        "secret_key": SECRETS["django_app_secret_key"],
        "redis_password": "",
        "redis_sentinel_password": "",
    }


def test_settings_of_the_user_may_be_secrets() -> None:
    assert not app().settings_may_hold_secrets
    assert app(django_app_settings={"A": 1}).settings_may_hold_secrets
    assert app(django_app_caches={"default": {}}).settings_may_hold_secrets


# The release


def test_what_is_in_a_release(tmp_path: Path) -> None:
    one = app(django_app_src=str(tmp_path), django_app_workers=3, django_app_environment={"A": "it's"})
    assert one.release.directories == {
        "project": str(tmp_path),
        "lib/cachestack": str(PROJECT / "django_app" / "cachestack"),
    }
    files = one.release.files
    for name in ("manage.py", "gunicorn.conf.py"):
        ast.parse(files[name])
    assert files["manage.py"].startswith("#!/srv/django_app/current/venv/bin/python\n")
    assert """'A': "it's\"""" in files["manage.py"]
    gunicorn: dict[str, Any] = {}
    exec(files["gunicorn.conf.py"], gunicorn)
    assert (gunicorn["bind"], gunicorn["workers"]) == ("127.0.0.1:8000", 3)
    assert gunicorn["forwarded_allow_ips"] == "127.0.0.1,::1"
    assert files["requirements.txt"].splitlines()[1:] == [
        "# Made with python3 3.11; another one makes another release.",
        "-c constraints.txt",
        "-r project/requirements.txt",
        "Django==5.2.*",
        "redis[hiredis]>=5",
        "gunicorn",
    ]
    assert "Django==5.2." in files["constraints.txt"]


def test_another_python_makes_another_release() -> None:
    newer = {"app-1": {"facts": facts("app-1", python={"version": {"major": 3, "minor": 12}})}}
    assert app(said=newer).release_name != app().release_name
    assert app(apps=2).release_name == app().release_name


@pytest.mark.parametrize(
    ("common", "packages"),
    [
        ({}, ["redis[hiredis]>=5"]),
        ({"cache_client": "django_redis"}, ["redis[hiredis]>=5", "django-redis"]),
        ({"django_app_cache_aliases": {"a": {"compressor": "lz4"}, "b": None}}, ["redis[hiredis]>=5", "lz4"]),
        ({"django_app_cache_aliases": {"a": {"compressor": "zstd"}}}, ["redis[hiredis]>=5", "pyzstd"]),
    ],
)
def test_what_the_caches_need_of_packages(common: Values, packages: list[str]) -> None:
    assert app(**common).client_packages == packages


def test_constraints(tmp_path: Path) -> None:
    choices = [str(series) for series in options()["django_app_django_version"].choices]
    for series in choices:
        one = app(django_app_django_version=series, cache_client="resilient")
        assert one.constraints_file is not None
        assert one.constraints_file.name == f"django-{series}.txt"
        assert one.constraints_file.is_file()
    assert sorted(PYTHON_FLOOR) == sorted(choices)
    # Where the project pins everything itself.
    assert app(django_app_constraints="").release.files["constraints.txt"] == ""
    (tmp_path / "pins.txt").write_text("Django==5.2.1\n")
    assert app(django_app_constraints=str(tmp_path / "pins.txt")).release.files["constraints.txt"] == "Django==5.2.1\n"


@pytest.mark.parametrize(
    ("source", "is_git"),
    [
        ("https://git.example/shop.git", True),
        ("git@git.example:shop.git", True),
        ("/srv/shop", False),
        ("~/shop", False),
        ("/srv/a@b/shop:1", False),
        (None, False),
    ],
)
def test_where_a_project_comes_from(source: str | None, is_git: bool) -> None:
    one = app(django_app_src=source)
    assert one.is_git is is_git
    if is_git:
        other = app(django_app_src=source, django_app_src_version="v2")
        assert one.release.directories["project"] == one.checkout != other.checkout
        assert one.checkout.startswith("/home/me/.cache/cachestack/git/")


def test_a_release_is_packed_on_the_control_node(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    one = app(django_app_src=str(tmp_path / "shop"), django_app_cache_dir=str(tmp_path / "cache"))
    packed = one.pack()
    assert packed["archive"] == str(tmp_path / "cache" / "archives" / f"{one.release_name}.tar.gz")
    assert packed["directory"] == f"/srv/django_app/releases/{one.release_name}"
    assert (packed["owner"], packed["group"], packed["user"]) == ("root", "django_app", "django_app")
    absent = app(django_app_src=str(tmp_path / "absent"), django_app_cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DeploymentError) as raised:
        absent.pack()
    text = f"django_app_src of app-1: no such directory on the control node: {tmp_path / 'absent'}"
    assert str(raised.value) == text


# What serves it


def test_the_service() -> None:
    unit = app(django_app_environment={"DEBUG_SQL": "1"}, django_app_writable=["/srv/media"]).unit
    assert unit.command == (
        "/srv/django_app/current/venv/bin/gunicorn --config /srv/django_app/current/gunicorn.conf.py"
        " config.wsgi:application"
    )
    assert unit.environment == {
        "DJANGO_SETTINGS_MODULE": "deployed.settings",
        "PYTHONPATH": "/srv/django_app/current/project:/srv/django_app/current/lib:/etc/django_app",
        "DEBUG_SQL": "1",
    }
    assert (unit.user, unit.type, unit.writable, unit.groups) == ("django_app", "notify", ["/srv/media"], [])


def test_who_may_use_a_socket() -> None:
    assert app(redis_socket="/run/redis.sock").unit.groups == ["redis-socket"]
    # Without root it is the one user.
    assert app(redis_socket="/run/redis.sock", django_app_user="").unit.groups == []


@pytest.mark.parametrize(
    ("bind", "listen", "url"),
    [
        ("127.0.0.1", "127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("::1", "[::1]:8000", "http://[::1]:8000"),
        ("0.0.0.0", "0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("::", "[::]:8000", "http://[::1]:8000"),
        ("10.0.1.1", "10.0.1.1:8000", "http://10.0.1.1:8000"),
    ],
)
def test_where_it_listens(bind: str, listen: str, url: str) -> None:
    one = app(django_app_bind=bind)
    assert (one.listen, one.url) == (listen, url)


@pytest.mark.parametrize(
    ("bind", "proxies", "trusted"),
    [
        ("127.0.0.1", [], "127.0.0.1,::1"),
        ("10.0.1.1", ["10.0.0.0/8", "192.0.2.1"], "127.0.0.1,::1,10.0.1.1,10.0.0.0/8,192.0.2.1"),
        ("app-1", ["127.0.0.1"], "127.0.0.1,::1"),
    ],
)
def test_who_is_believed_that_a_request_came_by_https(bind: str, proxies: list[str], trusted: str) -> None:
    gunicorn: dict[str, Any] = {}
    exec(app(django_app_bind=bind, django_app_proxies=proxies).release.files["gunicorn.conf.py"], gunicorn)
    assert gunicorn["forwarded_allow_ips"] == trusted


# The parts


def test_the_parts_in_their_order(tmp_path: Path) -> None:
    # First the check: what it refuses is not put in place.
    assert names(app()) == [
        "check of the caches",
        "release",
        "directory /etc/django_app/deployed",
        "secrets",
        "settings",
        "django_app",
        "ready",
    ]
    states = issued(States(site("standalone", **with_ca(tmp_path))))
    found = [one.get("name") for one in parts(states, "app-1", "django_app")]
    assert found.index("ca") < found.index("secrets")


def test_what_a_restart_is_for() -> None:
    """Gunicorn reads settings, secrets and the CA once, and runs no system check."""
    one = app(django_app_redis_ca_file="/etc/ssl/redis.crt")
    service = next(found for found in one.parts(None) if found["part"] == "service")
    assert service["files"] == [
        "/etc/django_app/deployed/settings.py",
        "/etc/django_app/deployed/secrets.json",
        "/srv/django_app/current",
        "/etc/ssl/redis.crt",
    ]
    assert service["restart"] is True


def test_what_is_checked_is_what_will_be_there(tmp_path: Path) -> None:
    """The new release, settings, secrets and CA certificate, as closed as they will be, none of them in place yet."""
    common: Values = {**with_ca(tmp_path), "django_app_environment": {"DEBUG_SQL": 1}}
    states = issued(States(site("standalone", **common)))
    found = {str(one.get("name")): one for one in parts(states, "app-1", "django_app")}
    check, release = found["check of the caches"], f"/srv/django_app/releases/{states.apps['app-1'].release_name}"
    assert check["argv"] == [f"{release}/venv/bin/django-admin", "check", "--tag=caches"]
    assert check["environment"] == {
        "DJANGO_SETTINGS_MODULE": "deployed.settings",
        "PYTHONPATH": f"{release}/project:{release}/lib:/etc/django_app/deployed.new",
        "DEBUG_SQL": "1",
    }
    assert check["only_if"] == ["release", "ca", "secrets", "settings"]
    top, below, *files = check["aside"]
    for one, path in ((top, "/etc/django_app/deployed.new"), (below, "/etc/django_app/deployed.new/deployed")):
        assert one == {**found["directory /etc/django_app/deployed"], "name": f"directory {path}", "path": path}
    for one, name in zip(files, ("redis-ca.crt", "deployed/secrets.json", "deployed/settings.py"), strict=True):
        path = f"/etc/django_app/deployed.new/{name}"
        real = found[one["name"]]
        content = real["content"].replace("/etc/django_app/redis-ca.crt", "/etc/django_app/deployed.new/redis-ca.crt")
        assert one == {**real, "path": path, "content": content}
    assert "'/etc/django_app/deployed.new/redis-ca.crt'" in files[2]["content"]
    assert isinstance(files[1]["content"], Secret)
    # A certificate that the user has brought is there already.
    own = app(django_app_redis_ca_file="/etc/ssl/redis.crt", redis_tls=True)
    (check,) = (one for one in own.parts(None) if one["part"] == "command")
    assert "/etc/ssl/redis.crt" in check["aside"][-1]["content"]
    kept = app(django_app_settings={"A": 1}).parts(None)[0]["aside"][-1]
    assert (isinstance(kept["content"], Secret), kept["diff"]) == (True, False)


def test_who_may_read_what() -> None:
    found = {one.get("name"): one for one in app().parts(None)}
    for name in ("settings", "secrets"):
        assert [found[name][word] for word in ("owner", "group", "mode")] == ["root", "django_app", "0640"]
    assert found["directory /etc/django_app/deployed"]["mode"] == "0750"
    alone = {one.get("name"): one for one in app(django_app_user="").parts(None)}
    assert (alone["secrets"]["owner"], alone["secrets"]["group"]) == ("", "")
    assert set(json.loads(found["secrets"]["content"])) == {"secret_key", "redis_password", "redis_sentinel_password"}


def test_installs_python() -> None:
    def lacks(**modules: bool) -> dict[str, Values]:
        python = {"version": {"major": 3, "minor": 11}, "modules": modules}
        return {"app-1": {"facts": facts("app-1", python=python)}}

    assert not app(said=lacks(ensurepip=True, packaging=True)).installs_python
    assert app(said=lacks(ensurepip=False, packaging=True)).installs_python
    assert not app(said=lacks(ensurepip=False), django_app_install_python=False).installs_python
    assert not app(said=lacks(ensurepip=False), django_app_user="").installs_python


# Several deployments


def test_an_app_has_the_servers_of_its_deployment() -> None:
    groups = {"redis": ["redis-1", "redis-2"], "shop": ["redis-1"], "blog": ["redis-2"], "redis_sentinel": []}
    apps = {"django_app": ["app-1", "app-2"]}
    known: dict[str, Values] = {}
    for number, group in ((1, "shop"), (2, "blog")):
        own = {"cache_redis_group": group, "cache_sentinel_group": f"{group}_sentinel"}
        for name in (f"redis-{number}", f"app-{number}"):
            known[name] = values(name, "standalone", **own)
    known["redis-2"]["redis_password"] = "another password"
    states = States(Site(known, {**groups, **apps}, {}, PYTHON))
    assert [cache.deployment.apps for cache in states.site.caches] == [["app-1"], ["app-2"]]
    assert [app.caches["default"]["LOCATION"] for app in states.apps.values()] == [
        ["redis://10.0.0.1:6379"],
        ["redis://10.0.0.2:6379"],
    ]
    assert states.apps["app-2"].secrets["redis_password"] == "another password"
