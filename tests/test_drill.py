"""The drill: its table, its verdicts, its report, and a run against processes under a real supervisor."""

from __future__ import annotations

import functools
import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.redis_client import quote

from conftest import DJANGO_APP, PROJECT
from drill import judge, load, report, run
from drill.faults import FAULTS, HEADLINES, Limits, Step
from drill.hosts import App, Deployment, DeploymentError, Host, Server, read_deployment, read_seen
from drill.inject import STEPS, Injector
from drill.judge import MEASURES, Answer, Measured, Operation, Seen, longest_gap, problems
from drill.run import choose
from servers import SERVICE, Farm, RedisServer, free_port, server_binary, wait_for

LIMITS = Limits(down_after=2, node_timeout=1, max_lag=3)
PASSWORD = 'a "quoted" pa\'ss\\word'


def redis(name: str, role: str = "master", **info: str) -> Seen:
    linked = {"master_repl_offset": "7"} if role == "master" else {"master_link_status": "up"}
    return Seen(name, "redis", {"role": role, "run_id": f"run of {name}", **linked, **info})


def replicas(state: str = "online", offset: int = 7) -> dict[str, str]:
    return {f"slave{index}": f"ip=a,port=1,state={state},offset={offset},lag=0" for index in range(2)}


def sentinel(leader: str = "a", quorum: bool = True, flags: str = "master") -> Seen:
    return Seen("s", "sentinel", {"run_id": "1", "runid": f"run of {leader}", "flags": flags}, quorum=quorum)


APP = Seen("app", "app", {"/": "200", "/readyz": "200"})
WHOLE = [redis("a", **replicas()), redis("b", "slave"), redis("c", "slave"), sentinel(), APP]
CLUSTER_OK = {"cluster_state": "ok", "cluster_slots_ok": "16384"}
CLUSTER = [redis("a", **CLUSTER_OK, **replicas()), redis("b", "slave", **CLUSTER_OK), redis("c", "slave", **CLUSTER_OK)]


def writes(*ends: float, thread: int = 0, outcome: str = "") -> list[Operation]:
    return [Operation(thread, end - 0.01, end, outcome) for end in ends]


def steady(since: float, until: float, thread: int = 0) -> list[Operation]:
    return writes(*(since + step / 10 for step in range(int((until - since) * 10) + 1)), thread=thread)


