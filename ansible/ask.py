"""Ask the playbooks something that changes nothing, and print their answer alone.

    python ansible/ask.py {preflight,settings,plan} [--json] [-i INVENTORY] [any other argument of ansible-playbook]

Exit code 0: all is well, 1: the answer has errors, 2: the playbook itself failed; then its output is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters.terminal import TerminalFormatter
from pygments.lexers.python import PythonLexer

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Question:
    """The playbook that answers it with which arguments, and what prints the answer and returns the exit code."""

    playbook: str
    tell: Callable[[Any, bool], int]
    arguments: tuple[str, ...] = ()


def tell_problems(answer: Any, as_json: bool) -> int:
    """Print what is wrong with an inventory."""
    if as_json:
        print(json.dumps(answer["problems"], indent=2, ensure_ascii=False))
    else:
        print(answer["text"])
    return 1 if is_refused(answer) else 0


def is_refused(answer: Any) -> bool:
    """Tell whether the answer is that the inventory has errors, which every playbook may give first."""
    return any(problem["severity"] == "error" for problem in answer.get("problems", ()))


def tell_settings(answer: Any, as_json: bool) -> int:
    """Print the cache settings of the Django hosts; once where they are the same."""
    settings = answer.get("settings", {})
    if not settings:
        print("No host of the group django_app was asked; the inventory or --limit names none.", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(settings, indent=2, ensure_ascii=False))
    else:
        print(coloured(settings_text(settings)), end="")
    return 0


def settings_text(settings: Mapping[str, str]) -> str:
    """The settings by host as one text of Python, each block below the names of its hosts if there are several."""
    hosts: dict[str, list[str]] = {}
    for host, block in settings.items():
        hosts.setdefault(block, []).append(host)
    if len(hosts) == 1:
        return "".join(hosts)
    return "\n\n".join(f"# {', '.join(names)}\n{block}" for block, names in hosts.items())


def coloured(source: str) -> str:
    """Python source, with colours where a person reads it who has not set NO_COLOR (https://no-color.org)."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        source = highlight(source, PythonLexer(), TerminalFormatter())
    return source


def tell_plan(answer: Any, as_json: bool) -> int:
    """Print what a deployment would do, and what the checks before it warned of."""
    plan, warnings = answer.get("plan"), [problem["text"] for problem in answer.get("problems", ())]
    if plan is None:
        print("No host was asked; the inventory or --limit names none.", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps({**plan, "warnings": warnings}, indent=2, ensure_ascii=False))
    else:
        print("\n".join([plan["text"], *(f"warning: {warning}" for warning in warnings)]))
    return 0


def warnings(output: str) -> str:
    """What Ansible warns of, such as a key that a file has twice."""
    return "".join(re.findall(r"^\[WARNING\]: Found .*\n(?:(?!PLAY|TASK|\[).+\n)*", without_excerpts(output), re.M))


def without_excerpts(output: str) -> str:
    """What a playbook printed, without the lines of files that Ansible shows around a fault: these may be secrets."""
    return re.sub(r"^ *(?:\d+ .*|\^ column \d+)\n", "", output, flags=re.M)


def reason(output: str) -> str:
    """The tasks that failed, of what a playbook printed; all of it where it failed before the first task."""
    output = without_excerpts(output)
    parts = re.split(r"\n(?=(?:PLAY|TASK) )", output)
    return "\n".join(part for part in parts if "\nfatal: [" in part) or output


QUESTIONS = {
    "preflight": Question("ansible/preflight.yml", tell_problems),
    "settings": Question("ansible/settings.yml", tell_settings),
    "plan": Question("site.yml", tell_plan, ("--check", "--diff")),
}


def playbook_program() -> str:
    """Return the ansible-playbook on PATH, else the one of this Python's environment."""
    return shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Ask the playbooks something; what is not known here they are told.")
    parser.add_argument("question", choices=QUESTIONS)
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen, others = parser.parse_known_args(arguments)
    question = QUESTIONS[chosen.question]
    with tempfile.TemporaryDirectory(prefix="cachestack-") as folder:
        path = Path(folder) / "answer.json"
        command = [playbook_program(), *question.arguments, str(PROJECT / question.playbook), *others]
        environment = {
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
            **os.environ,
            "CACHESTACK_ANSWER": str(path),
        }
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        answer = json.loads(path.read_text("utf-8")) if path.exists() else None
    if answer is None or (done.returncode and not is_refused(answer)):
        print(reason(done.stdout).rstrip(), file=sys.stderr)
        return 2
    if is_refused(answer) and question.tell is not tell_problems:
        # Not into the file that the answer may be written to.
        with contextlib.redirect_stdout(sys.stderr):
            return tell_problems(answer, chosen.json)
    print(warnings(done.stdout), file=sys.stderr, end="")
    return question.tell(answer, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
