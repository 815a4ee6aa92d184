"""The parts that a desired state is made of, as the module host_apply takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Part = dict[str, Any]


class Secret(str):
    """A text that nobody may see: it travels apart from what is shown and logged."""


def directory(path: str, owner: str = "", group: str = "", mode: str = "0755") -> Part:
    """A directory with its owner, group and mode; empty leaves the owner or the group as it is."""
    return {
        "part": "directory",
        "name": f"directory {path}",
        "path": path,
        "owner": owner,
        "group": group,
        "mode": mode,
    }


def file(path: str, content: str, owner: str = "", group: str = "", mode: str = "0644", **more: Any) -> Part:
    """A file. A Secret is never shown in a diff."""
    attributes = {"owner": owner, "group": group, "mode": mode, "diff": not isinstance(content, Secret)}
    return {"part": "file", "name": f"file {path}", "path": path, "content": content, **attributes, **more}


def absent(name: str, *paths: str) -> Part:
    """Files and directories that are not to be there."""
    return {"part": "absent", "name": name, "paths": list(paths)}


def separated(value: Any) -> tuple[Any, dict[str, str]]:
    """The value with ``{"secret": NAME}`` in place of each Secret, and these by name."""
    secrets: dict[str, str] = {}
    names: dict[str, str] = {}

    def replace(one: Any) -> Any:
        if isinstance(one, Secret):
            name = names.setdefault(str(one), f"secret {len(names) + 1}")
            secrets[name] = str(one)
            return {"secret": name}
        if isinstance(one, Mapping):
            return {key: replace(item) for key, item in one.items()}
        if isinstance(one, (list, tuple)):
            return [replace(item) for item in one]
        return one

    return replace(value), secrets


def arguments(listed: list[dict[str, Any]]) -> dict[str, Any]:
    """The arguments with which the module host_apply applies these sections."""
    found, secrets = separated(listed)
    return {"sections": found, "secrets": secrets}


def sections(parts: Mapping[str, Iterable[Part]], *names: str) -> list[dict[str, Any]]:
    """The named sections of a host, in this order, without those that it does not have."""
    return [{"name": name, "parts": list(parts[name])} for name in names if parts.get(name)]
