"""The roles' variables as their argument_specs and bounds have them, and values that are not what these say."""

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
# What a number in another unit is off by.
FACTORS = {"milliseconds": 1000, "seconds": 0.001}
# What units, redis.conf and the shell all take without quotes, and how to say it.
PLAIN_PATH = re.compile(r"[\w./~@:+,=-]*")
PLAIN = "letters, digits and . _ / ~ @ : + , = -"
WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Bounds:
    """The least and the most that a number may be, both included, and its unit; None where there is no bound."""

    least: float | None = None
    most: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        """The bounds for people, such as `500 to 60000 milliseconds`; "" where there are none."""
        if self.least is None or self.most is None:
            return ""
        return f"{self.least:g} to {self.most:.10g}{self.unit and f' {self.unit}'}"

    def hold(self, value: float) -> bool:
        """Tell whether they let a number pass."""
        return (self.least is None or self.least <= value) and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Option:
    """A variable: its type, and where the spec has them its choices, its bounds and its default.

    `default` is None where the role computes it, and "" where the inventory must give the value.
    """

    name: str
    type: str
    elements: str = ""
    choices: tuple[Any, ...] = ()
    bounds: Bounds = Bounds()
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
        if not str(self.bounds) or self.bounds.hold(float(value)):
            return None
        if not self.bounds.unit:
            return "it is out of range", f"write a number from {self.bounds}"
        meant = float(value) * FACTORS.get(self.bounds.unit, 1)
        hint = f" (did you mean {meant:g}?)" if self.bounds.hold(meant) else ""
        return f"it is out of range, and in {self.bounds.unit}", f"write {self.bounds}{hint}"


@lru_cache
def options(roles: Path = PROJECT / "roles") -> Mapping[str, Option]:
    """Return every role's variables by name."""
    limits = bounds(roles)
    return {
        name: _option(name, spec, limits.get(name, Bounds()))
        for path in sorted(roles.glob("*/meta/argument_specs.yml"))
        for entry_point in read_yaml(path)["argument_specs"].values()
        for name, spec in entry_point["options"].items()
    }


@lru_cache
def bounds(roles: Path = PROJECT / "roles") -> Mapping[str, Bounds]:
    """Return the bounds of the variables that have them, by name, from each role's meta/bounds.yml."""
    paths = sorted(roles.glob("*/meta/bounds.yml"))
    return {name: Bounds(**given) for path in paths for name, given in read_yaml(path).items()}


def read_yaml(path: Path) -> Any:
    """Return what a file of YAML holds."""
    return yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@lru_cache
def defaults() -> Mapping[str, Any]:
    """Return the default of every variable by name, without those that the roles compute."""
    return {name: option.default for name, option in options().items() if option.default is not None}


def _option(name: str, spec: Mapping[str, Any], limits: Bounds) -> Option:
    choices, default = tuple(spec.get("choices", ())), "" if spec.get("required") else spec.get("default")
    return Option(name, spec.get("type", "str"), spec.get("elements", ""), choices, limits, default)


def is_whole(value: Any) -> bool:
    """Tell whether it is a whole number, or the text of one, as `-e` and INI inventories have them."""
    return not isinstance(value, bool) and WHOLE.fullmatch(str(value)) is not None


def is_true(value: Any) -> bool:
    """Tell whether it is true, or a text that says so, as `-e` and INI inventories have them."""
    return str(value).lower() in ("true", "yes", "on", "1")


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
