"""The command that asks a playbook something, with a playbook that answers what the test says."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible import ask

from conftest import PROJECT

PROBLEM = {"severity": "error", "text": "app-1: wrong"}
REFUSED = {"problems": [PROBLEM], "text": "1 error\n  app-1: wrong"}
FINE = {"problems": [], "text": "no problems"}
WARNED = {"problems": [{"severity": "warning"}], "text": "1 warning"}
SETTINGS = {"settings": {"app-1": "CACHES = {}\n"}}

# Writes down what it was asked, prints what nobody wants to see, and answers.
PLAYBOOK = """\
#!{python}
import os, sys
from pathlib import Path
Path({asked!r}).write_text("\\n".join(sys.argv[1:]) + "\\n")
print("PLAY [all]")
answer = {answer!r}
if answer is not None:
    Path(os.environ["CACHESTACK_ANSWER"]).write_text(answer)
sys.exit({code})
"""


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """Where the playbook's arguments are written down, one a line."""
    return tmp_path / "asked"


@pytest.fixture
def answering(tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make ansible-playbook give this answer, or none, and end with this exit code."""

    def make(answer: Any = None, code: int = 0) -> None:
        program = tmp_path / "ansible-playbook"
        text = None if answer is None else json.dumps(answer)
        program.write_text(PLAYBOOK.format(python=sys.executable, asked=str(asked), answer=text, code=code), "utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return make


@pytest.mark.parametrize(
    ("question", "answer", "code", "wanted", "out", "err"),
    [
        pytest.param("preflight", FINE, 0, 0, "no problems\n", "", id="no problems"),
        pytest.param("preflight", WARNED, 0, 0, "1 warning\n", "", id="warnings"),
        pytest.param("preflight", REFUSED, 2, 1, f"{REFUSED['text']}\n", "", id="errors"),
        pytest.param("preflight", None, 4, 2, "", "PLAY [all]\n", id="no answer"),
        pytest.param("preflight", FINE, 2, 2, "", "PLAY [all]\n", id="a failure without errors"),
        pytest.param("settings", SETTINGS, 0, 0, "CACHES = {}\n", "", id="settings"),
        pytest.param("settings", REFUSED, 2, 1, "", f"{REFUSED['text']}\n", id="settings of a wrong inventory"),
        pytest.param("settings", FINE, 2, 2, "", "PLAY [all]\n", id="settings that cannot be rendered"),
        pytest.param("settings", None, 0, 2, "", "PLAY [all]\n", id="settings of nobody"),
    ],
)
def test_what_is_told(
    answering: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    question: str,
    answer: Any,
    code: int,
    wanted: int,
    out: str,
    err: str,
) -> None:
    answering(answer, code)
    assert ask.main([question]) == wanted
    assert capsys.readouterr() == (out, err)


def test_without_a_django_host_it_says_so(answering: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    """Then the answer is that of the check, which had nothing to say."""
    answering(FINE)
    assert ask.main(["settings"]) == 1
    told = capsys.readouterr()
    assert (told.out, "django_app" in told.err) == ("", True)


@pytest.mark.parametrize(
    ("question", "answer", "wanted"),
    [("preflight", REFUSED, [PROBLEM]), ("settings", SETTINGS, SETTINGS["settings"])],
)
def test_json(
    answering: Callable[..., None], capsys: pytest.CaptureFixture[str], question: str, answer: Any, wanted: Any
) -> None:
    answering(answer)
    ask.main([question, "--json"])
    assert json.loads(capsys.readouterr().out) == wanted


def test_everything_else_is_for_the_playbook(answering: Callable[..., None], asked: Path) -> None:
    answering(SETTINGS)
    others = ["-i", "inventories/sentinel", "-e", "cache_mode=cluster", "--limit=app-1", "-v"]
    assert ask.main(["settings", *others]) == 0
    assert asked.read_text("utf-8").splitlines() == [str(PROJECT / "ansible" / "settings.yml"), *others]


@pytest.mark.parametrize("question", sorted(ask.QUESTIONS))
def test_every_question_has_its_playbook(question: str) -> None:
    assert (PROJECT / ask.QUESTIONS[question].playbook).is_file()


# The settings of several hosts.


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"app-1": "A = 1\n"}, "A = 1\n"),
        ({"app-1": "A = 1\n", "app-2": "A = 1\n"}, "A = 1\n"),
        ({"app-1": "A = 1\n", "app-2": "A = 2\n"}, "# app-1\nA = 1\n\n\n# app-2\nA = 2\n"),
        (
            {"app-1": "A = 1\n", "app-2": "A = 2\n", "app-3": "A = 1\n"},
            "# app-1, app-3\nA = 1\n\n\n# app-2\nA = 2\n",
        ),
    ],
)
def test_the_same_settings_are_told_once(settings: dict[str, str], wanted: str) -> None:
    assert ask.settings_text(settings) == wanted


# Colours.


def told_to_a_terminal(variables: Mapping[str, str], *arguments: str) -> str:
    """What the command prints on a terminal."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    command = [sys.executable, str(PROJECT / "ansible" / "ask.py"), "settings", *arguments]
    with subprocess.Popen(command, stdout=theirs, env={**environment, "TERM": "xterm", **variables}):
        os.close(theirs)
        told = b""
        # A terminal that nobody writes to any more is an error here, not an end.
        try:
            while read := os.read(ours, 65536):
                told += read
        except OSError:
            os.close(ours)
    return told.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals(
    answering: Callable[..., None], variables: dict[str, str], is_coloured: bool
) -> None:
    answering(SETTINGS)
    told = told_to_a_terminal(variables)
    assert ("\x1b[" in told) == is_coloured
    assert is_coloured or told == SETTINGS["settings"]["app-1"]
