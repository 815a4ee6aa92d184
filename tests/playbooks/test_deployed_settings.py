"""The settings.py and gunicorn.conf.py that the role writes, used by Django and gunicorn themselves."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import DJANGO_APP
from drill import agent
from drill.hosts import PATHS
from rendering import INVENTORIES, SECRETS, app
from servers import free_port, wait_for

# What a deployment sets because its web server serves HTTPS.
HTTPS = {
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
}
HSTS = {
    "SECURE_HSTS_SECONDS": 3600,
    "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
    "SECURE_HSTS_PRELOAD": True,
}
SECRET_KEY = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"
PRINT = "import json; from deployed import settings; print(json.dumps(vars(settings), default=str))"
HEALTH, SECURITY = "cachestack.middleware.HealthMiddleware", "django.middleware.security.SecurityMiddleware"


class Deployed:
    """A folder with what is deployed to app-1."""

    def __init__(self, folder: Path, inventory: str, **variables: Any) -> None:
        (folder / "deployed").mkdir()
        host = app(inventory, **variables)
        (folder / "deployed" / "settings.py").write_text(host.settings, "utf-8")
        (folder / "gunicorn.conf.py").write_text(host.release.files["gunicorn.conf.py"], "utf-8")
        secrets = {**SECRETS, "secret_key": SECRET_KEY}
        (folder / "deployed" / "secrets.json").write_text(json.dumps(secrets), "utf-8")
        self.folder = folder
        path = os.pathsep.join(map(str, (folder, DJANGO_APP)))
        self.environment = {**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "deployed.settings"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Python in that folder; its output is one text."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Return what Python prints. It must not fail."""
        process = self.start(*arguments)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = json.loads(self.run("-c", PRINT))
        return settings


@pytest.mark.parametrize("inventory", [name for name in INVENTORIES if name != "local"])
def test_django_has_nothing_against_the_deployment(inventory: str, tmp_path: Path) -> None:
    Deployed(tmp_path, inventory).run("-m", "django", "check", "--deploy", "--fail-level=WARNING")


def test_this_machine_has_plain_http(tmp_path: Path) -> None:
    settings = Deployed(tmp_path, "local").settings()
    assert {**HTTPS, **HSTS}.keys().isdisjoint(settings)
    assert settings["DEBUG"] is False
    assert settings["SECRET_KEY"] == SECRET_KEY


def test_the_projects_own_settings_win_and_those_of_the_inventory_over_them(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "DEBUG, ALLOWED_HOSTS, SECRET_KEY = True, ['*'], 'x'\nCSRF_COOKIE_SECURE = False\n"
    )
    given = {"CSRF_COOKIE_SECURE": True, "SECRET_KEY_FALLBACKS": ["old"], "SECURE_SSL_REDIRECT": False}
    settings = Deployed(
        tmp_path,
        "locmem",
        django_app_base_settings="own",
        django_app_allowed_hosts=["shop.example"],
        django_app_settings=given,
    ).settings()
    wanted = {**HTTPS, **HSTS, **given}
    wanted.update(DEBUG=False, ALLOWED_HOSTS=["shop.example"], SECRET_KEY=SECRET_KEY)
    assert {name: settings[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("own", "given", "wanted"),
    [
        ({}, {}, HSTS),
        ({"SECURE_HSTS_INCLUDE_SUBDOMAINS": False}, {}, {**HSTS, "SECURE_HSTS_INCLUDE_SUBDOMAINS": False}),
        ({"SECURE_HSTS_SECONDS": 31536000}, {}, {"SECURE_HSTS_SECONDS": 31536000}),
        ({"SECURE_HSTS_SECONDS": 0}, {}, {"SECURE_HSTS_SECONDS": 0}),
        ({}, {"SECURE_HSTS_SECONDS": 31536000}, {"SECURE_HSTS_SECONDS": 31536000}),
    ],
)
def test_who_says_how_long_for_https_alone_says_for_which_hosts(
    own: dict[str, Any], given: dict[str, Any], wanted: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text("".join(f"{name} = {value!r}\n" for name, value in own.items()))
    deployed = Deployed(tmp_path, "locmem", django_app_base_settings="own", django_app_settings=given)
    settings = deployed.settings()
    assert {name: settings[name] for name in HSTS if name in settings} == wanted


@pytest.mark.parametrize(
    ("own", "https", "wanted"),
    [
        ([], True, [HEALTH, SECURITY]),
        ([], False, [HEALTH]),
        (["own"], True, [HEALTH, SECURITY, "own"]),
        ([HEALTH, "own"], True, [HEALTH, SECURITY, "own"]),
        (["own", SECURITY], True, [HEALTH, "own", SECURITY]),
        ([HEALTH, SECURITY], True, [HEALTH, SECURITY]),
    ],
)
def test_the_middleware_is_complete(own: list[str], https: bool, wanted: list[str], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"MIDDLEWARE = {own}\n")
    deployed = Deployed(tmp_path, "locmem", django_app_base_settings="own", django_app_https=https)
    assert deployed.settings()["MIDDLEWARE"] == wanted


# What gunicorn believes.

PROXY, STRANGER = "127.0.0.3", "127.0.0.2"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where gunicorn serves the project."""
    port = free_port()
    deployed = Deployed(
        tmp_path_factory.mktemp("app"),
        "locmem",
        django_app_port=port,
        django_app_workers=1,
        django_app_proxies=[PROXY],
    )
    process = deployed.start("-m", "gunicorn", "--config=gunicorn.conf.py", "config.wsgi:application")
    try:
        assert wait_for(lambda: process.poll() is not None or listens(port), 20)
        yield port
    finally:
        process.terminate()
        output, _ = process.communicate()
        assert "Traceback" not in output, output


def listens(port: int) -> bool:
    try:
        return get(port, "/healthz").status == 200
    except OSError:
        return False


def get(port: int, path: str, source: str = "127.0.0.1", **headers: str) -> http.client.HTTPResponse:
    """Ask from this address of loopback; `_` stands for a `-`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(source, 0))
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    connection.close()
    return response


@pytest.mark.parametrize("source", ["127.0.0.1", PROXY])
def test_a_web_server_that_has_https_gets_pages(port: int, source: str) -> None:
    response = get(port, "/", source, X_Forwarded_Proto="https")
    assert response.status == 200
    assert response.headers["Strict-Transport-Security"] == "max-age=3600; includeSubDomains; preload"


@pytest.mark.parametrize(
    ("source", "headers"),
    [
        ("127.0.0.1", {}),
        ("127.0.0.1", {"X_Forwarded_Proto": "http"}),
        (PROXY, {}),
        # Whom nobody believes.
        (STRANGER, {"X_Forwarded_Proto": "https"}),
    ],
)
def test_nobody_gets_a_page_by_plain_http(port: int, source: str, headers: dict[str, str]) -> None:
    response = get(port, "/", source, **headers)
    assert (response.status, response.headers["Location"]) == (301, f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("source", ["127.0.0.1", STRANGER])
def test_health_is_answered_by_plain_http(port: int, source: str, path: str) -> None:
    assert get(port, path, source).status == 200


def test_the_drill_gets_pages(port: int) -> None:
    answers = agent.get({"url": f"http://127.0.0.1:{port}", "paths": PATHS})
    assert sorted((path, status) for path, _, status, _ in answers) == [("/", 200), ("/readyz", 200)]
