"""The part ``volatile``: the file with which a server starts for the first time, and which it rewrites from then on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.run import REQUIRED, Run, checked, text_on_disk


def content(leader: Mapping[str, Any] | None, include: str) -> str:
    """What the server starts with: whom it follows, if anybody, and the file with its configuration."""
    follows = f"replicaof {leader['address']} {leader['port']}\n" if leader else ""
    return f"{follows}include {include}\n"


def including(text: str, include: str) -> str:
    """The text with this file as the only one that it includes, at its end where that differs."""
    lines = text.splitlines(keepends=True)
    included = [line.split() for line in lines if line.startswith("include ")]
    if included == [["include", include]]:
        return text
    others = "".join(line for line in lines if not line.startswith("include "))
    return f"{others.rstrip()}\ninclude {include}\n"


def volatile(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Write the file where it does not exist. Returns ``changed`` and ``differs``, see `Run.write`. Raises PartError.

    What a server has written there is its own; its owner, group and mode are put right, and what it includes: without
    the configuration it would come up open to everybody.
    """
    params = checked(params, path=REQUIRED, include=REQUIRED, leader=None, owner="", group="", mode="")
    before = text_on_disk(params["path"])
    text = content(params["leader"], params["include"]) if before is None else including(before, params["include"])
    # The passwords may be among what a server writes, and bytes that are no text.
    force, show = text != before, before is None
    differs = run.write(params["path"], text, params["owner"], params["group"], params["mode"], force, show)
    return {"changed": bool(differs), "differs": differs, "path": params["path"]}
