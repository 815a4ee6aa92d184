"""What Molecule takes silently, found without a container: it calls a playbook that does not exist a success.

And what run.py reads off Molecule's output, on output as Molecule prints it.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from conftest import PROJECT

MOLECULE = PROJECT / "molecule"
SCENARIOS = sorted(path.parent.name for path in MOLECULE.glob("*/molecule.yml"))
# Molecule's actions that run a playbook, and the key under `playbooks` that names it.
PLAYBOOK_OF = {"check": "converge", "idempotence": "converge"}


def load_run() -> ModuleType:
    """Import molecule/run.py by its path: a folder of that name must not shadow the package molecule."""
    spec = importlib.util.spec_from_file_location("molecule_run", MOLECULE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = load_run()


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge as Molecule does: dictionaries deep, everything else replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def config(scenario: str) -> dict[str, Any]:
    """The scenario's molecule.yml over the base config."""
    base = yaml.safe_load((MOLECULE / "config.yml").read_text())
    return merge(base, yaml.safe_load((MOLECULE / scenario / "molecule.yml").read_text()))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_step_has_its_playbook(scenario: str) -> None:
    """Every step of the sequence names a playbook, and it exists."""
    data = config(scenario)
    for step in data["scenario"]["test_sequence"]:
        playbook = data["ansible"]["playbooks"].get(PLAYBOOK_OF.get(step, step))
        assert playbook, f"{step} has no playbook"
        assert (MOLECULE / scenario / playbook).is_file(), f"{step}: {playbook} does not exist"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_named_path_exists(scenario: str) -> None:
    """The inventories and the ansible.cfg that the config names exist."""
    variables = {"MOLECULE_PROJECT_DIRECTORY": str(PROJECT), "MOLECULE_SCENARIO_NAME": scenario}
    variables["MOLECULE_SCENARIO_DIRECTORY"] = str(MOLECULE / scenario)
    data = config(scenario)["ansible"]
    named = [arg.partition("=")[2] for arg in data["executor"]["args"]["ansible_playbook"] if "=" in arg]
    for path in [*named, data["env"]["ANSIBLE_CONFIG"]]:
        resolved = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], path)
        assert Path(resolved).is_file(), path


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_names_one_debian_release_and_has_a_place_in_the_order(scenario: str) -> None:
    """run.py finds the image to build, and when to start it."""
    assert len(run.Scenario(scenario).suites) == 1
    assert scenario in run.LONGEST_FIRST


def test_every_inventory_is_a_scenario() -> None:
    """No shipped inventory goes untested."""
    inventories = {path.parents[1].name for path in (PROJECT / "inventories").glob("*/group_vars/all.yml")}
    assert inventories <= set(SCENARIOS)


def run_of(*steps: tuple[str, str, str]) -> Any:
    """A scenario that ran these steps, each (name, result, output)."""
    scenario = run.Scenario("locmem")
    scenario.steps = [run.Step(name, lines=[output], result=result) for name, result, output in steps]
    return scenario


RECAP = "app-1                      : ok=12   changed={}    unreachable=0    failed=0    skipped=1\n"


@pytest.fixture(autouse=True)
def _no_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOGS", tmp_path)
    (tmp_path / "locmem.log").touch()


@pytest.mark.parametrize(
    ("steps", "code", "faults"),
    [
        ([("check", "successful", RECAP.format(3)), ("converge", "successful", RECAP.format(3))], 0, []),
        ([("converge", "successful", RECAP.format(3)), ("check", "successful", RECAP.format(0))], 0, []),
        (
            [("converge", "successful", RECAP.format(3)), ("check", "successful", RECAP.format(1))],
            0,
            ["check of the converged hosts would change app-1"],
        ),
        ([("verify", "missing", "")], 0, ["verify names a playbook that does not exist"]),
        ([("converge", "failed", ""), ("cleanup", "missing", "")], 1, ["converge failed"]),
        ([], 1, ["Molecule ended with exit code 1"]),
    ],
)
def test_faults(steps: list[tuple[str, str, str]], code: int, faults: list[str]) -> None:
    """What Molecule calls a success and we do not is found, and nothing else."""
    assert run.faults_of(run_of(*steps), code) == faults


def test_the_table_says_which_task_failed() -> None:
    """The last failure counts: those before it were ignored, or tried again."""
    output = (
        "TASK [Try it] ***\n[ERROR]: Task failed: Module failed: first\nfatal: [app-1]: FAILED! => {}\n...ignoring\n"
        "TASK [redis : Ask] ***\n[ERROR]: Task failed: Action failed: no answer\nOrigin: /a.yml:7:7\n\n"
        'fatal: [redis-1]: FAILED! => {\n    "msg": "no answer"\n}\n\nPLAY RECAP ***\n'
    )
    scenario = run_of(("verify", "failed", ""))
    scenario.steps[0].lines = output.splitlines(keepends=True)
    assert run.faults_of(scenario, 1) == ["verify failed: redis : Ask (redis-1): Task failed: Action failed: no answer"]


def test_a_secret_in_the_log_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated secret in the output is reported by its file's name, not by its value."""
    monkeypatch.setattr(run, "PROJECT", tmp_path)
    secrets = tmp_path / "inventories" / "locmem" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "secret_key.txt").write_text("opensesame" * 3 + "\n")
    (secrets / "unused.txt").write_text("")
    (secrets / "tls").mkdir()
    for name in ("ca", "redis-1"):
        lines = ("-----BEGIN PRIVATE KEY-----", f"the secret key of {name}", "-----END PRIVATE KEY-----")
        (secrets / "tls" / f"{name}.key").write_text("\n".join(lines) + "\n")
    (secrets / "tls" / "ca.crt").write_text("nothing secret at all\n")
    (tmp_path / "locmem.log").write_text(
        f"+SECRET_KEY = '{'opensesame' * 3}'\n-----BEGIN PRIVATE KEY-----\nnothing secret at all\n"
    )
    assert run.leaked_secrets(run.Scenario("locmem")) == ["the log shows secret_key.txt"]
    (tmp_path / "locmem.log").write_text("+the secret key of ca\n")
    assert run.leaked_secrets(run.Scenario("locmem")) == ["the log shows ca.key"]


