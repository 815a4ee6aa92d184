"""What is wrong with the inventory of a play, found without contacting a host; see the package preflight."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from jinja2 import Undefined, UndefinedError

# Ansible loads each plugin alone, without what lies around it.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from preflight.inventory import Inventory, hosts_of
from preflight.problems import SECRET, as_answer
from preflight.rules import inventory_problems
from preflight.rules_words import may_be_ours
from preflight.specs import options

# What else the rules ask for.
ANSIBLE = ("ansible_host", "ansible_connection", "ansible_become", "ansible_user")
# How names begin that have a value in the roles only.
LATER = ("ansible_", "cache_", "role_path", "__")
VAULT = "$ANSIBLE_VAULT"


def problems_of(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what is wrong: `problems`, each a dict, and `text` for people."""
    variables: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, dict[str, str]] = {}
    folders = set()
    for host in hosts_of(groups):
        found = hostvars[host]
        variables[host], unreadable[host] = {}, {}
        folders.add(str(found.get("inventory_dir") or ""))
        for name in found:
            if name in ANSIBLE or may_be_ours(name):
                try:
                    variables[host][name] = _value(found[name])
                except (AnsibleError, UndefinedError) as error:
                    reason = str(error).strip().splitlines()[0]
                    if not _is_known_later(reason, hostvars, host, name):
                        unreadable[host][name] = reason
    secrets = [pair for folder in sorted(filter(None, folders)) for pair in plain_secrets(Path(folder))]
    return as_answer(inventory_problems(Inventory(variables, groups, unreadable, secrets)))


def _value(value: Any) -> Any:
    """The value in Python's own types, with all that it contains. Raises UndefinedError, as Ansible would later."""
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, Mapping):
        return {_value(key): _value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(one) for one in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _is_known_later(reason: str, hostvars: Any, host: str, name: str) -> bool:
    """Whether a value is not there yet because it names a default of a role, or what a host says of itself."""
    missing = re.match(r"'(\w+)' is undefined", reason)
    if missing:
        return missing[1] in options() or missing[1].startswith(LATER)
    return any(word in str(hostvars.raw_get(host).get(name)) for word in LATER)


def plain_secrets(folder: Path) -> Iterator[tuple[str, str]]:
    """Find secrets that stand in an inventory's YAML files as they are: pairs of a path and a variable."""
    for path in sorted(folder.rglob("*.y*ml")):
        text = path.read_text("utf-8", "replace")
        if not text.startswith(VAULT):
            try:
                for name in _secrets_in(yaml.load(text, _Loader)):
                    yield str(path), name
            except yaml.YAMLError:
                # Ansible itself says what is wrong with it.
                continue


def _secrets_in(data: Any) -> Iterator[str]:
    for name, value in data.items() if isinstance(data, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif SECRET.search(str(name)) and isinstance(value, str) and value and "{{" not in value:
            yield str(name)


class _Loader(yaml.SafeLoader):
    """Reads tags such as !vault as nothing."""


_Loader.add_multi_constructor("!", lambda _loader, _tag, _node: None)


def _reason(error: AnsibleError) -> str:
    return str(error).strip().splitlines()[0]


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"inventory_problems": problems_of}
