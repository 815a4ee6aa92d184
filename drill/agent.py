"""What runs on the hosts: asks Redis servers and the app. Piped to Python there, so it needs nothing but Python 3.9.

hosts.py sends its source, and then a job: a line of JSON. The answer is a line of JSON. Passwords are read on the host.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from ansible.module_utils.redis_client import RedisError, connect

# Seconds from one question to the next, and until the app is given up.
PAUSE, PATIENCE = 0.1, 10.0


def ask(job: dict[str, Any]) -> list[list[Any]]:
    """Send each server its commands. Return the replies of each server; one that failed is {"error": text}."""
    replies: list[list[Any]] = [[] for _ in job["servers"]]
    threads = [threading.Thread(target=_ask, args=(job, *pair)) for pair in zip(job["servers"], replies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def _ask(job: dict[str, Any], server: dict[str, Any], replies: list[Any]) -> None:
    commands = server["commands"]
    try:
        with connect({"tls_ca_file": None, "tls_name": None, "timeout": job["timeout"], **server}) as redis:
            for words in commands:
                try:
                    replies.append(redis.command(*words))
                except RedisError as error:
                    replies.append({"error": str(error)})
    except (OSError, RedisError) as error:
        # A server that hangs or has gone answers none of the rest either.
        replies += [{"error": f"{type(error).__name__}: {error}"}] * (len(commands) - len(replies))


def get(job: dict[str, Any]) -> list[list[Any]]:
    """Ask for each path once, all at the same time. Return [path, start (time.time()), status, seconds] of each."""
    return _in_threads(job, rounds=1)


def probe(job: dict[str, Any]) -> list[list[Any]]:
    """Ask for each path ten times a second until stdin ends. Return as `get` does."""
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return _in_threads(job, ended)


def _in_threads(
    job: dict[str, Any], ended: threading.Event | None = None, rounds: int | None = None
) -> list[list[Any]]:
    answers: list[list[Any]] = []

    def work(path: str) -> None:
        due = time.monotonic()
        done = 0
        while done != rounds and not (ended and ended.wait(max(0.0, due - time.monotonic()))):
            answers.append(_get(job["url"], path))
            done += 1
            due = max(due + PAUSE, time.monotonic())

    threads = [threading.Thread(target=work, args=(path,)) for path in job["paths"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _get(url: str, path: str) -> list[Any]:
    """Return [path, start, status, seconds]; the status is 0 where there was no answer."""
    # As the web server in front of a site with HTTPS does.
    request = urllib.request.Request(url + path, headers={"X-Forwarded-Proto": "https"})
    start = time.time()
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            status = response.status
            response.read()
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except OSError:
        status = 0
    return [path, round(start, 3), status, round(time.time() - start, 4)]


def main() -> None:
    """Do the job that stands on stdin."""
    job = json.loads(sys.stdin.readline())
    jobs = {"ask": ask, "get": get, "probe": probe}
    print(json.dumps(jobs[job["do"]](job)))