@pytest.mark.parametrize(
    ("line", "step", "result"),
    [
        ("INFO     [locmem > converge] Executing", "converge", None),
        ("INFO     [locmem > converge] Executed: Successful", "converge", "Successful"),
        ("ERROR    [locmem > verify] Executed: Failed", "verify", "Failed"),
        ("WARNING  [locmem > verify] Executed: Missing playbook (Remove from test_sequence)", "verify", "Missing"),
    ],
)
def test_the_lines_of_molecule_are_understood(line: str, step: str, result: str | None) -> None:
    """The lines that begin and end a step are told from the rest."""
    match = run.STEP.match(line)
    assert match is not None
    assert (match["step"], match["result"]) == (step, result)


def test_an_unknown_scenario_is_refused_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt scenario ends the run with the likely name."""
    with pytest.raises(SystemExit) as refusal:
        run.chosen(["standalon"])
    assert cast("int", refusal.value.code) == 2
    assert "did you mean standalone?" in capsys.readouterr().err


def test_the_longest_scenario_starts_first() -> None:
    """The order on the command line does not matter."""
    order = [scenario.name for scenario in run.chosen(["locmem", "local", "replication"])]
    assert order == ["local", "replication", "locmem"]


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if run.Scenario(name).is_timed])
def test_a_timed_scenario_runs_all_of_its_sequence(scenario: str) -> None:
    """What is done beside the others and what is done alone are its sequence, which is that of `molecule test`."""
    sequences = config(scenario)["scenario"]
    alone = [action.replace("-", "_") for action in run.ALONE]
    assert [*sequences["converge_sequence"], *alone] == sequences["test_sequence"]


def test_a_quick_run_leaves_out_nothing_but_what_is_injected() -> None:
    standard = yaml.safe_load((MOLECULE / "config.yml").read_text())["scenario"]["test_sequence"]
    # Molecule's own action converge creates the containers.
    assert ["create", *run.QUICK] == standard


# The whole run, with a Molecule that only says how it went


@pytest.fixture
def molecule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """What Molecule was told to do by a run that needs no container: scenario and action."""
    told: list[tuple[str, ...]] = []

    def ran(self: Any, scenario: Any, action: tuple[str, ...]) -> int:
        told.append((scenario.name, action[0]))
        step = run.Step(action[0], result="successful")
        scenario.steps.append(step)
        how: Callable[[Any, Any], int] = BROKEN.get(f"{scenario.name} {action[0]}", lambda *_: 0)
        return how(scenario, step)

    monkeypatch.setattr(run.Runner, "run_molecule", ran)
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stdout=""))
    monkeypatch.setattr(run, "wait_for_the_containers", lambda: (tmp_path / "lock").open("w"))
    monkeypatch.setattr(run.os, "nice", lambda _: 0)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    monkeypatch.setattr(run, "PROJECT", tmp_path)
    for name in SCENARIOS:
        (tmp_path / f"{name}.log").touch()
    monkeypatch.setattr(run.Path, "unlink", lambda *_, **__: None)
    return told


def failed(_scenario: Any, step: Any) -> int:
    step.result = "failed"
    return 1


def missing(_scenario: Any, step: Any) -> int:
    step.result = "missing"
    return 0


def leaking(scenario: Any, _step: Any) -> int:
    secrets = run.PROJECT / "inventories" / scenario.name / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "redis_password.txt").write_text("opensesame" * 3)
    scenario.log.write_text("opensesame" * 3)
    return 0


BROKEN: dict[str, Any] = {}


def test_all_scenarios_pass(molecule: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([]) == 0
    assert f"\n{len(SCENARIOS)} passed, 0 failed\n" in capsys.readouterr().out
    timed = [name for name in SCENARIOS if run.Scenario(name).is_timed]
    assert sorted(molecule) == sorted(
        [*((name, "test") for name in SCENARIOS if name not in timed), *((name, "converge") for name in timed)]
        + [(name, action) for name in timed for action in run.ALONE]
    )
    # Nothing runs beside what is timed.
    assert {name for name, action in molecule[-len(timed) * len(run.ALONE) :]} == set(timed)


@pytest.mark.parametrize(
    ("where", "how", "said"),
    [
        ("locmem test", failed, "test failed"),
        ("locmem test", missing, "test names a playbook that does not exist"),
        ("locmem test", lambda *_: 2, "Molecule ended with exit code 2"),
        ("locmem test", leaking, "the log shows redis_password.txt"),
        ("sentinel converge", failed, "converge failed"),
        ("sentinel side-effect", failed, "side-effect failed"),
        ("sentinel verify", leaking, "the log shows redis_password.txt"),
    ],
)
def test_one_scenario_that_fails_fails_the_run(
    molecule: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
    how: Any,
    said: str,
) -> None:
    monkeypatch.setitem(BROKEN, where, how)
    assert run.main([where.split()[0], "standalone"]) == 1
    printed = capsys.readouterr().out
    assert re.search(rf"^{where.split()[0]} +FAILED +\d+\n +{re.escape(said)}$", printed, re.M), printed
    assert "\n1 passed, 1 failed\n" in printed
    # What comes after a step that failed would prove nothing.
    done = [action for name, action in molecule if name == where.split()[0]]
    assert done[-1] == where.split()[1]
