"""What to ask the hosts before anything is changed, and what is wrong with the answers; see the package preflight."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Ansible loads each plugin alone, without what lies around it.
sys.path.append(str(Path(__file__).resolve().parents[3]))

from preflight.facts import RULES
from preflight.facts_versions import cache_words
from preflight.hosts import host_questions, known_hosts
from preflight.problems import as_answer, problems


def host_problems(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what is wrong: `problems`, each a dict, and `text` for people."""
    return as_answer(problems(RULES, known_hosts(hostvars, groups), groups))


class FilterModule:
    """Registers the filters with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"cache_words": cache_words, "host_problems": host_problems, "host_questions": host_questions}