# Killed at 100, and writable again at 102.5; healed at 110, and all is well at 115. No promise is broken.
GOOD = Measured(
    LIMITS,
    begun=100,
    injected=100.2,
    undoing=110,
    healed=110,
    ended=120,
    settled=115,
    demoted=114,
    bringing=106,
    returned=106,
    offsets=0.5,
    writes=[*steady(90, 100), *steady(102.5, 120)],
    reads=steady(90, 120),
    answers=[Answer("/", 100, 200, 0.1), Answer("/readyz", 100, 200, 0.1)],
    before=WHOLE,
    during=WHOLE,
    runs={"a": ["1", "2"], "b": ["1", "2"], "c": ["1", "2"]},
)
# One change each, after which the figure is another: what it is then.
BROKEN: dict[str, tuple[dict[str, Any], float]] = {
    "writable": ({"writes": [*steady(90, 100), *steady(106, 120)]}, 6),
    "served": ({"writes": [*steady(90, 120), *steady(90, 100, 1), *steady(105, 120, 1)]}, 5),
    "write_gap": ({"writes": [*steady(90, 99), *steady(108, 120)]}, 9),
    "read_gap": ({"reads": [*steady(90, 101), *steady(103, 120)]}, 2),
    "stopped": ({"writes": [*steady(90, 105), *steady(107, 120)]}, 4.8),
    "resumed": ({"writes": [*steady(90, 100), *steady(109, 120)]}, 3),
    "errors": ({"writes": [*GOOD.writes, *writes(101, outcome="CacheUnavailableError")]}, 1),
    "read_errors": ({"reads": [*GOOD.reads, *writes(101, outcome="TimeoutError")]}, 1),
    "pages": ({"answers": [Answer("/", 101, 500, 0.1), Answer("/", 102, 0, 0.1), Answer("/readyz", 103, 503, 1)]}, 3),
    "answers": ({"answers": [Answer("/", 101, 200, 0.1), Answer("/readyz", 102, 503, 0.1)]}, 1),
    "slow": ({"answers": [Answer("/", 101, 200, 1.1)]}, 1),
    "lost": ({"lost": [99.95]}, 1),
    "lost_before": ({"lost": [99.8, 99.95]}, 1),
    "lost_outside": ({"lost": [99.8, 99.95, 100, 103]}, 2),
    "lost_outside_window": ({"lost": [99.8, 99.95, 103, 104.3]}, 2),
    "lost_share": ({"lost": [100.0] * 4}, 100 * 4 / 277),
    "demoted": ({"demoted": math.inf}, math.inf),
    "failovers": ({"during": [redis("b")]}, 1),
    "quorums": ({"during": [sentinel(), sentinel(quorum=False)]}, 1),
    "changed": ({"changed": math.inf}, math.inf),
    "flips": ({"during": [redis("b")]}, 2),
    "restarts": ({"runs": {"a": ["1", "2"], "b": ["1"]}}, 1),
    "not_once": ({"runs": {"a": ["1", "2"], "b": ["1"], "c": ["1", "2", "3"]}}, 2),
    "together": ({"during": [replace(one, started=at) for one, at in zip(WHOLE, (10, 15, 16))]}, 1),
    "settled": ({"settled": 171}, 61),
    "up": ({"settled": 171}, 71),
    "offsets": ({"offsets": math.inf}, math.inf),
}
# Where GOOD is not good, since no fault is all of them.
GOOD_FOR: dict[str, dict[str, Any]] = {
    "stopped": {"bringing": 101.0},
    "restarts": {"runs": {"a": ["1"], "b": ["1"]}},
    "together": {"during": [replace(one, started=at) for one, at in zip(WHOLE, (10, 15, 20))]},
    "quorums": {"during": [sentinel(quorum=False)]},
    "resumed": {"returned": 102.4},
}


def test_every_row_is_well_formed() -> None:
    assert len({fault.id for fault in FAULTS}) == len(FAULTS)
    for fault in FAULTS:
        assert fault.promises
        assert fault.modes
        assert fault.needs in ("", "site", "machines", "docker")
        assert {step.do for step in (*fault.prepare, *fault.steps)} <= set(STEPS)
        assert fault.promises[-1].measure == "offsets"
    assert {step for fault in FAULTS for one in (*fault.prepare, *fault.steps) for step in [one.do]} == set(STEPS)


def test_every_promise_is_measured_and_every_measure_promised() -> None:
    assert {promise.measure for fault in FAULTS for promise in fault.promises} == set(MEASURES) == set(BROKEN)


def test_every_mode_with_faults_has_a_headline() -> None:
    assert set(HEADLINES) == {mode for fault in FAULTS for mode in fault.modes}
    rows = {fault.id: fault for fault in FAULTS}
    assert all(mode in rows[name].modes and not rows[name].needs for mode, name in HEADLINES.items())


@pytest.mark.parametrize("measure", MEASURES)
def test_a_promise_that_is_broken_fails(measure: str) -> None:
    promises = [(fault, one) for fault in FAULTS for one in fault.promises if one.measure == measure]
    changes, value = BROKEN[measure]
    good, bad = replace(GOOD, **GOOD_FOR.get(measure, {})), replace(GOOD, **changes)
    assert MEASURES[measure].find(bad) == pytest.approx(value)
    for fault, promise in promises:
        row = replace(fault, promises=(promise,))
        assert [one.ok for one in judge.verdicts(row, good)] == [measure != "write_gap" or promise.bound(LIMITS) > 2.5]
        assert [one.ok for one in judge.verdicts(row, bad)] == [False]


def test_a_gap_is_the_longest_time_without_a_write() -> None:
    assert longest_gap([1, 2, 2.5, 6, 7], since=2.2, until=7.1) == (2.5, 6)
    assert longest_gap([1, 9, 9.5], since=3, until=9.6) == (1, 9)
    assert longest_gap([1, 2, 3], since=2, until=9) == (3, math.inf)
    assert longest_gap([], since=2, until=9) == (2, math.inf)


