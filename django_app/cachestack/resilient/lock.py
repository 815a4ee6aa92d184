"""A lock in Redis that ends by itself.

https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/
"""

from __future__ import annotations

import time
import uuid

from .client import Client


class Lock:
    """One try to be alone with a key. `timeout` and `wait` are in seconds; without `wait` it waits for `timeout`."""

    def __init__(self, client: Client, key: str, timeout: float, wait: float | None) -> None:
        self._client = client
        self._key = key
        self._timeout = timeout
        self._wait_until = time.monotonic() + (timeout if wait is None else wait)
        self._token = uuid.uuid4().hex.encode()
        self._begun = 0.0
        self.is_ours = False

    def shall_wait(self) -> bool:
        """Try to take the lock. Return whether somebody has it and may still give it up in time."""
        self._begun = time.monotonic()
        taken = self._client.acquire(self._key, self._token, self._timeout)
        self.is_ours = taken is True
        return taken is False and self._begun < self._wait_until

    def release(self) -> None:
        """Give up the lock, as long as it is surely ours; otherwise it ends by itself."""
        if self.is_ours:
            self._client.release(self._key, self._token, self._begun + self._timeout)
