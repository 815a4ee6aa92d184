"""What the benchmark of a deployment makes of its measurements."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest
import yaml

from bench import deploy
from bench.deploy import AGAINST, NO_OP, YARDSTICK, MeasureError, Row, Spent, Subject
from conftest import PROJECT

# A child that burns a tenth of a second of a processor.
BURN = "import time\nwhile time.process_time() < 0.1: pass"
RECAP = (
    "PLAY RECAP ***\napp-1    : ok=3    changed={}    unreachable=0\nredis-1  : ok=2    changed=1    unreachable=0\n"
)


def test_the_processors_seconds_are_those_of_all_children() -> None:
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True); print('done')"
    spent, printed = deploy.spend([sys.executable, "-c", nested], os.environ)
    assert spent.cpu >= 0.1
    assert printed == "done\n"
    assert deploy.spend([sys.executable, "-c", "import time; time.sleep(0.3)"], os.environ)[0].wall >= 0.3


def test_a_program_that_fails_is_no_measurement() -> None:
    with pytest.raises(MeasureError, match=r"ended with 3:\nwhy$"):
        deploy.spend([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"], os.environ)


def test_what_a_playbook_changed() -> None:
    assert deploy.changed(RECAP.format(4)) == 5
    with pytest.raises(MeasureError):
        deploy.changed("nothing")


def test_spent_is_summed() -> None:
    assert Spent(1, 2) + Spent(3, 4) == Spent(4, 6)


def test_a_ratio_is_of_the_same_round() -> None:
    ours, units = [Spent(2, 1), Spent(30, 10), Spent(100, 100)], [Spent(1, 1), Spent(10, 100), Spent(100, 1000)]
    found = deploy.rows({NO_OP: ours, YARDSTICK: units})
    assert found == [Row(NO_OP, 30, 10, 2, 0.1), Row(YARDSTICK, 10, 100, 1, 1)]
    assert deploy.table(found[:1]).splitlines()[-1] == "| with nothing to do | 30.0 | 10.0 | 2.00 | 0.10 |"


def test_another_playbook_may_be_the_yardstick() -> None:
    measured = {NO_OP: [Spent(1, 1)], AGAINST: [Spent(4, 2)]}
    assert deploy.rows(measured, AGAINST)[0] == Row(NO_OP, 1, 1, 0.25, 0.5)


def test_remote_hosts() -> None:
    variables = {"here": {"ansible_connection": "local"}, "there": {"ansible_connection": "community.docker.docker"}}
    inventory = {"_meta": {"hostvars": variables}, "redis": {"hosts": ["here", "there", "over-ssh"]}, "all": {}}
    assert deploy.remote_hosts(inventory) == ["over-ssh", "there"]


def test_ports_are_free_and_differ() -> None:
    with deploy.kept_ports() as ports:
        found = list(itertools.islice(ports, 20))
    assert len(set(found)) == 20
    assert min(found) > 1023


@pytest.mark.parametrize("servers", [3, 20])
def test_the_copy_has_ports_of_its_own(servers: int) -> None:
    shipped = yaml.safe_load((PROJECT / "inventories" / "local" / "hosts.yml").read_text("utf-8"))
    copied = deploy.copied_hosts(shipped, servers, itertools.count(20000))
    assert copied.keys() == shipped.keys()
    assert len(copied["redis"]["hosts"]) == max(servers, 6)
    used = [name for name, values in copied["redis"]["hosts"].items() if "redis_modes" not in values]
    assert used == [f"redis-{number}" for number in range(1, servers + 1)]
    ports = [
        value
        for group in copied.values()
        for values in group["hosts"].values()
        for name, value in values.items()
        if name.endswith("_port")
    ]
    assert min(ports) >= 20000
    assert len(set(ports)) == len(ports) == max(servers, 6) + 4


def test_what_was_to_change_nothing_and_does_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject(Path("inventory"), {})
    monkeypatch.setattr(deploy, "spend", lambda *_: (Spent(1, 1), RECAP.format(0)))
    with pytest.raises(MeasureError, match="changed 1 things"):
        subject.no_op()
    with pytest.raises(MeasureError, match="nothing is to do"):
        subject.plan()
    monkeypatch.setattr(deploy, "spend", lambda *_: (Spent(1, 1), "nothing to do: 0 restarts\n"))
    assert subject.plan() == Spent(1, 1)


def test_the_yardstick_is_six_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "spend", lambda *_: (Spent(1, 0.5), ""))
    assert Subject(Path("inventory"), {}).setups() == Spent(6, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rounds=0"],
        ["--servers=1"],
        ["--against=site.yml"],
        ["--against-inventory=inventories/local"],
        ["--inventory=inventories/none"],
    ],
)
def test_wrong_options_are_refused(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    with pytest.raises(SystemExit) as ended:
        deploy.parsed(arguments)
    assert ended.value.code == 2


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert vars(deploy.parsed([])) == {
        "rounds": 3,
        "servers": 3,
        "inventory": None,
        "against": None,
        "against_inventory": None,
    }
    chosen = deploy.parsed(["--against=site.yml", "--against-inventory=inventories/local"])
    assert (chosen.against, chosen.against_inventory) == (Path("site.yml"), Path("inventories/local"))
