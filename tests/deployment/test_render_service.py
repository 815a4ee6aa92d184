"""What systemd and supervisor are told of a service, and what they make of it."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deployment.render.service import Manager, Service

SYSTEMD = Manager("systemd")
SUPERVISOR = Manager("supervisor", "/home/me/services", "/opt/venv/bin/supervisord")
SERVICE = Service("redis-6379", "Redis on port 6379", "/usr/bin/redis-server /var/lib/redis/6379/redis.conf")
# With all that one of the two would take for something else.
HARD = "a \"b\" 'c' 100% $HOME back\\slash é"


def lines(service: Service, key: str) -> list[str]:
    """The values of a key in a service's systemd unit."""
    return [line.partition("=")[2] for line in service.unit(SYSTEMD).splitlines() if line.partition("=")[0] == key]


def program(service: Service) -> configparser.SectionProxy:
    """A service's supervisor program."""
    parser = configparser.RawConfigParser()
    parser.read_string(service.unit(SUPERVISOR))
    return parser[f"program:{service.name}"]


# Where


def test_where_a_service_is_described() -> None:
    assert SYSTEMD.unit_path("redis-6379") == "/etc/systemd/system/redis-6379.service"
    assert SUPERVISOR.unit_path("redis-6379") == "/home/me/services/programs/redis-6379.conf"


def test_what_a_part_needs_to_know_of_a_manager() -> None:
    assert SYSTEMD.reference("redis-6379") == {
        "name": "redis-6379",
        "manager": "systemd",
        "unit_path": "/etc/systemd/system/redis-6379.service",
        "supervisor": None,
    }
    supervisor = SUPERVISOR.reference("redis-6379")["supervisor"]
    assert (supervisor["directory"], supervisor["program"]) == ("/home/me/services", "/opt/venv/bin/supervisord")
    parser = configparser.RawConfigParser()
    parser.read_string(supervisor["conf"])
    assert parser["unix_http_server"]["file"] == "/home/me/services/supervisor.sock"
    assert parser["unix_http_server"]["chmod"] == "0600"
    assert parser["include"]["files"] == "programs/*.conf"


# systemd


def test_a_unit() -> None:
    service = replace(
        SERVICE,
        before=["/bin/true", "-+/bin/false"],
        after=["+/bin/true"],
        user="redis",
        group="redis",
        working_dir="/var/lib/redis/6379",
        type="notify",
        writable=["/var/lib/redis/6379", "/run/x"],
        open_files=1000,
    )
    found = {key: lines(service, key) for key in ("Type", "User", "Group", "WorkingDirectory", "LimitNOFILE")}
    assert found == {
        "Type": ["notify"],
        "User": ["redis"],
        "Group": ["redis"],
        "WorkingDirectory": ["/var/lib/redis/6379"],
        "LimitNOFILE": ["1000"],
    }
    assert lines(service, "ExecStartPre") == ["/bin/true", "-+/bin/false"]
    assert lines(service, "ExecStart") == [SERVICE.command]
    assert lines(service, "ExecStartPost") == ["+/bin/true"]
    assert lines(service, "ReadWritePaths") == ["/var/lib/redis/6379 /run/x"]
    assert lines(service, "Environment") == lines(service, "SupplementaryGroups") == []


def test_a_unit_of_members_of_groups() -> None:
    assert lines(replace(SERVICE, groups=["redis-socket", "www"]), "SupplementaryGroups") == ["redis-socket www"]


@pytest.mark.parametrize(
    ("seconds", "restart", "wait"),
    [(1.0, "always", "1.0"), (0.1, "always", "0.1"), (10.0, "always", "10.0"), (0.0, "no", "0.0")],
)
def test_when_systemd_starts_it_again(seconds: float, restart: str, wait: str) -> None:
    service = replace(SERVICE, revive_after=seconds)
    assert (lines(service, "Restart"), lines(service, "RestartSec")) == ([restart], [wait])


def test_the_environment_of_a_unit() -> None:
    service = replace(SERVICE, environment={"B": HARD, "A": "1"})
    # Sorted, so that the same variables are the same unit.
    assert lines(service, "Environment") == [
        '"A=1"',
        r'''"B=a \"b\" 'c' 100%% $HOME back\\slash é"''',
    ]


# Each takes something away that a cache and its users have no need of; see systemd.exec(5).
HARDENING = """\
UMask=0077
CapabilityBoundingSet=
DevicePolicy=closed
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
"""


@pytest.mark.parametrize("line", HARDENING.splitlines())
def test_a_unit_may_do_little(line: str) -> None:
    assert line in SERVICE.unit(SYSTEMD).splitlines()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd")
def test_systemd_understands_it(tmp_path: Path) -> None:
    service = replace(SERVICE, command="/bin/true", before=["/bin/true"], environment={"B": HARD}, user="root")
    path = tmp_path / "redis-6379.service"
    path.write_text(service.unit(SYSTEMD), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert "redis-6379.service" not in done.stderr


# supervisor


def started(service: Service) -> str:
    """What a service prints when supervisor starts it, as that splits and expands the command."""
    argv = shlex.split(program(service)["command"] % {})
    return subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}).stdout


def test_a_program() -> None:
    found = program(replace(SERVICE, working_dir="/home/me/redis"))
    assert found["command"] == "/bin/sh -c 'exec /usr/bin/redis-server /var/lib/redis/6379/redis.conf'"
    assert found["directory"] == "/home/me/redis"
    assert found["stdout_logfile"] == "/home/me/services/logs/redis-6379.log"


def test_what_is_done_before_each_start() -> None:
    service = replace(SERVICE, before=["echo 'first %s'", "echo second"], command="echo '100%'")
    assert started(service) == "first %s\nsecond\n100%\n"
    # The service is in the place of the shell, so that a signal gets to it.
    service = replace(SERVICE, before=["echo $$"], command="/bin/sh -c 'echo $$'")
    first, second = started(service).split()
    assert first == second


@pytest.mark.parametrize("value", [HARD, "", "a,b=c", "'", '"quoted"', "line\\n", "50%", "%(ENV_HOME)s", "; echo x"])
def test_the_environment_of_a_program(value: str) -> None:
    service = replace(SERVICE, environment={"B": value, "A": "1"}, command="printenv A B")
    assert started(service) == f"1\n{value}\n"


@pytest.mark.parametrize(("seconds", "restart"), [(0.1, "true"), (1.0, "true"), (10.0, "false"), (0.0, "false")])
def test_supervisor_starts_it_again_at_once_or_never(seconds: float, restart: str) -> None:
    assert program(replace(SERVICE, revive_after=seconds))["autorestart"] == restart
