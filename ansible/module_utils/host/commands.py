"""Parts that run a command of the deployment's, and that wait until Django's caches answer. Each raises PartError."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.host.files import absent, directory, file
from ansible.module_utils.host.run import REQUIRED, PartError, Run, checked

# How many of the last lines of a command's output are told.
LINES = 20
# Seconds for one answer of Django, whose caches may have to run into their own timeouts first.
ANSWER = 30.0


def command(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Run ``argv`` as ``user`` (empty: as we are), in /; never in check mode. Fails with its last lines.

    Its output is not looked at where it succeeds. ``environment`` are variables that it gets, ``aside`` a directory and
    what is in it, as parts, all of which is there only while the command runs: what it judges, before that is in place.
    """
    params = checked(params, argv=REQUIRED, user="", environment={}, aside=())
    if run.check_mode:
        return {"changed": False, "ran": False, "rc": 0}
    argv, user = params["argv"], params["user"]
    identity = _as_user(user)
    environment = {**identity.pop("env", os.environ), **params["environment"]}
    try:
        with _there(params["aside"]):
            result = subprocess.run(
                argv,
                **identity,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
    except (OSError, subprocess.SubprocessError) as error:
        whose = f" as {user}" if user else ""
        raise PartError(f"{argv[0]} does not start{whose}: {getattr(error, 'strerror', None) or error}") from error
    if result.returncode:
        said = "\n".join(result.stdout.strip().splitlines()[-LINES:])
        raise PartError(f"`{' '.join(argv)}` failed with exit status {result.returncode}: {said}")
    return {"changed": False, "ran": True, "rc": 0}


@contextlib.contextmanager
def _there(parts: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Have a directory and what is in it for a while; what a run that was killed has left of it is deleted first."""
    # Its diffs are for nobody: they are those of the files that come after it.
    run, top = Run(), {"paths": [part["path"] for part in parts[:1]]}
    absent(top, run)
    try:
        for part in parts:
            params = {name: value for name, value in part.items() if name not in ("part", "name")}
            {"directory": directory, "file": file}[part["part"]](params, run)
        yield
    finally:
        absent(top, run)


def _as_user(name: str) -> dict[str, Any]:
    """The arguments of subprocess.run for another user, none for ourselves."""
    if not name:
        return {}
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise PartError(f"there is no user {name}") from None
    if user.pw_uid == os.geteuid():
        return {}
    own = {"HOME": user.pw_dir, "USER": name, "LOGNAME": name}
    return {
        "user": user.pw_uid,
        "group": user.pw_gid,
        "extra_groups": os.getgrouplist(name, user.pw_gid),
        "env": {**os.environ, **own},
    }


def ready(params: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Wait at most ``wait`` seconds until Django's caches answer; in check mode ask once. ``status`` and ``json``."""
    params = checked(params, url=REQUIRED, wait=30)
    deadline = time.monotonic() + params["wait"]
    while True:
        answer = ask_ready(params["url"])
        if run.check_mode or answer.get("json", {}).get("status") == "ok":
            return {"changed": False, **answer}
        if time.monotonic() >= deadline:
            said = answer.get("error") or f"{answer['status']} {json.dumps(answer['json'])}"
            raise PartError(
                f"{params['url']}/readyz does not say after {params['wait']} seconds that all is well: {said}"
            )
        time.sleep(0.2)


def ask_ready(url: str, timeout: float = ANSWER) -> dict[str, Any]:
    """What ``GET <url>/readyz`` answers: its ``status`` and its ``json``, empty for another text; or an ``error``."""
    # Here, since on a host without Django they would take longer than all that is done there.
    import http.client
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            with opener.open(f"{url}/readyz", timeout=timeout) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as response:
            # Degraded is an answer, too.
            with response:
                status, body = response.code, response.read()
    except urllib.error.URLError as error:
        return {"error": str(getattr(error.reason, "strerror", None) or error.reason)}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return {"error": str(getattr(error, "strerror", None) or error)}
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {}
    return {"status": status, "json": answer if isinstance(answer, dict) else {}}