def test_nothing_is_wrong_with_a_whole_deployment() -> None:
    assert problems(WHOLE, "sentinel") == []
    assert problems(CLUSTER, "cluster") == []


@pytest.mark.parametrize(
    ("place", "changed", "said"),
    [
        (0, Seen("a", "redis"), "a does not answer"),
        (1, redis("b"), "2 leaders"),
        (0, redis("a", **replicas("wait_bgsave")), "0 of 2 replicas online"),
        (2, redis("c", "slave", master_link_status="down"), "c has no link"),
        (3, sentinel(quorum=False), "s sees no quorum"),
        (3, sentinel("b"), "s names another leader"),
        (3, sentinel(flags="master,s_down"), "s: leader is master,s_down"),
        (4, Seen("app", "app", {"/": "200", "/readyz": "503"}), "app: /readyz answers 503"),
    ],
)
def test_what_is_wrong_is_said(place: int, changed: Seen, said: str) -> None:
    seen = [*WHOLE]
    seen[place] = changed
    assert said in problems(seen, "sentinel")


def test_a_cluster_without_all_slots_is_not_whole() -> None:
    seen = [*CLUSTER]
    seen[1] = redis("b", "slave", cluster_state="fail", cluster_slots_ok="9000")
    assert problems(seen, "cluster") == ["b: cluster_state fail, 9000 slots"]


def test_replicas_have_caught_up_with_what_their_leader_had() -> None:
    assert judge.caught_up(WHOLE, [redis("a", **replicas(), master_repl_offset="9")])
    assert not judge.caught_up(WHOLE, [redis("a", **replicas(offset=6))])
    assert not judge.caught_up(WHOLE, [redis("b", **replicas())])


def test_what_servers_say_is_read() -> None:
    server, clock = "# Server\r\nrun_id:x\r\nuptime_in_seconds:10\r\n", ["110", "5"]
    seen = read_seen("a", "redis", [server, clock, "role:master\r\n"])
    assert (seen.started, seen.info["role"], seen.info["run_id"]) == (100, "master", "x")
    master = ["name", SERVICE, "runid", "y", "flags", "master"]
    assert read_seen("s", "sentinel", [server, master, "OK 3 usable"]).quorum
    lonely = read_seen("s", "sentinel", [server, master, {"error": "NOQUORUM 1 usable"}])
    assert (lonely.quorum, lonely.info["runid"]) == (False, "y")
    away = {"error": "ConnectionRefusedError: no"}
    assert read_seen("a", "redis", [away] * 3) == Seen("a", "redis")


def test_the_reports_show_promise_and_measured_side_by_side() -> None:
    fault = next(fault for fault in FAULTS if fault.id == "F01")
    measured = replace(GOOD, lost=[100.0], answers=[*GOOD.answers, Answer("/readyz", 104.5, 503, 1.5)], wrong=["x"])
    result = report.Result(judge.verdicts(fault, measured), report.figures(measured))
    lines = report.lines(result.verdicts).splitlines()
    assert lines[0] == "F01 leader killed | writable <= 5.0 s | 2.5 s | pass"
    assert "F01 leader killed | answers slower than 1 s <= 0 | 1 | FAIL" in lines
    assert "F01 leader killed | keys lost <= 1.0 % | 0.4 % | pass" in lines
    page = report.markdown([result], "Mode sentinel.")
    assert "| F01 leader killed | writable <= 5.0 s | 2.5 s | pass |" in page
    assert "statuses (/ 200: 1, /readyz 200: 1, /readyz 503: 1)" in page
    data = json.loads(json.dumps(report.as_json([result], {"mode": "sentinel"}), allow_nan=False))
    assert (data["mode"], data["kept"], data["faults"][0]["id"]) == ("sentinel", False, "F01")
    assert data["faults"][0]["promises"][0] == {
        "promise": "writable <= 5.0 s",
        "measured": "2.5 s",
        "ok": True,
    }
    assert data["faults"][0]["figures"]["keys_lost"] == 1
    assert report.summary([result]) == f"{len(lines) - 2} promises kept, 2 broken"


