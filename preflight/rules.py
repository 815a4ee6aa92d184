"""The rules for an inventory, in one table: what `make preflight` and the first play of site.yml check."""

from __future__ import annotations

from preflight import rules_access, rules_django, rules_servers, rules_words
from preflight.inventory import Inventory
from preflight.problems import WARNING, Problem, Rule, problems
from preflight.rules_servers import each

RULES = (
    Rule("unreadable-variable", rules_words.unreadable),
    Rule("unknown-variable", rules_words.unknown_variables),
    Rule("wrong-value", rules_words.types),
    Rule("missing-secret", rules_words.secrets_missing),
    Rule("weak-secret", rules_words.secrets_weak),
    Rule("unwritable-secret", rules_words.secrets_unwritable),
    Rule("secret-in-the-open", rules_words.secrets_in_the_open, WARNING),
    Rule("secret-in-environment", rules_words.secrets_in_environment, WARNING),
    Rule("directive", rules_words.directives),
    Rule("empty-group", rules_servers.empty_groups),
    Rule("two-deployments", rules_servers.two_deployments),
    Rule("not-the-same", each(rules_servers.same_everywhere)),
    Rule("mode-not-said", each(rules_servers.mode_not_said), WARNING),
    Rule("leader", each(rules_servers.leader)),
    Rule("same-port", rules_servers.places),
    Rule("bind", each(rules_servers.binds)),
    Rule("same-address", each(rules_servers.same_address)),
    Rule("address", each(rules_servers.addresses)),
    Rule("socket", each(rules_servers.sockets)),
    Rule("account", each(rules_servers.accounts)),
    Rule("replicas", each(rules_servers.replicas)),
    Rule("empty-restart", each(rules_servers.persistence)),
    Rule("memory", each(rules_servers.memory)),
    Rule("memory-policy", each(rules_servers.memory_doubts), WARNING),
    Rule("sentinels", each(rules_servers.sentinels)),
    Rule("cluster", each(rules_servers.cluster)),
    Rule("tls", each(rules_access.tls)),
    Rule("users-off", each(rules_access.users_off), WARNING),
    Rule("app-rules", each(rules_access.app_rules)),
    Rule("broad-app-rules", each(rules_access.broad_app_rules), WARNING),
    Rule("networks", each(rules_access.networks)),
    Rule("open-to-all", each(rules_access.open_to_all), WARNING),
    Rule("needs-systemd", each(rules_access.needs_systemd)),
    Rule("rights", each(rules_servers.rights)),
    Rule("client", each(rules_django.clients)),
    Rule("alias", each(rules_django.aliases)),
    Rule("alias-policy", each(rules_django.alias_warnings), WARNING),
    Rule("caches", each(rules_django.caches)),
    Rule("settings", each(rules_django.settings)),
    Rule("python-name", each(rules_django.names)),
)


def inventory_problems(inventory: Inventory) -> list[Problem]:
    """Return everything that is wrong with an inventory, errors first. Contacts nobody."""
    return problems(RULES, inventory, inventory.groups)
