"""Plans from what check mode really registered, which is in sample_plans.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployment.plan import deployment_plan

Recorded = dict[str, Any]
Change = Callable[[Recorded], Any]

RECORDED: dict[str, Recorded] = json.loads(Path(__file__).with_name("sample_plans.json").read_text("utf-8"))


def load(name: str) -> Recorded:
    """A copy of what was recorded, which may be changed."""
    recorded: Recorded = json.loads(json.dumps(RECORDED[name]))
    return recorded


def plan(recorded: Recorded) -> dict[str, Any]:
    return deployment_plan(
        recorded["hostvars"],
        recorded["hostvars"],
        recorded["groups"],
        recorded["nodes"],
        recorded["mode"],
        recorded["sentinels"],
    )


NOTHING = "nothing to do: 0 restarts"
