"""The rules for an inventory, in one table: what `make preflight` and the first play of site.yml check."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from deployment.checks import access, django, servers, variables
from deployment.checks.problems import ERROR, WARNING, Problem, Rule, problems
from deployment.checks.servers import each
from deployment.model import Inventory

RULES = (
    Rule("unreadable-variable", variables.unreadable),
    Rule("unknown-variable", variables.unknown_variables),
    Rule("wrong-value", variables.types),
    Rule("missing-secret", variables.secrets_missing),
    Rule("weak-secret", variables.secrets_weak),
    Rule("unwritable-secret", variables.secrets_unwritable),
    Rule("secret-in-the-open", variables.secrets_in_the_open, WARNING),
    Rule("secret-in-environment", variables.secrets_in_environment, WARNING),
    Rule("environment", variables.environment),
    Rule("directive", variables.directives),
    Rule("empty-group", servers.empty_groups),
    Rule("two-deployments", servers.two_deployments),
    Rule("not-the-same", each(servers.same_everywhere)),
    Rule("mode-not-said", each(servers.mode_not_said), WARNING),
    Rule("leader", each(servers.leader)),
    Rule("same-port", servers.places),
    Rule("bind", each(servers.binds)),
    Rule("same-address", each(servers.same_address)),
    Rule("address", each(servers.addresses)),
    Rule("socket", each(servers.sockets)),
    Rule("account", each(servers.accounts)),
    Rule("replicas", each(servers.replicas)),
    Rule("empty-restart", each(servers.persistence)),
    Rule("memory", each(servers.memory)),
    Rule("memory-policy", each(servers.memory_doubts), WARNING),
    Rule("sentinels", each(servers.sentinels)),
    Rule("cluster", each(servers.cluster)),
    Rule("tls", each(access.tls)),
    Rule("users-off", each(access.users_off), WARNING),
    Rule("app-rules", each(access.app_rules)),
    Rule("broad-app-rules", each(access.broad_app_rules), WARNING),
    Rule("networks", each(access.networks)),
    Rule("open-to-all", each(access.open_to_all), WARNING),
    Rule("needs-systemd", each(access.needs_systemd)),
    Rule("rights", each(servers.rights)),
    Rule("django-twice", django.twice),
    Rule("client", each(django.clients)),
    Rule("alias", each(django.aliases)),
    Rule("alias-policy", each(django.alias_warnings), WARNING),
    Rule("caches", each(django.caches)),
    Rule("settings", each(django.settings)),
    Rule("python-name", each(django.names)),
)

# Those for a single value, which need not know the other hosts.
OF_VALUES = tuple(rule for rule in RULES if rule.id in ("unreadable-variable", "wrong-value"))


def inventory_problems(inventory: Inventory) -> list[Problem]:
    """Return everything that is wrong with an inventory, errors first. Contacts nobody."""
    return problems(RULES, inventory, inventory.groups)


def known_problems(inventory: Inventory, looked: Collection[str], of_values: bool = False) -> list[Problem]:
    """Return the errors of an inventory whose hosts have said their facts; warnings were given before that.

    Hosts that were not ``looked`` at may have values that nobody knows yet: they are left out, and then, or with
    ``of_values``, so are the rules for several hosts.
    """
    known = replace(
        inventory,
        variables={host: own for host, own in inventory.variables.items() if host in looked},
        unreadable={host: own for host, own in inventory.unreadable.items() if host in looked},
    )
    chosen = RULES if not of_values and len(known.variables) == len(inventory.variables) else OF_VALUES
    return [problem for problem in problems(chosen, known, inventory.groups) if problem.severity == ERROR]
