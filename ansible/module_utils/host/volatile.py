"""The part ``volatile``: the file with which a server starts for the first time, and which it rewrites from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.run import REQUIRED, Run, checked


def content(leader: Mapping[str, Any] | None, include: str) -> str:
    """What the server starts with: whom it follows, if anybody, and the file with its configuration."""
    follows = f"replicaof {leader['address']} {leader['port']}\n" if leader else ""
    return f"{follows}include {include}\n"


def volatile(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Write the file where it does not exist. Returns ``changed`` and ``differs``, see `Run.write`. Raises PartError.

    What a server has written there is its own; only its owner, group and mode are put right.
    """
    params = checked(params, path=REQUIRED, include=REQUIRED, leader=None, owner="", group="", mode="")
    text = content(params["leader"], params["include"])
    differs = run.write(params["path"], text, params["owner"], params["group"], params["mode"], force=False)
    return {"changed": bool(differs), "differs": differs, "path": params["path"]}
