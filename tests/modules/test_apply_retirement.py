"""What the mode does not use any more is retired as a whole, also where a run was cut short."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.host.files import absent
from ansible.module_utils.host.run import PartError, Run
from ansible.plugins.modules import host_apply

from builders import site
from deployment.states import States

PASSWORD = "what the roles log in with"


def sections(folder: Path, mode: str) -> dict[str, Any]:
    """What redis-1 is to have, by the services that are described there."""
    own: dict[str, Any] = {
        "service_manager": "supervisor",
        "service_dir": str(folder / "services"),
        "redis_conf_dir": str(folder / "conf"),
        "redis_data_dir": str(folder / "data"),
        "redis_exporter_conf_dir": str(folder / "exporter"),
    }
    units = [str(path) for path in folder.glob("services/programs/*.conf")]
    said = {"redis-1": {"probe": {"units": units}}}
    return States(site(mode, servers=1, sentinels=["redis-1"], said=said, **own)).parts("redis-1")


@pytest.mark.parametrize(
    ("mode", "section", "service", "secret"),
    [
        ("locmem", "retired", "redis-6379", "conf/redis-6379.auth.conf"),
        ("locmem", "retired", "redis-6379", "data/6379/redis.conf"),
        ("locmem", "retired_sentinel", "redis-sentinel-26379", "conf/redis-sentinel-26379.auth.conf"),
        ("locmem", "retired_sentinel", "redis-sentinel-26379", "data/sentinel-26379/sentinel.conf"),
        ("standalone", "exporter", "redis-exporter-6379", "exporter/redis-exporter-6379.passwords.json"),
    ],
)
def test_a_retirement_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, section: str, service: str, secret: str
) -> None:
    """Before the passwords are gone, it is found again, and done again."""
    for path in (f"services/programs/{service}.conf", secret):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(f"{PASSWORD}\n")

    def retire(check: bool = False) -> dict[str, Any]:
        results: dict[str, dict[str, Any]] = {}
        parts = sections(tmp_path, mode)[section]
        host_apply.apply([{"name": section, "parts": parts}], {}, Run(check), results)
        return results[section]

    def fails(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
        raise PartError("the disk is read-only")

    monkeypatch.setitem(host_apply.KINDS, "absent", fails)
    with pytest.raises(host_apply.ApplyError, match="read-only"):
        retire()
    monkeypatch.setitem(host_apply.KINDS, "absent", absent)
    assert retire(check=True)["changed"]
    assert retire()["changed"]
    assert not (tmp_path / secret).exists() or PASSWORD not in (tmp_path / secret).read_text()
    assert section not in sections(tmp_path, mode)
