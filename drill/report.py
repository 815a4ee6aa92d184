"""What people read, and what programs do: the verdicts as a table, as Markdown and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from drill.judge import SLOW, Measured, Verdict

HEADER = ("fault", "promise", "measured", "")


@dataclass(frozen=True)
class Result:
    """What came of a fault: its verdicts, and the figures that nobody promised."""

    verdicts: Sequence[Verdict]
    figures: Mapping[str, Any] = field(default_factory=dict)


def figures(measured: Measured) -> dict[str, Any]:
    """Return what else was measured; times are in seconds."""
    outcomes = Counter(one.outcome for one in (*measured.writes, *measured.reads))
    away = [one.start for one in measured.answers if one.path == "/readyz" and one.status != 200]
    return {
        "writes": len(measured.writes),
        "reads": len(measured.reads),
        "answers": len(measured.answers),
        "statuses": {f"{path} {status}": count for (path, status), count in sorted(_statuses(measured).items())},
        "errors": {name: count for name, count in sorted(outcomes.items()) if name not in ("", "miss")},
        "misses": outcomes["miss"],
        "keys_lost": len(measured.lost),
        "slow_answers": sum(one.seconds > SLOW for one in measured.answers),
        "slowest_answer": round(max((one.seconds for one in measured.answers), default=0.0), 2),
        "not_ready_for": round(max(away) - min(away), 1) if away else 0.0,
        "wrong_at_the_end": list(measured.wrong),
    }


def _statuses(measured: Measured) -> Counter[tuple[str, int]]:
    return Counter((one.path, one.status) for one in measured.answers)


def failed(fault: str, title: str, reason: str) -> Result:
    """Return the result of a fault that could not be done to its end."""
    return Result([Verdict(fault, title, "the drill runs to its end", " ".join(reason.split()), ok=False)])


def cells(verdict: Verdict) -> tuple[str, ...]:
    """Return a line of the table."""
    return (
        f"{verdict.fault} {verdict.title}",
        verdict.promise,
        verdict.measured,
        "pass" if verdict.ok else "FAIL",
    )


def lines(verdicts: Iterable[Verdict]) -> str:
    """Return the verdicts as the terminal shows them."""
    return "\n".join(" | ".join(cells(verdict)) for verdict in verdicts)


def notes(figures: Mapping[str, Any]) -> str:
    """Return the figures in a line, but those that are nothing."""
    said = [f"{name.replace('_', ' ')} {_flat(value)}" for name, value in figures.items() if value]
    return ", ".join(said)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{name}: {count}" for name, count in value.items()) + ")"
    return "(" + "; ".join(value) + ")" if isinstance(value, list) else str(value)


def summary(results: Sequence[Result]) -> str:
    """Return how many promises were kept."""
    verdicts = [verdict for result in results for verdict in result.verdicts]
    broken = sum(not verdict.ok for verdict in verdicts)
    return f"{len(verdicts) - broken} promises kept, {broken} broken"


def markdown(results: Sequence[Result], about: str) -> str:
    """Return all of it as a page; `about` says what was tested."""
    rows = [cells(verdict) for result in results for verdict in result.verdicts]
    table = [HEADER, ("---",) * len(HEADER), *rows]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    also = [f"- {result.verdicts[0].fault}: {notes(result.figures)}" for result in results if result.figures]
    return "\n".join(["# Drill", "", about, "", *body, "", summary(results), "", *also]) + "\n"


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all of it as JSON has it."""
    return {
        **about,
        "kept": all_kept(results),
        "faults": [
            {
                "id": result.verdicts[0].fault,
                "title": result.verdicts[0].title,
                "promises": [
                    {name: value for name, value in asdict(one).items() if name not in ("fault", "title")}
                    for one in result.verdicts
                ],
                "figures": {name: None if value == math.inf else value for name, value in result.figures.items()},
            }
            for result in results
        ],
    }


def all_kept(results: Sequence[Result]) -> bool:
    """Tell whether every promise was kept."""
    return all(verdict.ok for result in results for verdict in result.verdicts)
