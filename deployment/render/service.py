"""The text that describes a service to systemd or to supervisor."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployment.render.templates import render


@dataclass(frozen=True)
class Manager:
    """What runs a host's services: ``systemd``, or ``supervisor`` with its directory and the program of its daemon."""

    kind: str
    directory: str = ""
    daemon: str = ""

    def unit_path(self, service: str) -> str:
        """Where a service is described."""
        if self.kind == "systemd":
            return f"/etc/systemd/system/{service}.service"
        return f"{self.directory}/programs/{service}.conf"

    @property
    def supervisor(self) -> dict[str, str] | None:
        """What the managed host needs to start and to ask supervisor; None under systemd."""
        if self.kind == "systemd":
            return None
        conf = render("service", "supervisord.conf.j2", directory=self.directory)
        return {"directory": self.directory, "program": self.daemon, "conf": conf}

    def reference(self, service: str) -> dict[str, Any]:
        """What a part that stops, restarts or removes a service needs."""
        return {
            "name": service,
            "manager": self.kind,
            "unit_path": self.unit_path(service),
            "supervisor": self.supervisor,
        }


@dataclass(frozen=True)
class Service:
    """One program that runs as a service.

    ``before`` are commands that run before each start, ``after`` those that systemd runs when it is ready. Under
    supervisor everything runs as the user who started it, so ``user``, ``group`` and ``groups`` are for systemd.
    ``revive_after`` is in seconds, 0 for never; supervisor restarts at once or never. ``writable`` are the only
    directories that the program may write.
    """

    name: str
    description: str
    command: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    user: str = ""
    group: str = ""
    groups: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    type: str = "simple"
    writable: Sequence[str] = ()
    open_files: int = 65535
    revive_after: float = 1.0

    def unit(self, manager: Manager) -> str:
        """The text of the systemd unit or of the supervisor program."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        assignments = sorted((name, str(value)) for name, value in self.environment.items())
        if manager.kind == "systemd":
            values["environment"] = [f"{name}={_escaped(value)}" for name, value in assignments]
            values["restart"] = "always" if self.revive_after > 0 else "no"
            return render("service", "unit.service.j2", **values)
        # Not by supervisor's own directive, which takes no value with both kinds of quotes, nor one that ends with one.
        exports = [f"export {name}={shlex.quote(value)}" for name, value in assignments]
        values["command"] = shlex.quote(" && ".join([*exports, *self.before, f"exec {self.command}"])).replace(
            "%", "%%"
        )
        values["restart"] = "true" if 0 < self.revive_after <= 1 else "false"
        return render("service", "program.conf.j2", directory=manager.directory, **values)


def _escaped(value: str) -> str:
    """A value in double quotes, see systemd.exec(5), "Environment=", and systemd.unit(5), "Specifiers"."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