def test_a_fault_that_could_not_be_done_is_a_broken_promise() -> None:
    result = report.failed("F01", "leader killed", "no\nserver leads")
    assert not report.all_kept([result])
    assert report.lines(result.verdicts).endswith("| no server leads | FAIL")


def test_never_and_hardly_any_are_shown_as_such() -> None:
    assert [judge.show(*one) for one in ((math.inf, "s"), (0.01, "%"), (0, "%"), (2, ""), (2.34, "s"))] == [
        "never",
        "0.01 %",
        "0.0 %",
        "2",
        "2.3 s",
    ]


def deployment(*accesses: tuple[str, ...], mode: str = "sentinel") -> Deployment:
    return Deployment(mode, LIMITS, tuple(Host(str(index), one, "systemd") for index, one in enumerate(accesses)))


DOCKER = [("docker", "exec", "-i", name) for name in "abc"]


def test_all_faults_are_those_that_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    ids = [fault.id for fault in choose(deployment(*DOCKER), ["all"], ["ansible-playbook"])]
    assert ids == [fault.id for fault in FAULTS if "sentinel" in fault.modes]
    assert capsys.readouterr().out == ""
    ids = [fault.id for fault in choose(deployment((), ()), ["all"], [])]
    assert ids == ["F01", "F02", "F04", "F10", "F11", "F13"]
    skipped = capsys.readouterr().out
    assert (
        "F06 leader and app apart from the rest: skipped, it needs a machine, or a container, for each host" in skipped
    )
    assert "F16 whole site rebooted: skipped, it needs Docker containers" in skipped
    assert "F17 site.yml after a failover and CONFIG REWRITE (F18): skipped, it needs --site" in skipped


def test_the_headline_and_named_faults() -> None:
    assert [fault.id for fault in choose(deployment(()), None, [])] == ["F01"]
    assert [fault.id for fault in choose(deployment((), mode="cluster"), None, [])] == ["C01"]
    assert [fault.id for fault in choose(deployment(()), ["F04", "F01"], [])] == ["F01", "F04"]


@pytest.mark.parametrize(
    ("names", "mode", "said"),
    [
        (["F99"], "sentinel", "F99: this mode has F01, F02"),
        (["C01"], "sentinel", "C01: this mode has"),
        (["F07"], "sentinel", "F07: it needs a machine"),
        (None, "locmem", "locmem: this mode has none"),
    ],
)
def test_what_cannot_be_done_is_refused(names: list[str] | None, mode: str, said: str) -> None:
    with pytest.raises(DeploymentError, match=said):
        choose(deployment((), (), mode=mode), names, [])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"hosts": {}, "down_after": 1, "node_timeout": 1, "max_lag": 1}'])
def test_a_file_that_is_no_deployment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(text)
    command: list[Any] = [sys.executable, PROJECT / "drill" / "run.py", "--deployment", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"drill/run.py: {path}: ")


# Against servers.


def server_of(server: RedisServer) -> Server:
    """The file has its password as the agent reads it: `requirepass "..."`."""
    return Server("redis", server.host, server.port, str(server.config))


def test_the_agent_asks_and_shows_no_secret(farm: Farm) -> None:
    server, away = farm.server(PASSWORD), Server("redis", "127.0.0.1", free_port(), None)
    local = Host("here", (), "systemd")
    questions = [server_of(server).asked(["PING"], ["NONSENSE"], ["GET", "x"]), away.asked(["PING"], ["PING"])]
    there, gone = Deployment("standalone", LIMITS, (local,)).ask([(local, one) for one in questions])
    assert there[0] == "PONG"
    assert "unknown command" in there[1]["error"]
    assert there[2] is None
    assert [list(reply) for reply in gone] == [["error"]] * 2
    server.freeze()
    began = time.monotonic()
    [hanging] = Deployment("standalone", LIMITS, (local,)).ask([(local, server_of(server).asked(["PING"]))])
    server.thaw()
    assert "error" in hanging[0]
    assert time.monotonic() - began < 5


