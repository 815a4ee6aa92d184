"""How many connections a request under ASGI makes, where Django makes its caches anew for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application

VIEWS = ("async", "sync")
# asgiref gives it no types.
_Communicator: Any = ApplicationCommunicator
# Requests at the same time.
TOGETHER = 4


class ASGIError(RuntimeError):
    """A view did not answer as it should; the text says what it did."""


def new_connections_per_request(alias: str, requests: int, connections: Callable[[], int]) -> float:
    """Send so many requests to each view. `connections` tells how many the server has ever received."""
    application: Any = get_asgi_application()

    async def burst(count: int) -> None:
        for _ in range(count // TOGETHER):
            # Each in a task of its own, as servers do it; so each has its own context, and its own caches.
            await asyncio.gather(
                *(_request(application, f"/{view}/{alias}") for view in VIEWS for _ in range(TOGETHER))
            )

    async def count() -> int:
        # The first ones are those of a process that has only begun.
        await burst(TOGETHER)
        before = connections()
        await burst(requests)
        return connections() - before

    return asyncio.run(count()) / (len(VIEWS) * (requests // TOGETHER) * TOGETHER)


async def _request(application: Any, path: str) -> None:
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "http_version": "1.1"}
    communicator = _Communicator(application, scope)
    await communicator.send_input({"type": "http.request"})
    start = await communicator.receive_output(timeout=10)
    await communicator.receive_output(timeout=10)
    await communicator.wait()
    if start["status"] != 200:
        raise ASGIError(f"{path} answered with the status {start['status']}")
