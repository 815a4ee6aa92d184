"""The drill's load, which knows what is lost, and a run against processes under a real supervisor."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.redis_client import quote

from conftest import DJANGO_APP, PROJECT
from drill import load
from drill.hosts import App, Host, read_deployment
from drill.judge import longest_gap
from drilled import PASSWORD
from servers import SERVICE, Farm, RedisServer, free_port, server_binary, wait_for


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
    command: list[Any] = [sys.executable, "-m", "drill.run", "--deployment", sentinel_deployment]
    done = subprocess.run([*command, "--report", tmp_path], cwd=PROJECT, capture_output=True, text=True, check=False)
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
