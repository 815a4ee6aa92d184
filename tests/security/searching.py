"""What the tests of the audit share: who runs them, secrets to look for, and programs that only print."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible.module_utils import secret_search
from ansible.module_utils.secret_search import Needles

ME = secret_search.user_name(os.geteuid())
SECRET = "a/Very+long secret&%"
NEEDLES = Needles({"password": SECRET, "key": "another-one-that-is-long", "short": "1234567", "none": ""})


class Programs:
    """Programs that are first on the PATH, each of which prints a text."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        directory.mkdir()
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def __call__(self, name: str, prints: str) -> None:
        (self._directory / f"{name}.out").write_text(prints)
        (self._directory / name).write_text('#!/bin/sh\ncat "$0.out"\n')
        (self._directory / name).chmod(0o755)
