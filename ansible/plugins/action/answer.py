"""Hand something to the command that asked for it (see ansible/ask.py), without a module's run on any host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

# The file that the command reads; where it is not set, nobody asked.
ASKED = "CACHESTACK_ANSWER"


class ActionModule(ActionBase):
    """Writes the argument `content`, a mapping, as JSON to the file that the environment names.

    What earlier tasks of the run have answered stays: lists of the same name are put together, other values replaced.
    """

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"content"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write it. Changes nothing that the inventory knows of, so it does so in check mode as well."""
        result: dict[str, Any] = {"changed": False, **super().run(tmp, task_vars)}
        if path := os.environ.get(ASKED):
            file = Path(path)
            answer = json.loads(file.read_text("utf-8")) if file.exists() else {}
            for name, value in self._task.args["content"].items():
                answer[name] = [*answer.get(name, ()), *value] if isinstance(value, list) else value
            file.write_text(json.dumps(answer, ensure_ascii=False), "utf-8")
        return result