def injector(server: RedisServer, *site: str, folder: Path) -> Injector:
    """A deployment of one server, whose supervisor knows its process id and nothing else."""
    supervisorctl = ("sh", "-c", f"echo {server.process.pid}")
    host = Host("a", (), "supervisor", supervisorctl, redis=server_of(server))
    return Injector(Deployment("standalone", LIMITS, (host,)), site, folder / "site.log")


def test_everything_is_healed_whatever_happens(server: RedisServer, tmp_path: Path) -> None:
    def hang() -> None:
        with injector(server, folder=tmp_path) as broken:
            broken.look()
            broken.do(Step("hang", ("leader",)))
            stat = Path(f"/proc/{server.process.pid}/stat")
            assert wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hang()
    assert server.ask("PING")


def test_a_run_of_the_site_is_counted(server: RedisServer, tmp_path: Path) -> None:
    recap = "print('redis-1 : ok=9 changed=2 unreachable=0'); print('app-1 : ok=5    changed=1   ')"
    shown = "print(sys.argv, *(open(word[1:]).read() for word in sys.argv if word[0] == '@'))"
    script = f"import sys; {shown}; {recap}; sys.exit('fail' in sys.argv)"
    site = injector(server, sys.executable, "-c", script, folder=tmp_path)
    before = site.look()
    site.do(Step("site"))
    assert site.changed == 3
    assert (tmp_path / "site.log").read_text().splitlines()[0].endswith("site.json'] {}")
    with site:
        site.do(Step("site", ("databases",)))
        assert (tmp_path / "site.log").read_text().count('{"redis_config": {"databases": 17}}') == 1
    # And once more as the inventory has it.
    assert (
        (tmp_path / "site.log")
        .read_text()
        .splitlines()[-3]
        .endswith("'--tags', 'redis,redis_sentinel,redis_cluster'] {}")
    )
    failing = injector(server, sys.executable, "-c", script, "fail", folder=tmp_path)
    failing.do(Step("site"))
    assert failing.changed == math.inf
    site.note([*before, APP, replace(before[0], info={"run_id": "another"})])
    assert {name: len(runs) for name, runs in site.runs.items()} == {"a": 2}


