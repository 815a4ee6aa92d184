"""Applies the parts of host_apply in tests, and runs whole modules, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.host.run import PartError, Run
from ansible.module_utils.redis_client import RedisClient, RedisError
from ansible.module_utils.testing import patch_module_args

from servers import RedisServer

PASSWORD = "p@ss \"word' \\ #é"

Part = Callable[[Mapping[str, Any], Run], dict[str, Any]]


def connection(server: RedisServer | int, auth_file: object = None, **changes: Any) -> dict[str, Any]:
    """The parameter ``connection`` of a part, for a server or for whoever is on a port."""
    port = server if isinstance(server, int) else server.port
    return {"port": port, "auth_file": str(auth_file) if auth_file else None, **changes}


def apply(part: Part, params: Mapping[str, Any], check: bool = False, **changes: Any) -> dict[str, Any]:
    """Apply one part with these parameters, changed by the keywords. Return its result, its diffs and its warnings."""
    run = Run(check)
    try:
        return {**part({**params, **changes}, run), "diff": run.diffs, "warnings": run.warnings}
    finally:
        run.close()


def refused(part: Part, params: Mapping[str, Any], check: bool = False, **changes: Any) -> str:
    """The text with which a part fails."""
    with pytest.raises(PartError) as raised:
        apply(part, params, check, **changes)
    return str(raised.value)


def may(server: RedisServer, user: str, password: str, *command: str) -> str:
    """What a server says to a user's command, the first word of an error."""
    with RedisClient(server.host, server.port) as client:
        try:
            client.command("AUTH", *filter(None, (user, password)))
            return str(client.command(*command))
        except RedisError as error:
            return str(error).split()[0]


class ModuleRunner:
    """Runs a module as Ansible does: arguments in, JSON out."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        # Another test of this process may have been a controller's, where warnings go to the screen.
        monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    def __call__(self, module: ModuleType, check: bool = False, **arguments: Any) -> dict[str, Any]:
        self._capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result
