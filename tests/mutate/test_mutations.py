"""The mutations have a place in the project, and whoever survives is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mutate import run
from mutate.run import Mutation, MutationError, Result

MUTATIONS = run.read()
ONE = Mutation("one", "site.yml", "Check the inventory", "Check nothing", "tests/playbooks/test_order.py")


def test_there_are_enough_over_all_layers() -> None:
    assert len(MUTATIONS) >= 60
    rooms = {Path(one.file).parts[0] for one in MUTATIONS}
    assert rooms >= {"ansible", "deployment", "drill", "molecule", "roles", "security", "site.yml"}
    for one in MUTATIONS:
        paths = one.proof.partition(" -k ")[0].split()
        assert paths, one.name
        assert all((run.PROJECT / path).exists() for path in paths), one.name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"find": "not there"}, "site.yml has 'not there' 0 times, not once"),
        ({"find": "import_playbook"}, "times, not once"),
        ({"file": "no.yml"}, "there is no no.yml"),
        ({"replace": "Deploy Django"}, "it changes nothing"),
        ({"typo": ""}, "typo"),
    ],
)
def test_what_does_not_fit_the_project_is_refused(tmp_path: Path, change: dict[str, str], said: str) -> None:
    path = tmp_path / "mutations.yml"
    path.write_text(yaml.safe_dump([{**vars(ONE), "find": "Deploy Django", **change}]))
    with pytest.raises(MutationError, match=said):
        run.read(path)


def test_a_name_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "mutations.yml"
    path.write_text(yaml.safe_dump([{**vars(ONE), "find": "Deploy Django"}] * 2))
    with pytest.raises(MutationError, match="one is there twice"):
        run.read(path)


def test_a_change_is_made_in_a_copy_and_taken_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("- name: Check the inventory\n")
    seen = []

    def is_green(copy: Path, proof: str) -> bool:
        seen.append((copy / "site.yml").read_text())
        return "nothing" not in seen[-1]

    monkeypatch.setattr(run, "is_green", is_green)
    assert run.try_out(tmp_path, ONE).noticed
    assert (seen, (tmp_path / "site.yml").read_text()) == (
        ["- name: Check nothing\n"],
        "- name: Check the inventory\n",
    )


@pytest.mark.parametrize(("noticed", "code"), [(20, 0), (19, 0), (18, 1)])
def test_the_score(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], noticed: int, code: int
) -> None:
    results = [Result(ONE, number < noticed, 1.0) for number in range(20)]
    monkeypatch.setattr(run, "run", lambda *_: results)
    assert run.main([]) == code
    printed = capsys.readouterr().out
    assert printed.endswith(f"{noticed} of 20 mutations were noticed ({noticed / 20:.0%})\n")
    assert printed.count("one: site.yml: tests/playbooks/test_order.py stays green\n") == 20 - noticed


def test_a_proof_that_is_red_anyway_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "is_green", lambda *_: False)
    assert run.main([MUTATIONS[0].name, "--jobs=1"]) == 1
    assert f"red without any change, so they prove nothing: {MUTATIONS[0].proof}" in capsys.readouterr().err


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["no-such"]) == 2
    assert "there is no mutation no-such" in capsys.readouterr().err


@pytest.mark.slow
def test_what_survives_is_told_from_what_does_not() -> None:
    noticed = Mutation("one", "site.yml", "ansible/deploy/look.yml", "ansible/status.yml", ONE.proof)
    survivor = Mutation("two", "site.yml", "# Deploys the inventory.", "# Deploys nothing.", ONE.proof)
    assert [one.noticed for one in run.run([noticed, survivor], 1)] == [True, False]
