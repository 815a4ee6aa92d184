"""Why what runs must be restarted, by the results of a section's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def restart_reasons(results: Mapping[str, Any]) -> list[str]:
    """Why the section's service must be restarted, a text for each reason; empty where it need not, or does not run.

    Asked of the process, not remembered: whoever changed something and whenever. A service that restarts itself where
    it is stale is left out.
    """
    service = results.get("service") or {}
    if not service.get("running") or service.get("restarted"):
        return []
    configuration = results.get("configuration") or {}
    reasons: list[str] = []
    for result in results.values():
        if isinstance(result, Mapping):
            reasons += result.get("restart") or []
    if (results.get("sentinel certificate") or {}).get("stale"):
        reasons.append("it serves another certificate")
    if "answers" in configuration and not configuration["answers"]:
        reasons.append("it does not answer")
    if service.get("described"):
        reasons.append("its service changes")
    elif service.get("stale"):
        newer = ", ".join(service.get("newer") or ())
        reasons.append(f"{newer} is newer than its process" if newer else "its program was replaced")
    return reasons
