"""What stops a run on the control node."""

from __future__ import annotations


class DeploymentError(ValueError):
    """The inventory, or what the hosts said, does not allow to go on; the text says why and what to do."""
