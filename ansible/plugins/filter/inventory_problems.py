"""What is wrong with the inventory of a play, found without contacting a host; see the package preflight."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from jinja2 import Undefined, UndefinedError

# Ansible loads each plugin alone, without what lies around it.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from preflight.inventory import Inventory, hosts_of
from preflight.problems import SECRET, as_answer, in_python
from preflight.rules import inventory_problems
from preflight.rules_words import CONNECTION, may_be_ours
from preflight.specs import options

# What has a value in the roles only.
LATER = ("hostvars", "role_path", "cache_nodes", "cache_leader", "cache_node", "cache_hosts", "cache_sentinels")
FACTS = ("ansible_facts", "__")
UNDEFINED = re.compile(r"'(\w+)' is undefined")
VAULT = "$ANSIBLE_VAULT"
SUFFIXES = ("", ".yml", ".yaml", ".json", ".ini")
# A variable with a value that is neither a template, nor encrypted, nor a mapping: in YAML, JSON and INI files.
PLAIN = re.compile(r"""["']?\b(?P<name>\w+)["']?[ \t]*[:=][ \t]*(?!["']?\{\{|["']{2}|[!{\[|>#])(?=\S)""")


def problems_of(hostvars: Any, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what is wrong: `problems`, each a dict, and `text` for people."""
    variables: dict[str, dict[str, Any]] = {}
    unreadable: dict[str, dict[str, str]] = {}
    folders = set()
    for host in hosts_of(groups):
        found = hostvars[host]
        variables[host], unreadable[host] = {}, {}
        folders.add(str(found.get("inventory_dir") or ""))
        for name in found:
            if name in CONNECTION or may_be_ours(name):
                try:
                    variables[host][name] = _value(found[name])
                except (AnsibleError, UndefinedError) as error:
                    raw = hostvars.raw_get(host)
                    if not _is_known_later(str(error).strip().splitlines()[0], raw, name):
                        unreadable[host][name] = _reason(error, raw[name])
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
    return in_python(value)


def _is_known_later(reason: str, raw: Mapping[str, Any], name: str) -> bool:
    """Whether a value is not there yet because it names a default of a role, or what a host says of itself."""
    if missing := UNDEFINED.match(reason):
        return missing[1] in options() or missing[1] in LATER or missing[1].startswith(FACTS)
    return "has no attribute" in reason and "ansible_facts" in _named(raw, name)


def _named(raw: Mapping[str, Any], name: str) -> str:
    """The text of a variable, and of those that it names."""
    texts, names, seen = "", [name], set()
    while names:
        name = names.pop()
        if name in raw and name not in seen:
            seen.add(name)
            text = str(raw[name])
            texts += text
            names += re.findall(r"\w+", text)
    return texts


def _reason(error: Exception, raw: Any) -> str:
    """Why a value cannot be had, without what may be a part of it: a password may have the marks of a template."""
    reason = str(error).strip().splitlines()[0]
    if UNDEFINED.match(reason) and re.fullmatch(r"\s*\{\{[^{}%]*\}\}\s*", str(raw)):
        return reason
    if isinstance(raw, str):
        return "Ansible reads its {{, {% or {# as a template (for a text that has them write !unsafe)"
    return reason


def plain_secrets(folder: Path) -> Iterator[tuple[str, str]]:
    """Find secrets that stand in an inventory's files as they are: pairs of a path and a variable."""
    files = [*folder.glob("*"), *folder.glob("group_vars/**/*"), *folder.glob("host_vars/**/*")]
    for path in sorted(path for path in files if path.suffix in SUFFIXES and path.is_file()):
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            # Ansible itself says so, if it wants the file.
            continue
        if not text.startswith(VAULT):
            lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
            for found in PLAIN.finditer("\n".join(lines)):
                if SECRET.search(found["name"]):
                    yield str(path), found["name"]


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"inventory_problems": problems_of}
