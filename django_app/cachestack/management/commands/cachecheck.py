"""`manage.py cachecheck`: run every cache operation against this project's caches."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cachestack.aliases import Alias, get_aliases
from cachestack.cachecheck.report import as_dict, as_table, failures, summary
from cachestack.cachecheck.runner import run_operations


class Command(BaseCommand):
    """A thin front: see cachestack.cachecheck."""

    help = (
        "Runs every operation of Django's cache API against the caches in CACHES, under keys of its own, which it "
        "deletes afterwards. Exits with 1 if an operation fails, and names it on stderr."
    )
    # The caches are asked, not the project.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --alias, --json and --wait."""
        parser.add_argument(
            "--alias", action="append", metavar="NAME", help="An alias of CACHES; may be repeated. Default: all."
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object instead of the table.")
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="How long a read may wait for a replica. Default: 2 if LOCATION has several servers, else 0.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the operations and print the report. Raise CommandError if one failed."""
        runs = run_operations(_choose(options["alias"]), options["wait"])
        if options["json"]:
            self.stdout.write(json.dumps(as_dict(runs), indent=2))
        else:
            for line, failed in as_table(runs):
                self.stdout.write(line, self.style.ERROR if failed else None)
            self.stdout.write(summary(runs))
        failed_lines = failures(runs)
        if failed_lines:
            raise CommandError("\n".join(["cachecheck failed:", *failed_lines]))


def _choose(names: list[str] | None) -> list[Alias]:
    aliases = {alias.name: alias for alias in get_aliases()}
    unknown = [name for name in names or [] if name not in aliases]
    if unknown:
        raise CommandError(f"CACHES has no alias {', '.join(unknown)}; it has {', '.join(aliases)}.")
    return [aliases[name] for name in dict.fromkeys(names or aliases)]
