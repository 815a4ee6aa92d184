"""The part of a host's state that is its firewall: the rules of nftables that run are those of a file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.host.run import REQUIRED, Run, checked
from ansible.module_utils.host.services import Systemd

LIST = ["nft", "list", "table", "inet", "cachestack"]


def firewall_load(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Have the unit ``name`` load the rules of ``file``, now and with the machine. ``same`` is whether those run."""
    params = checked(params, name=REQUIRED, file=REQUIRED)
    unit = Systemd(params["name"])
    state = unit.state()
    is_planned = run.check_mode and params["file"] in run.planned
    same = not is_planned and is_loaded(params["file"])
    changed = not (same and state.active and state.enabled)
    if not run.check_mode:
        if state.outdated or not state.active:
            unit.reload_units()
        if not state.enabled:
            unit.enable()
        if not state.active:
            unit.call("start")
        elif not same:
            unit.call("reload")
    return {"changed": changed, "same": same}


def is_loaded(file: str) -> bool:
    """Whether the rules that run are those of a file.

    nft prints rules in words of its own, so they are compared with what it makes of the file in an empty network.
    """
    load = 'nft -f "$1" && shift && exec "$@"'
    wanted = _printed(["unshare", "--net", "sh", "-c", load, "sh", file, *LIST])
    return bool(wanted.strip()) and wanted == _printed(LIST)


def _printed(command: list[str]) -> str:
    """What a command prints, nothing where it fails."""
    # Where nft is, which is on root's own path alone.
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return ""
    return result.stdout if result.returncode == 0 else ""
