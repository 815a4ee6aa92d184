"""A Django host under a real supervisord: what Django's checks refuse is never what serves."""

from __future__ import annotations

import os
import signal
import stat
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.commands import ask_ready
from ansible.module_utils.host.run import Run
from ansible.module_utils.host.supervisord import Supervisord
from ansible.plugins.modules import host_apply

from builders import site
from deployment.desired.django import SERVICE, DjangoHost
from deployment.desired.parts import arguments
from deployment.states import States
from servers import free_port, wait_for

CHECK = "check of the caches"
# It has no address, which the client's own check refuses.
REFUSED = {"default": {"BACKEND": "cachestack.resilient.RedisCache", "LOCATION": ""}}


class Place:
    """A directory with everything that is deployed."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.supervisor = Supervisord(str(directory / "s"))

    def app(self, mode: str = "locmem", **changes: Any) -> DjangoHost:
        """The host as an inventory has it."""
        own = {
            "service_manager": "supervisor",
            "service_dir": str(self.directory / "s"),
            "django_app_user": "",
            "django_app_home": str(self.directory),
            "django_app_conf_dir": str(self.directory / "conf"),
            "django_app_port": self.port,
            "django_app_workers": 1,
            **changes,
        }
        return States(replace(site(mode, **own), python=sys.executable)).apps["app-1"]

    def install(self, app: DjangoHost) -> None:
        """The release, as tasks bring it before its parts are applied."""
        directory = Path(app.release_directory)
        if not directory.exists():
            with tarfile.open(app.release.pack(self.directory / "archives")) as archive:
                archive.extractall(directory, filter="data")
            (directory / "venv").symlink_to(Path(sys.executable).parent.parent)

    def apply(self, app: DjangoHost, check: bool = False) -> dict[str, Any]:
        self.install(app)
        results: dict[str, dict[str, Any]] = {}
        given = arguments([{"name": "django_app", "parts": app.parts(None)}])
        host_apply.apply(given["sections"], given["secrets"], Run(check), results)
        return results["django_app"]

    def refused(self, app: DjangoHost) -> str:
        with pytest.raises(host_apply.ApplyError) as raised:
            self.apply(app)
        assert raised.value.part == CHECK
        return str(raised.value)

    @property
    def deployed(self) -> tuple[Any, ...]:
        """What a gunicorn that starts now would serve, and whether something else was left."""
        conf = self.directory / "conf"
        found = {str(path.relative_to(conf)): path.read_text() for path in conf.rglob("*.*") if path.suffix != ".pyc"}
        return os.readlink(self.directory / "current"), found

    @property
    def pid(self) -> int:
        return int(self.supervisor.process(SERVICE).get("pid", 0))


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    # Short enough for the socket of supervisord.
    place = Place(tmp_path_factory.mktemp("d"))
    yield place
    place.supervisor.shutdown()


def test_what_is_refused_is_refused_in_every_run(place: Place) -> None:
    """And never served, also where gunicorn is started by somebody else."""
    good = place.app()
    assert place.apply(good)[CHECK]["ran"] is True
    pid, deployed = place.pid, place.deployed
    # Another release and other settings.
    wrong = place.app(django_app_workers=2, django_app_caches=REFUSED)
    assert wrong.release_name != good.release_name
    for _ in range(2):
        assert "cachestack.E001" in place.refused(wrong)
        assert (place.pid, place.deployed) == (pid, deployed)
    seen = place.apply(wrong, check=True)
    changed = {name: seen[name]["changed"] for name in ("release", "secrets", "settings", "service")}
    assert changed == {"release": True, "secrets": False, "settings": True, "service": True}
    os.killpg(pid, signal.SIGKILL)
    assert wait_for(lambda: ask_ready(good.url).get("json", {}).get("status") == "ok")
    assert place.pid not in (0, pid)
    result = place.apply(good)
    assert (result["changed"], result[CHECK]["ran"]) == (False, False)


def test_whatever_differs_is_checked(place: Place) -> None:
    place.apply(place.app())
    pid = place.pid
    other = place.app(django_app_secret_key="another SECRET_KEY of Django, which is long")
    result = place.apply(other)
    assert (result["secrets"]["changed"], result["settings"]["changed"]) == (True, False)
    assert (result[CHECK]["ran"], result["service"]["restarted"], place.pid != pid) == (True, True, True)
    # What somebody altered by hand is put right as well, and what a run that was killed has left is deleted.
    settings = place.directory / "conf" / "deployed" / "settings.py"
    settings.chmod(0o644)
    leftover = place.directory / "conf" / "deployed.new" / "deployed" / "local.py"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("left = True\n")
    result = place.apply(other)
    assert (result["settings"]["differs"], result[CHECK]["ran"]) == (["mode"], True)
    assert stat.S_IMODE(settings.stat().st_mode) == 0o640
    assert not Path(other.aside).exists()
    assert not place.apply(other, check=True)["changed"]