class Deployed:
    """The shipped project in a folder, deployed with this cache: its `manage.py`, and its service's environment."""

    def __init__(self, folder: Path, cache: dict[str, Any]) -> None:
        caches = {"default": {"KEY_PREFIX": "drill", "TIMEOUT": 300, **cache}}
        (folder / "deployed.py").write_text(f"from config.settings import *\n\nCACHES = {caches!r}\n")
        self.environment = {"DJANGO_SETTINGS_MODULE": "deployed", "PYTHONPATH": f"{folder}:{DJANGO_APP}"}
        self.manage = folder / "manage.py"
        self.manage.write_text(
            f"#!{sys.executable}\nimport os, sys\nos.environ.update({self.environment!r})\n"
            f"sys.path[:0] = [{str(folder)!r}, {str(DJANGO_APP)!r}]\n"
            "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n"
        )
        self.manage.chmod(0o700)

    def cacheload(self, *options: str) -> subprocess.Popen[str]:
        """Start it, and return it when it is ready."""
        process = subprocess.Popen(
            [self.manage, "cacheload", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background, SIGINT is ignored, and their children would ignore it as well.
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert process.stdout
        assert process.stdout.readline() == '"ready"\n'
        return process


def resilient(server: RedisServer) -> dict[str, Any]:
    options = {"password": PASSWORD, "db": 1}
    return {"BACKEND": "cachestack.resilient.RedisCache", "LOCATION": server.url, "OPTIONS": options}


@pytest.fixture
def server(farm: Farm) -> RedisServer:
    return farm.server(PASSWORD)


@pytest.mark.parametrize("client", ["resilient", "builtin"])
def test_keys_that_a_server_forgets_are_lost(server: RedisServer, tmp_path: Path, client: str) -> None:
    cache = resilient(server)
    if client == "builtin":
        cache["BACKEND"] = "django.core.cache.backends.redis.RedisCache"
    process = Deployed(tmp_path, cache).cacheload("--deadline=10")
    assert wait_for(lambda: server.client(1).dbsize() > 50)
    # It has kept nothing on disk, so that all that was acknowledged before is gone.
    killed = time.time()
    server.stop()
    time.sleep(0.5)
    server.start()
    started = time.time()
    assert server.wait_until_ready()
    assert wait_for(lambda: server.client(1).dbsize() > 50)
    stdout, stderr = process.communicate("check\n", timeout=30)
    assert process.returncode == 0, stderr
    found = load.read_report(json.loads(stdout))
    assert len(found.lost) > 50
    assert max(found.lost) <= started
    acknowledged = [one for one in found.writes if not one.outcome]
    assert len(found.lost) == sum(one.end <= started for one in acknowledged)
    assert longest_gap([one.end for one in acknowledged], killed, found.ended)[1] > started
    raised = {one.outcome for one in found.writes} - {""}
    # The one tries again until it works, the other has to tell.
    assert raised == (set() if client == "resilient" else {"ConnectionError"})
    assert "" in {one.outcome for one in found.reads}
    assert server.client(1).dbsize() == 0


def test_no_key_is_lost_where_nothing_happens(server: RedisServer, tmp_path: Path) -> None:
    process = Deployed(tmp_path, resilient(server)).cacheload("--seconds=1", "--rate=50", "--writers=2", "--readers=1")
    # Which ends by itself, with a report as after `check`.
    stdout, _ = process.communicate(timeout=30) if process.wait(30) == 0 else ("", "")
    found = load.read_report(json.loads(stdout))
    assert found.lost == []
    assert {one.outcome for one in (*found.writes, *found.reads)} == {""}
    assert {one.thread for one in found.writes} == {0, 1}
    assert 50 < len(found.writes) <= 110
    assert server.client(1).dbsize() == 0


@pytest.mark.parametrize("end", ["end of stdin", "SIGINT", "SIGTERM"])
def test_an_interrupted_load_leaves_no_key(server: RedisServer, tmp_path: Path, end: str) -> None:
    process = Deployed(tmp_path, resilient(server)).cacheload()
    assert wait_for(lambda: server.client(1).dbsize() > 20)
    if end != "end of stdin":
        process.send_signal(signal.Signals[end])
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0 if end == "end of stdin" else 130, "")
    assert "Traceback" not in stderr
    assert server.client(1).dbsize() == 0


def test_a_load_that_cannot_write_says_so(server: RedisServer, tmp_path: Path) -> None:
    deployed = Deployed(tmp_path, {**resilient(server), "OPTIONS": {"password": "wrong"}})
    host = Host("app", (), "systemd", app=App("app", (str(deployed.manage),), "", "http://127.0.0.1:1"))
    with pytest.raises(load.LoadError, match="nothing could be written: "):
        load.Load(host, 1.0, tmp_path / "log")


SUPERVISORD = """
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
[unix_http_server]
file={folder}/s.sock
[supervisorctl]
serverurl=unix://{folder}/s.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
PROGRAM = """
[program:{name}]
command={command}
environment={environment}
startsecs=0
startretries=1000000
stopsignal=KILL
killasgroup=true
stdout_logfile={folder}/{name}.log
redirect_stderr=true
"""


@pytest.fixture
def sentinel_deployment(farm: Farm) -> Iterator[Path]:
    """Three servers, three Sentinels and the app under one supervisor. Return the file that describes it."""
    durable = {"min_replicas_to_write": "1", "min_replicas_max_lag": "3", "appendonly": "yes"}
    servers = farm.replicated(2, PASSWORD, **durable)
    farm.sentinels(servers[0], down_after=1000, password="watch")
    sentinels = farm.servers[3:]
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="drill") as name:
        folder = Path(name)
        options = {
            "db": 1,
            "password": PASSWORD,
            "sentinels": [(one.host, one.port) for one in sentinels],
            "sentinel_kwargs": {"password": "watch"},
        }
        backend = "cachestack.resilient.SentinelRedisCache"
        deployed = Deployed(folder, {"BACKEND": backend, "LOCATION": f"redis://{SERVICE}", "OPTIONS": options})
        port = free_port()
        scripts = Path(sys.executable).parent
        programs = {"app": f"{scripts}/gunicorn --bind 127.0.0.1:{port} --workers 2 config.wsgi"}
        for server in farm.servers:
            server.stop()
            programs[f"redis-{server.port}"] = f"{server_binary()} {server.config} {' '.join(server.mode)}"
        environment = ",".join(f'{name}="{value}"' for name, value in deployed.environment.items())
        text = SUPERVISORD.format(folder=folder) + "".join(
            PROGRAM.format(name=name, command=command, environment=environment, folder=folder)
            for name, command in programs.items()
        )
        (folder / "supervisord.conf").write_text(text)
        process = subprocess.Popen(
            [scripts / "supervisord", "-c", folder / "supervisord.conf"], stdout=subprocess.DEVNULL
        )
        local = {
            "access": [],
            "manager": "supervisor",
            "supervisorctl": [str(scripts / "supervisorctl"), "-c", str(folder / "supervisord.conf")],
        }

        def described(server: RedisServer) -> dict[str, Any]:
            about = {"service": f"redis-{server.port}", "here": server.host, "address": server.host}
            auth_file = folder / f"{server.port}.auth.conf"
            auth_file.write_text(f"requirepass {quote(PASSWORD if server in servers else 'watch')}\n")
            return {**about, "port": server.port, "auth_file": str(auth_file)}

        hosts: dict[str, Any] = {
            f"redis-{index}": {**local, "redis": described(one), "sentinel": described(other), "app": None}
            for index, (one, other) in enumerate(zip(servers, sentinels), 1)
        }
        app = {"service": "app", "manage": [str(deployed.manage)], "user": "", "url": f"http://127.0.0.1:{port}"}
        hosts["app-1"] = {**local, "redis": None, "sentinel": None, "app": app}
        limits = {"down_after": 1, "node_timeout": 1, "max_lag": 3}
        file = folder / "deployment.json"
        file.write_text(json.dumps({"mode": "sentinel", "service": SERVICE, **limits, "hosts": hosts}))
        yield file
        process.terminate()
        process.wait()


def test_a_killed_leader(sentinel_deployment: Path, tmp_path: Path) -> None:
    command: list[Any] = [sys.executable, PROJECT / "drill" / "run.py", "--deployment", sentinel_deployment]
    done = subprocess.run([*command, "--report", tmp_path], capture_output=True, text=True, check=False)
    data = json.loads((tmp_path / "drill.json").read_text())
    assert done.returncode == (0 if data["kept"] else 1), done.stdout + done.stderr
    [fault] = data["faults"]
    measured = {one["promise"].partition(" <= ")[0]: one["measured"] for one in fault["promises"]}
    # Not whether every promise was kept, which a machine that does nothing else may say; but a leader that was not
    # killed would have left no gap, and one that was not healed would not be back.
    assert float(measured["writable"].removesuffix(" s")) > 1.0, done.stdout
    assert measured["all as it was after healing"].endswith(" s"), done.stdout
    assert measured["answers >= 500, or none"] == "0", done.stdout
    assert fault["figures"]["keys_lost"] == 0
    assert fault["figures"]["misses"] > 0
    assert f"F01 leader killed | writable <= 4.0 s | {measured['writable']} | " in done.stdout
    assert f"| {measured['writable']} |" in (tmp_path / "drill.md").read_text()
    leaders = [one for one in read_deployment(sentinel_deployment).look() if one.leads]
    assert [len(leader.replicas) for leader in leaders] == [2]


@pytest.mark.parametrize(("tries", "kept"), [(1, False), (2, True), (3, True)])
def test_a_fault_may_be_done_once_more(tries: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = FAULTS[0]
    good = report.Result([judge.Verdict("F01", "leader killed", "writable <= 5.0 s", "2.5 s", True)], {})
    outcomes = [report.failed(fault.id, fault.title, "late"), good, good]
    monkeypatch.setattr(run, "attempt", lambda *_arguments, **_words: outcomes.pop(0))
    monkeypatch.setattr(report, "notes", lambda _figures: "")
    assert report.all_kept(run.drill(deployment(()), [fault], [], None, tries)) is kept
    assert len(outcomes) == (2 if tries == 1 else 1)
