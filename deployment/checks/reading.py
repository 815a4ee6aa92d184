"""What can be read of an inventory without its hosts: why a value is missing, and secrets that lie in its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployment.secrets import SECRET

UNDEFINED = re.compile(r"'(\w+)' is undefined")
NO_ATTRIBUTE = re.compile(r"object of type '\w+' has no attribute '(\w+)'")
# What follows may be the answer of a vault.
NO_LOOKUP = re.compile(r"The lookup plugin '[\w.]+' failed")
VAULT = "$ANSIBLE_VAULT"
SUFFIXES = ("", ".yml", ".yaml", ".json", ".ini")
# A variable with a value that is neither a template, nor encrypted, nor a mapping: in YAML, JSON and INI files.
PLAIN = re.compile(r"""["']?\b(?P<name>\w+)["']?[ \t]*[:=][ \t]*(?!["']?\{\{|["']{2}|[!{\[|>#])(?=\S)""")


def names_facts(raw: Mapping[str, Any], name: str) -> bool:
    """Tell whether a variable, or one that it names, is made of what a host says of itself.

    `raw` has the host's variables as they are written.
    """
    return "ansible_facts" in _named(raw, name)


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


def reason_of(error: Exception, raw: Any) -> str:
    """Return why a value cannot be had, without the value: a password may have the marks of a template."""
    reason, text = str(error).strip().splitlines()[0], str(raw)
    if failed := NO_LOOKUP.match(reason):
        return failed[0]
    if "ansible_facts" in text or re.fullmatch(r"\s*\{\{[^{}%]*\}\}\s*", text):
        missing = NO_ATTRIBUTE.match(reason)
        # An attribute that is not written there is the value of another variable, maybe of a secret.
        if UNDEFINED.match(reason) or (missing and missing[1] in text):
            return reason
        return "something that it names has no value"
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
