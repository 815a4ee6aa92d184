"""What `cachecheck` prints, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import django

from ..aliases import deployment
from .runner import FAILED, NOT_RUN, OK, SKIPPED, AliasRun, Result

HEADER = ("ALIAS", "OPERATION", "RESULT", "MS", "")


def as_dict(runs: Sequence[AliasRun]) -> dict[str, Any]:
    """Return the report for programs.

    An operation that was skipped is ok, its `error` is the reason. One that did not run is skipped and not ok.
    """
    return {
        **deployment(),
        "django": django.get_version(),
        "redis_py": _redis_py_version(),
        "aliases": {
            run.alias.name: {
                "backend": run.alias.backend,
                "servers": list(run.alias.servers),
                "key_prefix": run.alias.key_prefix,
                "operations": [_operation(result) for result in run.results],
            }
            for run in runs
        },
        "failed": _count(runs, FAILED),
    }


def as_table(runs: Sequence[AliasRun]) -> Iterator[tuple[str, bool]]:
    """Yield the lines for people, each with whether it tells of a failure."""
    rows = [(_row(run, result), result.state == FAILED) for run in runs for result in run.results]
    widths = [max(len(cells[column]) for cells in (HEADER, *(cells for cells, _ in rows))) for column in range(4)]
    for cells, failed in [(HEADER, False), *rows]:
        alias, name, state, ms, error = cells
        line = f"{alias:{widths[0]}}  {name:{widths[1]}}  {state:{widths[2]}}  {ms:>{widths[3]}}  {error}"
        yield line.rstrip(), failed


def summary(runs: Sequence[AliasRun]) -> str:
    """Return the closing line, such as 'cachecheck: 2 aliases, 54 operations, 0 failed'."""
    operations = sum(len(run.results) for run in runs)
    parts = [
        f"{len(runs)} alias{'' if len(runs) == 1 else 'es'}",
        f"{operations} operations",
        f"{_count(runs, FAILED)} failed",
    ]
    parts += [f"{_count(runs, state)} {state}" for state in (SKIPPED, NOT_RUN) if _count(runs, state)]
    return f"cachecheck: {', '.join(parts)}"


def failures(runs: Sequence[AliasRun]) -> list[str]:
    """Return a line for each operation that failed."""
    return [
        f"{run.alias.name}: {result.name}: {result.error}"
        for run in runs
        for result in run.results
        if result.state == FAILED
    ]


def _operation(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "ok": result.state in (OK, SKIPPED),
        "skipped": result.state in (SKIPPED, NOT_RUN),
        "ms": result.ms,
        "error": f"not run {result.error}" if result.state == NOT_RUN else result.error,
    }


def _row(run: AliasRun, result: Result) -> tuple[str, str, str, str, str]:
    state = result.state.upper() if result.state == FAILED else result.state
    ms = "" if result.ms is None else f"{result.ms:.1f}"
    return run.alias.name, result.name, state, ms, result.error or ""


def _count(runs: Sequence[AliasRun], state: str) -> int:
    return sum(result.state == state for run in runs for result in run.results)


def _redis_py_version() -> str | None:
    try:
        return metadata.version("redis")
    except metadata.PackageNotFoundError:
        return None
