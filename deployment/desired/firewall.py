"""The desired state of a machine's firewall, which one of its hosts keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployment.desired.parts import Part, absent, directory, file
from deployment.render.service import Manager
from deployment.render.templates import render

NAME = "cachestack-firewall"
UNIT = f"/etc/systemd/system/{NAME}.service"
RULES = f"/etc/{NAME}.nft"
PACKAGE, PROGRAM = "nftables", "/usr/sbin/nft"
# Debian's own service empties the ruleset whenever it starts and reloads.
DROP_IN = f"/etc/systemd/system/nftables.service.d/{NAME}.conf"
ROOT = {"owner": "root", "group": "root", "mode": "0644"}
LOAD: Part = {"part": "firewall_load", "file": RULES, "name": NAME}


def parts(ports: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The rules for these ports (see deployment.render.firewall), loaded at each boot and by Debian's service."""
    return [
        file(
            RULES,
            render("firewall", "rules.nft.j2", ports=ports),
            **ROOT,
            validate=[PROGRAM, "-c", "-f", "%s"],
        ),
        file(UNIT, render("firewall", "unit.service.j2", rules=RULES), **ROOT),
        directory(DROP_IN.rpartition("/")[0], "root", "root", "0755"),
        file(DROP_IN, render("firewall", "nftables.conf.j2", rules=RULES), **ROOT),
        LOAD,
    ]


def retired_parts() -> list[Part]:
    """No rules. First what Debian's service loads, so that nothing comes back."""
    reference = Manager("systemd").reference(NAME)
    return [absent("rules", DROP_IN, RULES), {"part": "service_absent", **reference}]
