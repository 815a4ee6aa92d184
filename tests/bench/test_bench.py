"""What the benchmark makes of its measurements, and that it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from array import array
from pathlib import Path

import pytest

from bench import limit, report
from bench.clients import BUILTIN, BUILTIN_TLS, LOCMEM, RAW, RESILIENT, RESILIENT_TLS, UNIX, VARIANTS
from bench.measuring import CASES, Case, Slice, quantile, rotated, summary
from bench.report import GET, Ratio, Verdict
from conftest import PROJECT

NEW_CONNECTIONS = {BUILTIN: 1.0, RESILIENT: 0.0}


def slices(**factors: float) -> report.Slices:
    """Two rounds, the second twice as fast, in which a variant is so many times as fast as the built-in client."""
    of_variant = {name: factors.get(name.split()[-1], 1.0) for name in VARIANTS}
    return {
        (case, name): [Slice(100 * factor, 10, 20), Slice(200 * factor, 30, 40)]
        for case in CASES
        for name, factor in of_variant.items()
    }


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([7], 0.99, 7), ([1, 3], 0.5, 2), ([1, 2, 3, 4, 5], 0.25, 2), ([1, 2, 3, 4], 1.0, 4), (range(101), 0.99, 99)],
)
def test_quantile(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == pytest.approx(expected)


def test_a_summary_is_of_all_threads() -> None:
    latencies = [array("q", [1000, 3000]), array("q", [2000])]
    measured = summary(latencies, 4000)
    assert (measured.rate, measured.p50) == (750_000, 2.0)
    assert measured.p99 == pytest.approx(2.98)


def test_every_variant_begins_a_round() -> None:
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_a_ratio_is_of_the_same_round() -> None:
    slow, fast = [Slice(10, 1, 1), Slice(100, 1, 1), Slice(1000, 1, 1)], [Slice(rate, 1, 1) for rate in (20, 300, 4000)]
    assert report.ratio(fast, slow) == Ratio(3.0, 2.5, 3.5)
    assert str(report.ratio(fast, slow)) == "3.00 (2.50 to 3.50)"


def test_titles() -> None:
    assert [GET.title, Case("set", 10_000, 16).title] == ["get, 100 B, 1 thread", "set, 10 kB, 16 threads"]
    assert Case("get_many", 100, 1).title == "get_many of 100, 100 B, 1 thread"
    assert [len(case.value) for case in (GET, Case("set", 10_000, 16))] == [100, 10_000]


def test_a_missed_target_is_below_and_the_others_are_ok() -> None:
    found = report.verdicts(slices(resilient=2.4, pickle=2.3, unix=2.5), NEW_CONNECTIONS)
    assert [one.ok for one in found] == [False, True, True, True, True, True, False, True]
    assert found[0].name == "get, 100 B, 1 thread: resilient pickle / builtin"
    assert (found[0].target, found[0].measured) == ("at least 2.5", "2.30 (2.30 to 2.30)")
    assert found[6].name == f"get, 100 B, 1 thread: {UNIX} / {RESILIENT}"


def test_a_new_connection_per_request_is_below() -> None:
    *_, last = report.verdicts(slices(), {BUILTIN: 1.0, RESILIENT: 0.01})
    assert last == Verdict("new connections per ASGI request: resilient", "0", "0.01", ok=False)


def test_a_table_has_columns() -> None:
    assert report.table(("", "n"), [("ab", "1"), ("c", "200")]) == "      n\nab    1\nc   200"
    text = report.table_of_verdicts([Verdict("x", "at least 2", "1.00", ok=False), Verdict("y", "0", "0", ok=True)])
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["BELOW", "ok"]


def test_the_table_has_every_variant_below_its_case() -> None:
    lines = report.table_of_rows(report.rows(slices(locmem=50))).splitlines()
    assert len(lines) == 1 + len(CASES) * (1 + len(VARIANTS))
    assert lines[1] == GET.title
    assert lines[2].split() == ["builtin", "150", "1.00", "(1.00", "to", "1.00)", "20", "30"]
    assert lines[2 + VARIANTS.index(LOCMEM)].split()[:3] == ["locmem", "7500", "50.00"]


def test_json_and_chart(tmp_path: Path) -> None:
    measured = report.rows(slices())
    data = report.as_json({"rounds": 2}, measured, NEW_CONNECTIONS, report.verdicts(slices(), NEW_CONNECTIONS))
    assert list(data) == ["rounds", "results", "new_connections_per_asgi_request", "targets"]
    assert data["results"][0] == {
        "operation": "get",
        "keys": 1,
        "bytes": 100,
        "threads": 1,
        "variant": BUILTIN,
        "operations_per_second": 150,
        "ratio_to_builtin": {"median": 1.0, "low": 1.0, "high": 1.0},
        "p50_us": 20,
        "p99_us": 30,
    }
    assert json.loads(json.dumps(data)) == data
    report.draw(measured, tmp_path / "bench.svg")
    text = (tmp_path / "bench.svg").read_text("utf-8")
    assert ET.fromstring(text).tag.endswith("svg")
    assert all(name in text for name in (*VARIANTS, GET.title))
    # pygal would fetch a script from its own site.
    assert ".js" not in text


def test_what_redis_benchmark_says_is_read() -> None:
    header = '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms"'
    assert limit.read(f'{header}\n"GET","5000.5","0.1","0.1","0.25","0.3","0.5"\n') == Slice(5000.5, 250.0, 500.0)


@pytest.mark.parametrize("output", ["", '"GET","5000.00"\n'])
def test_a_redis_benchmark_that_says_less_is_refused(output: str) -> None:
    with pytest.raises(limit.NoLimitError, match=r"6\.2"):
        limit.read(output)


def test_redis_benchmark_reads_what_was_stored_and_writes_as_much() -> None:
    assert limit.arguments(GET) == ["GET", "get:100:0"]
    assert limit.arguments(Case("get_many", 100, 16))[:3] == ["MGET", "get_many:100:0", "get_many:100:1"]
    assert limit.arguments(Case("set", 10_000, 1)) == ["-t", "set", "-d", "10000"]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the command as the Makefile does."""
    environment = {**os.environ, "PYTHONPATH": "django_app:tests"}
    command = [sys.executable, "-m", "bench.run", *options]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)


def test_a_short_run_ends_with_all_of_it(tmp_path: Path) -> None:
    options = ["--rounds=1", "--slice=0.001", "--requests=4", "--without-limit", f"--results={tmp_path}"]
    done = bench(*options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "new connections per ASGI request, resilient: 0\n" in done.stdout
    assert f"{RAW} " in done.stdout
    # The wheel's server has none.
    assert "without TLS" in done.stdout
    variants = set(VARIANTS) - {BUILTIN_TLS, RESILIENT_TLS}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.svg"]
    assert len(json.loads((tmp_path / "bench.json").read_text("utf-8"))["results"]) == len(CASES) * len(variants)


def test_wrong_use_is_told(tmp_path: Path) -> None:
    done = bench("--rounds=0", f"--results={tmp_path}")
    assert done.returncode == 2
    assert "--rounds and --slice must be above 0" in done.stderr
