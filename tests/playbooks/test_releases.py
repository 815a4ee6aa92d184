"""Which releases of the project a host keeps."""

from __future__ import annotations

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from conftest import PROJECT

HOME = "/srv/django_app"


@pytest.mark.parametrize(
    ("serves", "there", "deleted"),
    [
        ("", ["new"], []),
        ("releases/former", ["former", "new"], []),
        ("releases/former", ["older", "former", "new"], ["older"]),
        # A newer one was refused, and has never served.
        ("releases/former", ["older", "former", "refused", "new"], ["older", "refused"]),
    ],
)
def test_the_release_that_serves_is_kept(serves: str, there: list[str], deleted: list[str]) -> None:
    """It goes on serving until the new settings are checked, and where they are refused."""
    tasks = yaml.safe_load((PROJECT / "roles" / "django_app" / "tasks" / "release.yml").read_text("utf-8"))
    (task,) = (task for task in tasks if task["name"] == "Delete them")
    files = [{"path": f"{HOME}/releases/{name}", "mtime": number} for number, name in enumerate(there)]
    known = {
        "django_app_release": {"home": HOME, "directory": f"{HOME}/releases/new"},
        "django_app_releases": {"files": files},
        "cache_compared": {"sections": {"django_app": {"release": {"before": serves}}}},
        **{name: trust_as_template(value) for name, value in task["vars"].items()},
    }
    found = Templar(DataLoader(), known).template(trust_as_template(task["loop"]))
    assert [file["path"] for file in found] == [f"{HOME}/releases/{name}" for name in deleted]
