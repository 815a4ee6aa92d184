"""The roles' variables as their argument_specs have them, and values that are not what these say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from deployment.words import did_you_mean

PROJECT = Path(__file__).resolve().parent.parent
# The bounds of a number and its unit stand in its description, where people read them: (500 to 60000 milliseconds).
RANGE = re.compile(r"\((?P<least>-?[0-9.]+) to (?P<most>[0-9.]+)(?: (?P<unit>\w+))?\)")
# What a number in another unit is off by.
FACTORS = {"milliseconds": 1000, "seconds": 0.001}
# What units, redis.conf and the shell all take without quotes, and how to say it.
PLAIN_PATH = re.compile(r"[\w./~@:+,=-]*")
PLAIN = "letters, digits and . _ / ~ @ : + , = -"
WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Option:
    """A variable: its type, and where the spec has them its choices, its default, and its bounds with their unit.

    `default` is None where the role computes it, and "" where the inventory must give the value.
    """

    name: str
    type: str
    elements: str = ""
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    unit: str = ""
    default: Any = None

    def fault(self, value: Any) -> tuple[str, str] | None:
        """Return what is wrong with a value and what to write instead, or None."""
        if value is None:
            return "it has no value", "write one, or remove the line for the default"
        if self.type == "list":
            return self._list_fault(value)
        return _type_fault(self.type, value) or self._choice_fault(value) or self._range_fault(value)

    def _list_fault(self, value: Any) -> tuple[str, str] | None:
        if not isinstance(value, (list, tuple)):
            return f"it must be a list, and is {kind(value)}", "write one such as [a, b], or [] for none"
        for one in value:
            if wrong := _type_fault(self.elements or "raw", one) or self._choice_fault(one):
                return f"{kind(one)} in the list is wrong: {wrong[0]}", wrong[1]
        return None

    def _choice_fault(self, value: Any) -> tuple[str, str] | None:
        if not self.choices or value in self.choices:
            return None
        return "it is unknown", f"{did_you_mean(value, self.choices)}choose {', '.join(map(str, self.choices))}"

    def _range_fault(self, value: Any) -> tuple[str, str] | None:
        if self.least is None or self.most is None or self.least <= float(value) <= self.most:
            return None
        wanted = f"{self.least:g} to {self.most:g}"
        if not self.unit:
            return "it is out of range", f"write a number from {wanted}"
        meant = float(value) * FACTORS.get(self.unit, 1)
        hint = f" (did you mean {meant:g}?)" if self.least <= meant <= self.most else ""
        return f"it is out of range, and in {self.unit}", f"write {wanted} {self.unit}{hint}"


@lru_cache
def options(roles: Path = PROJECT / "roles") -> Mapping[str, Option]:
    """Return every role's variables by name."""
    found = {}
    for path in sorted(roles.glob("*/meta/argument_specs.yml")):
        spec = yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        (entry_point,) = spec["argument_specs"].values()
        for name, option in entry_point["options"].items():
            found[name] = _option(name, option)
    return found


@lru_cache
def defaults() -> Mapping[str, Any]:
    """Return the default of every variable by name, without those that the roles compute."""
    return {name: option.default for name, option in options().items() if option.default is not None}


def _option(name: str, spec: Mapping[str, Any]) -> Option:
    bounds = RANGE.search(" ".join(str(spec["description"]).split()))
    least, most = (float(bounds["least"]), float(bounds["most"])) if bounds else (None, None)
    default = "" if spec.get("required") else spec.get("default")
    return Option(
        name,
        spec.get("type", "str"),
        spec.get("elements", ""),
        tuple(spec.get("choices", ())),
        least,
        most,
        bounds["unit"] or "" if bounds else "",
        default,
    )


def is_whole(value: Any) -> bool:
    """Tell whether it is a whole number, or the text of one, as `-e` and INI inventories have them."""
    return not isinstance(value, bool) and WHOLE.fullmatch(str(value)) is not None


def kind(value: Any) -> str:
    """Return what a value is, for people."""
    if value is None:
        return "null"
    for one, name in ((bool, "true or false"), (str, "text"), ((int, float), "a number"), (Mapping, "a mapping")):
        if isinstance(value, one):
            return name
    return "a list" if isinstance(value, (list, tuple)) else "something else"


def _type_fault(wanted: str, value: Any) -> tuple[str, str] | None:
    """Return what is wrong with a value's type; roles get values as they are, so text is no list and no boolean."""
    if wanted == "bool" and not isinstance(value, bool):
        meant = _meant(value)
        fix = f"write {meant}, without quotes (in an INI file with a capital; after -e as '{{name: {meant}}}')"
        return f"it must be true or false, and is {kind(value)}", fix
    if wanted == "int" and not is_whole(value):
        return f"it must be an integer, and is {kind(value)}", "write a whole number"
    if wanted == "float" and (isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", str(value))):
        return f"it must be a number, and is {kind(value)}", "write a number"
    if wanted == "dict" and not isinstance(value, Mapping):
        return f"it must be a mapping, and is {kind(value)}", "write {name: value}, or {} for none"
    if wanted in ("str", "path"):
        return _text_fault(value) or (_path_fault(str(value)) if wanted == "path" else None)
    return None


def _path_fault(path: str) -> tuple[str, str] | None:
    if path and not path.startswith(("/", "~")):
        return "it is no absolute path", "write one that begins with /"
    if not re.fullmatch(PLAIN_PATH, path):
        return f"the configuration of services takes no path but of {PLAIN}", "write another one"
    return None


def _text_fault(value: Any) -> tuple[str, str] | None:
    # A whole number is as it is written; YAML reads 4.10 as 4.1, 1e3 as 1000 and yes as true.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return None
    quotes = isinstance(value, (bool, float))
    return f"it must be text, and is {kind(value)}", "write it in quotes" if quotes else "write text"


def _meant(value: Any) -> str:
    word = str(value).strip().lower()
    return {"yes": "true", "on": "true", "1": "true", "true": "true"}.get(
        word, "false" if word in ("no", "off", "0", "false", "") else "true or false"
    )
