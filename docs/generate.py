"""Write the pages of the variables, of the rules and of the faults; with --check, say whether they are stale.

PYTHONPATH=django_app python -m docs.generate [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from deployment.checks import facts, rules
from deployment.checks.problems import ERROR, PAGE, Rule
from deployment.specs import bounds, options
from drill.faults import FAULTS, Fault, Limits
from drill.judge import promised

PROJECT = Path(__file__).resolve().parent.parent
DOCS = PROJECT / "docs"

# In the order in which people need them; further roles follow by name.
ORDER = ("cache", "redis", "django_app", "service", "summary")


def specs() -> dict[str, dict[str, dict[str, Any]]]:
    """The variables by role, each with its entry of argument_specs."""
    found = {path.parts[-3]: path for path in (PROJECT / "roles").glob("*/meta/argument_specs.yml")}
    names = [*filter(found.__contains__, ORDER), *sorted(set(found) - set(ORDER))]
    chosen = {}
    for name in names:
        (entry_point,) = yaml.safe_load(found[name].read_text("utf-8"))["argument_specs"].values()
        chosen[name] = entry_point["options"]
    return chosen


def table(options: dict[str, dict[str, Any]]) -> str:
    """One role's variables as a Markdown table."""
    lines = ["| variable | values | default | what it is |", "|---|---|---|---|"]
    limits = bounds()
    for variable, option in options.items():
        values = ", ".join(filter(None, (_values(option), str(limits.get(variable, "")))))
        cells = (f"`{variable}`", values, _default(option), str(option["description"]))
        lines.append(f"| {' | '.join(' '.join(cell.split()).replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)


def _values(option: dict[str, Any]) -> str:
    if "choices" in option:
        return ", ".join(_code(choice) for choice in option["choices"])
    return f"{option['type']} of {option['elements']}" if "elements" in option else str(option["type"])


def _default(option: dict[str, Any]) -> str:
    if option.get("required"):
        return "required"
    return _code(option["default"]) if "default" in option else "see description"


def _code(value: Any) -> str:
    """A value as it is written in an inventory."""
    if isinstance(value, str):
        return f"`{value}`" if value and yaml.safe_load(value) == value else f"`{json.dumps(value)}`"
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def variables_page() -> str:
    """All tables, a heading above each."""
    tables = (f"## Role `{role}`\n\n{table(options)}\n" for role, options in specs().items())
    return "\n".join(
        [
            "# Variables",
            "",
            "Written by `make docs` from the roles' `argument_specs` and `bounds.yml`.",
            "An inventory may set each of them; what goes with what is in [the rules](rules.md).",
            "",
            *tables,
        ]
    )


def rules_page() -> str:
    """The list of all rules, a heading above each, to which the problems link."""
    return "\n".join(
        [
            "# What an inventory must keep to",
            "",
            "Written by `make docs` from the package `deployment`; every problem that is printed ends",
            "with the name of its rule.",
            "",
            "## Before any host is contacted",
            "",
            "By `make preflight`, and by the first play of `site.yml`; of values that facts decide,",
            "once these are known.",
            "",
            *_explained(rules.RULES),
            "## With the hosts' facts, before anything is changed",
            "",
            "By `site.yml`.",
            "",
            *_explained(facts.RULES),
        ]
    )


def _explained(table: tuple[Rule, ...]) -> list[str]:
    return [
        line
        for rule in table
        for line in (f"### {rule.id}", "", rule.text + ("" if rule.severity == ERROR else " A warning."), "")
    ]


def faults_page() -> str:
    """The faults that `make drill` and `make test` inject, with what is promised in each."""
    return "\n".join(
        [
            "# Faults, and what is promised",
            "",
            "Written by `make docs` from `drill/faults.py`. `make drill` injects them on this machine, `make test` in",
            "containers; what was measured is in [README](../README.md#what-a-failover-costs).",
            "The seconds are those of the variables' defaults: "
            + ", ".join(f"`{name}` {options()[name].default}" for name in LIMITS)
            + ".",
            "",
            "| fault | modes | what is done | promised |",
            "|---|---|---|---|",
            *map(_row, FAULTS),
            "",
        ]
    )


def _row(fault: Fault) -> str:
    limits = Limits(*(options()[name].default / divisor for name, divisor in LIMITS.items()))
    promises = "; ".join(promised(promise, limits).replace("<=", "at most") for promise in fault.promises)
    return f"| {fault.id} | {', '.join(fault.modes)} | {fault.title} | {promises} |"


def main(arguments: list[str] | None = None, folder: Path = DOCS) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Write the pages that are made of the code.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where something is stale")
    check = parser.parse_args(arguments).check
    wanted = {folder / name: page() for name, page in PAGES.items()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.name} is stale; run: make docs", file=sys.stderr)
        else:
            path.write_text(wanted[path], "utf-8")
    return 1 if check and stale else 0


# The variables of which promises are made, and what makes seconds of them; in the order of Limits.
LIMITS = {
    "redis_sentinel_down_after_ms": 1000,
    "redis_cluster_node_timeout_ms": 1000,
    "redis_min_replicas_max_lag": 1,
}
PAGES: dict[str, Callable[[], str]] = {
    "variables.md": variables_page,
    Path(PAGE).name: rules_page,
    "faults.md": faults_page,
}

if __name__ == "__main__":
    sys.exit(main())
