"""The plugin between Ansible and the package: what it takes of a task and of the hosts, and hands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import running, with_ca
from builders import site as built_site
from rendering import bridge

# Renewals


@pytest.mark.parametrize("check_mode", [True, False])
def test_check_mode_renews_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    action = bridge("tls", "renew", check_mode)
    one = built_site("sentinel", said=running("sentinel", tls=True), **with_ca(tmp_path))
    monkeypatch.setattr(action, "_site", lambda: one)
    assert action._renew()["issued"] == ["redis-1", "redis-2", "redis-3"]
    assert list(tmp_path.iterdir()) == ([] if check_mode else [tmp_path / "tls"])
