"""What came of it: ratios, tables, JSON and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pygal

from bench.clients import BUILTIN, LIMIT, PICKLE, RAW, RESILIENT, UNIX, VARIANTS
from bench.measuring import CASES, MANY, SIZES, Case, Slice, quantile

# The slices of a variant in a case, one for each round.
Slices = Mapping[tuple[Case, str], Sequence[Slice]]


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Row:
    """What came of a variant in a case: medians of all rounds. The ratio is to the built-in client."""

    case: Case
    variant: str
    operations_per_second: float
    ratio_to_builtin: Ratio
    p50_us: float
    p99_us: float


@dataclass(frozen=True)
class Target:
    """How much faster a variant has to be than another in a case."""

    case: Case
    variant: str
    base: str
    least: float

    @property
    def name(self) -> str:
        """What people read."""
        return f"{self.case.title}: {self.variant} / {self.base}"


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured, both as text."""

    name: str
    target: str
    measured: str
    ok: bool


GET, SET = Case("get", SIZES[0], 1), Case("set", SIZES[0], 1)
# Each of two that do the same with a value: pickle it, or sign it as well.
TARGETS = (
    Target(GET, PICKLE, BUILTIN, 2.5),
    Target(SET, PICKLE, BUILTIN, 2.2),
    Target(Case("get", SIZES[0], 16), PICKLE, BUILTIN, 2.0),
    Target(Case("set", SIZES[0], 16), PICKLE, BUILTIN, 2.0),
    Target(Case("get_many", SIZES[0], 1), PICKLE, BUILTIN, 1.3),
    Target(GET, PICKLE, RAW, 0.8),
    Target(GET, UNIX, RESILIENT, 1.1),
)


def ratio(slices: Sequence[Slice], base: Sequence[Slice]) -> Ratio:
    """Compare the rates of two variants, round by round."""
    ordered = sorted(one.rate / other.rate for one, other in zip(slices, base))
    return Ratio(*(quantile(ordered, share) for share in (0.5, 0.25, 0.75)))


def rows(slices: Slices) -> list[Row]:
    """Return a row for each variant in each case."""
    return [
        Row(
            case,
            variant,
            statistics.median(one.rate for one in of_all_rounds),
            ratio(of_all_rounds, slices[case, BUILTIN]),
            statistics.median(one.p50 for one in of_all_rounds),
            statistics.median(one.p99 for one in of_all_rounds),
        )
        for (case, variant), of_all_rounds in slices.items()
    ]


def verdicts(slices: Slices, new_connections: Mapping[str, float]) -> list[Verdict]:
    """Compare what was measured with the targets. `new_connections` are those of a request under ASGI, by variant."""
    found = []
    for target in TARGETS:
        measured = ratio(slices[target.case, target.variant], slices[target.case, target.base])
        ok = measured.median >= target.least
        found.append(Verdict(target.name, f"at least {target.least}", str(measured), ok))
    ours = new_connections[RESILIENT]
    return [*found, Verdict(f"new connections per ASGI request: {RESILIENT}", "0", f"{ours:g}", ours == 0)]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return the lines below the header, in columns: the first one to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *lines)]
    return "\n".join(
        "  ".join(
            [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:]))]
        ).rstrip()
        for cells in (header, *lines)
    )


def table_of_rows(measured: Sequence[Row]) -> str:
    """Return the rows as text, those of a case together."""
    header = ("", "operations/s", "/ builtin (quartiles)", "p50 us", "p99 us")
    lines: list[Sequence[str]] = []
    for case in CASES:
        lines.append((case.title, "", "", "", ""))
        lines += [
            (
                f"  {row.variant}",
                f"{row.operations_per_second:.0f}",
                str(row.ratio_to_builtin),
                f"{row.p50_us:.0f}",
                f"{row.p99_us:.0f}",
            )
            for row in measured
            if row.case == case
        ]
    return table(header, lines)


def table_of_verdicts(found: Sequence[Verdict]) -> str:
    """Return the verdicts as text."""
    lines = [(one.name, one.target, one.measured, "ok" if one.ok else "BELOW") for one in found]
    return table(("ratio", "target", "measured (quartiles)", ""), lines)


def as_json(
    about: Mapping[str, Any], measured: Sequence[Row], new_connections: Mapping[str, float], found: Sequence[Verdict]
) -> dict[str, Any]:
    """Return all of it as JSON has it. `about` is what it was measured on and how."""
    return {
        **about,
        "results": [_flat(row) for row in measured],
        "new_connections_per_asgi_request": dict(new_connections),
        "targets": [asdict(one) for one in found],
    }


def draw(measured: Sequence[Row], path: Path) -> None:
    """Write a chart of the operations per second, an SVG that fetches nothing."""
    by_place = {(row.case, row.variant): round(row.operations_per_second) for row in measured}
    # The first place is the lowest one; and bars begin below the slowest, which would have no length.
    places, lowest = CASES[::-1], min(by_place.values()) / 2
    chart = pygal.HorizontalBar(
        title="Cache operations per second",
        logarithmic=True,
        zero=lowest,
        range=(lowest, max(by_place.values())),
        legend_at_bottom=True,
        height=2600,
        width=1200,
        js=[],
    )
    chart.x_labels = [case.title for case in places]
    chart.y_labels = [step for step in (10**power for power in range(7)) if lowest <= step]
    for variant in (*VARIANTS, LIMIT):
        chart.add(variant, [by_place.get((case, variant)) for case in places])
    chart.render_to_file(str(path))


def _flat(row: Row) -> dict[str, Any]:
    fields = asdict(row)
    case = fields.pop("case")
    count = MANY if row.case.operation == "get_many" else 1
    return {"operation": case["operation"], "keys": count, "bytes": case["size"], "threads": case["threads"], **fields}
