"""The documentation of every module is that of its arguments."""

from __future__ import annotations

import importlib
import re
import runpy
from typing import Any

import pytest
import yaml
from ansible.module_utils.redis_client import CONNECTION_SPEC, RedisError, connect, connection_of

from conftest import PROJECT
from servers import RedisServerFactory

MODULES = sorted(path.stem for path in (PROJECT / "ansible" / "plugins" / "modules").glob("*.py"))


class _CapturedError(Exception):
    pass


def fragment(name: str) -> dict[str, Any]:
    """The options of a documentation fragment."""
    found = runpy.run_path(str(PROJECT / "ansible" / "plugins" / "doc_fragments" / f"{name}.py"))
    options: dict[str, Any] = yaml.safe_load(found["ModuleDocFragment"].DOCUMENTATION)["options"]
    return options


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_is_that_of_the_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec: dict[str, dict[str, Any]] = {}
    module = importlib.import_module(f"ansible.plugins.modules.{name}")

    def capture(argument_spec: dict[str, Any], **_: Any) -> None:
        spec.update(argument_spec)
        raise _CapturedError

    monkeypatch.setattr(module, "AnsibleModule", capture)
    with pytest.raises(_CapturedError):
        module.main()
    documented = yaml.safe_load(module.DOCUMENTATION)
    assert documented["module"] == name
    options = documented["options"]
    for extended in documented.get("extends_documentation_fragment", []):
        # That of Ansible itself is for arguments that it adds by itself.
        if extended != "files":
            assert not options.keys() & fragment(extended).keys()
            options |= fragment(extended)
    assert set(options) == set(spec)
    for key, option in options.items():
        assert set(option) <= {"description", "type", "required", "default", "elements", "choices"}, key
        for aspect in ("type", "required", "default", "elements", "choices"):
            assert option.get(aspect) == spec[key].get(aspect), f"{key}: {aspect}"
    assert yaml.safe_load(module.EXAMPLES)
    for key, value in yaml.safe_load(getattr(module, "RETURN", "{}")).items():
        assert set(value) <= {"description", "type", "returned"}, key


@pytest.mark.parametrize("name", MODULES)
def test_every_module_that_a_documentation_names_exists(name: str) -> None:
    named = re.findall(r"M\(([\w.]+)\)", importlib.import_module(f"ansible.plugins.modules.{name}").DOCUMENTATION)
    assert set(named) <= set(MODULES)


def test_the_defaults_of_a_connection_are_those_of_the_client(redis_server: RedisServerFactory) -> None:
    """What Ansible passes for a task that names the port alone is what `connect` takes, and what a part has."""
    server = redis_server(password="x")
    defaults = {name: option.get("default") for name, option in CONNECTION_SPEC.items()}
    assert connection_of({"port": server.port}) == {**defaults, "port": server.port}
    with connect(connection_of({"port": server.port})) as stranger, pytest.raises(RedisError, match=r"^NOAUTH "):
        stranger.command("PING")
