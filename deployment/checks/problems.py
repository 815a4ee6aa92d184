"""One thing that is wrong: what is said of it, in which order, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from deployment.secrets import SECRET, without_passwords

ERROR, WARNING = "error", "warning"
# Where a rule is explained.
PAGE = "docs/rules.md"
# Longer values are cut.
LONGEST = 60
# No value to show.
NOTHING = object()


class Finding(NamedTuple):
    """What a rule says: of one host or of one group, about which variable and value, what is wrong, what to write.

    The `value` is shown unless the variable's name is that of a secret; NOTHING where there is none to show. `wrong`
    and `fix` are without a capital and a full stop, and never hold a secret.
    """

    where: str
    variable: str
    value: Any
    wrong: str
    fix: str


@dataclass(frozen=True)
class Rule:
    """What inventories must keep to.

    `id` is its name. `find` yields a Finding for each place where it is not kept to, and its docstring says what it
    demands and why, for people; what it is given depends on the table in which the rule stands.
    """

    id: str
    find: Callable[[Any], Iterable[Finding]]
    severity: str = ERROR

    @property
    def text(self) -> str:
        """What it demands and why."""
        return " ".join((self.find.__doc__ or "").split())

    @property
    def link(self) -> str:
        """Where it is explained."""
        return f"{PAGE}#{self.id}"


@dataclass(frozen=True)
class Problem:
    """A Finding of a rule in all the places where it is the same: hosts, or one group; `value` as it is shown."""

    rule: str
    severity: str
    where: tuple[str, ...]
    variable: str
    value: str
    wrong: str
    fix: str
    link: str

    def __str__(self) -> str:
        """The problem in one line: where: variable = value: what is wrong; what to write instead."""
        about = self.variable + (f" = {self.value}" if self.value else "")
        return f"{', '.join(self.where)}: {about}{': ' if about else ''}{self.wrong}; {self.fix} [{self.rule}]"

    def as_dict(self) -> dict[str, Any]:
        """Return the problem for programs, with its line as `text`."""
        return {**vars(self), "where": list(self.where), "text": str(self)}


def problems(rules: Iterable[Rule], given: Any, groups: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Return what the rules find, errors first; a problem that a whole group has is said once, of the group."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for rule in rules:
        for where, variable, value, wrong, fix in rule.find(given):
            key = (rule, variable, shown(variable, value), wrong, fix)
            places = found.setdefault(key, [])
            if where not in places:
                places.append(where)
    result = [
        Problem(rule.id, rule.severity, places_named(places, groups, variable), variable, value, wrong, fix, rule.link)
        for (rule, variable, value, wrong, fix), places in found.items()
    ]
    return sorted(result, key=lambda problem: problem.severity != ERROR)


def places_named(hosts: Sequence[str], groups: Mapping[str, Sequence[str]], variable: str = "") -> tuple[str, ...]:
    """Return the group whose hosts these are, if there are several, the variable's own first; else the hosts."""
    if len(hosts) > 1:
        for group in sorted(groups, key=lambda name: (name == "all", -len(name) * variable.startswith(f"{name}_"))):
            if set(groups[group]) == set(hosts):
                return (f"group {group}" if group != "all" else "all hosts",)
    return tuple(hosts)


def shown(variable: str, value: Any) -> str:
    """Return a value as people read it, on one line; "" for that of a secret and where there is none."""
    if value is NOTHING or SECRET.search(variable):
        return ""
    text = without_passwords(repr(_plain(value)).replace("Ellipsis", "..."))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def in_python(value: Any) -> Any:
    """Return a text or a number in Python's own type, whatever Ansible made of it; anything else as it is."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _plain(value: Any) -> Any:
    """The value in Python's own types; of a mapping its names alone."""
    if isinstance(value, Mapping):
        return {str(key): ... for key in value}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return in_python(value)


def as_text(found: Sequence[Problem]) -> str:
    """Return the problems for people, one on each line below a heading; "no problems" where there is none."""
    errors = [problem for problem in found if problem.severity == ERROR]
    warnings = [problem for problem in found if problem.severity == WARNING]
    if not found:
        return "no problems"
    lines = []
    for heading, chosen in (("error", errors), ("warning", warnings)):
        if chosen:
            lines.append(f"{len(chosen)} {heading}{'s' if len(chosen) > 1 else ''}")
            lines += [f"  {problem}" for problem in chosen]
    return "\n".join(lines)


def as_answer(found: Sequence[Problem]) -> dict[str, Any]:
    """Return the problems for programs: `problems`, each a dict, and the `text` for people."""
    return {"problems": [problem.as_dict() for problem in found], "text": as_text(found)}
