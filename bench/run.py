"""Measure Django's cache clients against each other, on a throwaway server of this machine.

    PYTHONPATH=django_app:tests python -m bench.run [--quick]

It prints a table of everything, and one of the ratios that this project wants, each with its target. Both are in
.cache/bench/bench.json as well, with the chart bench.svg beside it. The numbers depend on the machine and on what else
it does; the ratios less, since they come from runs that alternate.
Exit code 0, whatever the numbers are; 1: it could not be measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis, RedisError

from bench import asgi, report, tls
from bench.clients import BUILTIN, LIMIT, RESILIENT, Clients, set_up_django
from bench.limit import Limit, NoLimitError
from bench.measuring import CASES, Bench, Case, Slice, rotated
from servers import Farm, RedisServer

RESULTS = Path(__file__).resolve().parent.parent / ".cache" / "bench"
PACKAGES = ("Django", "redis", "hiredis", "django-redis")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Measure Django's cache clients against each other.")
    parser.add_argument("--quick", action="store_true", help="a rough look: --rounds 3 --slice 0.04 --requests 40")
    parser.add_argument("--rounds", type=int, default=7, help="how often everything is measured")
    parser.add_argument("--slice", type=float, default=0.15, help="seconds of each measurement")
    parser.add_argument("--requests", type=int, default=200, help="ASGI requests to each view")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for bench.json and bench.svg")
    parser.add_argument("--apart", action="store_true", help="let clients and server have processors of their own")
    parser.add_argument("--server", type=Path, help="the server to measure, instead of the wheel's, which has no TLS")
    parser.add_argument("--without-limit", action="store_true", help="do not look for redis-benchmark")
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds, chosen.slice, chosen.requests = 3, 0.04, 40
    if min(chosen.rounds, chosen.slice) <= 0 or chosen.requests < asgi.TOGETHER:
        parser.error(f"--rounds and --slice must be above 0, and --requests at least {asgi.TOGETHER}")
    # So that the server ends as with Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        measure(chosen)
    except (OSError, RuntimeError, RedisError) as error:
        print(f"bench/run.py: {error}", file=sys.stderr)
        return 1
    return 0


def measure(chosen: argparse.Namespace) -> None:
    """Measure, print and write what came of it."""
    began = time.monotonic()
    chosen.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cachestack-bench-") as folder:
        socket = Path(folder) / "redis.sock"
        with Farm(lambda name: Path(tempfile.mkdtemp(prefix=name, dir=folder)), chosen.server) as farm:
            server, over_tls = tls.start(farm, Path(folder), unixsocket=str(socket))
            if not chosen.apart:
                pin(server)
            variants = set_up_django(server.url, socket, over_tls)
            limit = None if chosen.without_limit else find_limit(server, chosen)
            about = conditions(server, chosen)
            slices = all_slices(Clients(server.port, variants), limit, chosen)
            new_connections = count_new_connections(server, chosen.requests)
    measured, found = report.rows(slices), report.verdicts(slices, new_connections)
    print(f"\n{report.table_of_rows(measured)}\n\n{headline(about)}\n\n{report.table_of_verdicts(found)}\n")
    for variant, count in new_connections.items():
        print(f"new connections per ASGI request, {variant}: {count:g}")
    data = report.as_json(about, measured, new_connections, found)
    (chosen.results / "bench.json").write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    report.draw(measured, chosen.results / "bench.svg")
    print(f"\n{chosen.results / 'bench.json'}, {chosen.results / 'bench.svg'}; {time.monotonic() - began:.0f} s")


def pin(server: RedisServer) -> None:
    """Keep this process, its children and the server on one processor, where the system can.

    Otherwise the scheduler moves them, now together and now apart; and to wake the other processor can take longer than
    an operation does, whatever the client.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    processor = {min(os.sched_getaffinity(0))}
    for process in (0, server.process.pid):
        os.sched_setaffinity(process, processor)


def all_slices(clients: Clients, limit: Limit | None, chosen: argparse.Namespace) -> report.Slices:
    """Measure every variant in every case, in each round."""
    names = [*clients.variants, *([LIMIT] if limit else [])]
    slices: dict[tuple[Case, str], list[Slice]] = {(case, name): [] for case in CASES for name in names}
    with Bench(clients, chosen.slice) as bench:
        for number in range(chosen.rounds):
            print(f"round {number + 1} of {chosen.rounds}", flush=True)
            bench.prepare()
            for case in CASES:
                for name in rotated(names, number):
                    measured = limit.slice(case) if limit and name == LIMIT else bench.slice(case, name)
                    slices[case, name].append(measured)
    return slices


def count_new_connections(server: RedisServer, requests: int) -> dict[str, float]:
    """Return the connections that a request under ASGI makes, by variant."""
    # One connection for all questions, since a new one would be counted.
    with Redis(port=server.port, protocol=2) as observer:

        def received() -> int:
            return int(observer.info("stats")["total_connections_received"])

        return {name: asgi.new_connections_per_request(name, requests, received) for name in (BUILTIN, RESILIENT)}


def find_limit(server: RedisServer, chosen: argparse.Namespace) -> Limit | None:
    """Return redis-benchmark; None, and a line that says so, if there is none that can be used."""
    try:
        limit = Limit(RESULTS / "redis-tools", server.port, chosen.slice)
        limit.slice(CASES[0])
    except NoLimitError as error:
        print(f"without redis-benchmark: {error}")
        return None
    return limit


def conditions(server: RedisServer, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what it is measured on and how."""
    info = server.client().info("server")
    name = info.get("server_name", "redis")
    return {
        "versions": {
            "Python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in PACKAGES},
            name: info.get(f"{name}_version", info["redis_version"]),
        },
        "processors": os.cpu_count(),
        "pinned": not chosen.apart and hasattr(os, "sched_setaffinity"),
        "rounds": chosen.rounds,
        "slice_seconds": chosen.slice,
    }


def headline(about: Mapping[str, Any]) -> str:
    """Return the same in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    processors = f"{about['processors']} processors{', one of them used' if about['pinned'] else ''}"
    return f"{versions}; {processors}; {about['rounds']} rounds of {about['slice_seconds']:g} s"


if __name__ == "__main__":
    sys.exit(main())
