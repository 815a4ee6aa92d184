"""What the log says about caches that do not work: enough to see it, never a line for each operation."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("cachestack.resilient")


class Journal:
    """The log lines of one alias: each kind at once when it is new, then once per interval with a count."""

    def __init__(self, alias: str, interval: float) -> None:
        self._alias = alias
        self._interval = interval
        self._lock = threading.Lock()
        # For each kind of line: when it may come again, and how often it was held back.
        self._held: dict[str, tuple[float, int]] = {}

    def note(self, text: str) -> None:
        """Log the text, or count it."""
        now = time.monotonic()
        with self._lock:
            due, held = self._held.get(text, (0.0, 0))
            if now < due:
                self._held[text] = (due, held + 1)
                return
            self._held[text] = (now + self._interval, 0)
        again = f" ({held + 1} times)" if held else ""
        logger.warning("cache %r: %s%s", self._alias, text, again)

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent process may have held."""
        self._lock = threading.Lock()
