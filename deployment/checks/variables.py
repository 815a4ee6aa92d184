"""Rules for single variables: their names, their values, and the secrets among them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deployment.checks.directives import ALSO_VARIABLES, DIRECTIVES, OWNED, OWNED_BY_SENTINEL, WHOLE
from deployment.checks.problems import NOTHING, Finding
from deployment.model import Deployment, Inventory
from deployment.secrets import SECRET_IN_ENVIRONMENT, SECRET_URL
from deployment.specs import Option, is_whole
from deployment.words import closest

# Every variable that begins like this is ours.
PREFIXES = ("cache_", "redis_", "sentinel_", "django_", "firewall_", "service_", "summary_")
# What the first part of a name may have been meant to be.
STEMS = ("cache", "redis", "sentinel", "cluster", "django", "firewall", "service", "summary")
# Of Ansible's own variables those without which it goes to other hosts, or as somebody else.
CONNECTION = ("ansible_become", "ansible_connection", "ansible_host", "ansible_port", "ansible_user")
# How alike names are when one of them is a slip of the other, and when both begin alike.
SLIP, LIKELY = 0.85, 0.7
# The least characters of a password, and of Django's SECRET_KEY as its own check has it.
PASSWORD_LENGTH, KEY_LENGTH = 32, 50
# What it means that one of these is not there; without any other one a server is open.
DANGERS = {
    "django_app_secret_key": "Django needs one that is kept",
    "redis_admin_password": "the roles need one of their own, since with Django's one may do little",
}
# The least different characters.
VARIETY = 5
COMMON = re.compile(r"(changeme|change_me|foobared|password|passw0rd|secret|letmein|admin|redis|123456)+", re.I)


def may_be_ours(name: str) -> bool:
    """Tell whether a variable is one of ours, or was perhaps meant to be."""
    if name.startswith("ansible_"):
        return name not in CONNECTION and closest(name, CONNECTION, 0.93) is not None
    stem = name.partition("_")[0]
    return name.startswith(PREFIXES) or closest(stem, STEMS, SLIP - 0.1) is not None or name.startswith(STEMS)


def unreadable(inventory: Inventory) -> Iterator[Finding]:
    """A variable whose value nobody can have, such as one that names another one that is not there."""
    for host, names in inventory.unreadable.items():
        for name, reason in names.items():
            yield Finding(
                host, name, NOTHING, f"its value cannot be had: {reason}", "correct it, or define what it names"
            )


def unknown_variables(inventory: Inventory) -> Iterator[Finding]:
    """A slip in a name would silently leave the default in place."""
    known = inventory.options
    advice: dict[str, str | None] = {}
    for host, variables in inventory.variables.items():
        for name in (*variables, *inventory.unreadable.get(host, ())):
            if name in known or not may_be_ours(name):
                continue
            if name not in advice:
                choices = CONNECTION if name.startswith("ansible_") else known
                advice[name] = closest(name, choices, LIKELY if name.startswith(PREFIXES) else SLIP)
            if advice[name] or name.startswith(PREFIXES):
                meant = f"did you mean {advice[name]}?" if advice[name] else "remove it, or give it another prefix"
                yield Finding(host, name, NOTHING, "this is an unknown variable", meant)


def types(inventory: Inventory) -> Iterator[Finding]:
    """A value of another type, such as a number in quotes, is found at run time only, or never."""
    seen: dict[tuple[str, str, str], tuple[str, str] | None] = {}
    for host, variables in inventory.variables.items():
        for name, value in variables.items():
            option = inventory.options.get(name)
            if option is None:
                continue
            key = (name, type(value).__name__, repr(value))
            if key not in seen:
                seen[key] = option.fault(value)
            if wrong := seen[key]:
                # What stands in a mapping's place may hold what the mapping would.
                yield Finding(host, name, NOTHING if option.type == "dict" else value, *wrong)


def secrets_missing(inventory: Inventory) -> Iterator[Finding]:
    """A server without a password is open to everyone who reaches it, and who writes to a cache runs code in Django."""
    for host, name, value in _secrets(inventory):
        if name in inventory.unreadable.get(host, ()) or not (value is None or str(value) == ""):
            continue
        danger = DANGERS.get(name, "anyone could read and write the cache, and through pickle run code in Django")
        yield Finding(
            host, name, NOTHING, f"it is empty: {danger}", "set it, best from Ansible Vault (try: make secret)"
        )


def secrets_weak(inventory: Inventory) -> Iterator[Finding]:
    """A password that can be guessed is none, nor is one that others have: with Django's one would be the admin."""
    for host, name, value in _secrets(inventory):
        text = "" if value is None else str(value)
        least = KEY_LENGTH if name == "django_app_secret_key" else PASSWORD_LENGTH
        wrong = ""
        if not text:
            continue
        if text.startswith("django-insecure-"):
            wrong = "it is the one that startproject makes, which is for development"
        elif COMMON.fullmatch(text):
            wrong = "it is a common password"
        elif len(text) < least:
            wrong = f"it is {len(text)} characters long"
        elif len(set(text)) < VARIETY:
            wrong = f"it has {len(set(text))} different characters"
        if wrong:
            yield Finding(
                host,
                name,
                NOTHING,
                wrong,
                f"wanted {least} characters or more that nobody can guess (try: make secret)",
            )
    for deployment in inventory.deployments:
        first: dict[str, str] = {}
        for host, name, value in _secrets_of(deployment):
            text = "" if value is None else str(value)
            other = first.setdefault(text, name)
            if text and other != name:
                wrong = f"it is the same as {other}, so that who has one has both"
                yield Finding(host, name, NOTHING, wrong, "write another one (try: make secret)")


def _secrets(inventory: Inventory) -> Iterator[tuple[str, str, Any]]:
    """Each secret that the deployments need: host, variable, value."""
    for deployment in inventory.deployments:
        yield from _secrets_of(deployment)


def _secrets_of(deployment: Deployment) -> Iterator[tuple[str, str, Any]]:
    for host in deployment.nodes:
        yield host, "redis_password", deployment.get(host, "redis_password")
    for host in dict.fromkeys([*deployment.nodes, *deployment.watching]):
        if deployment.get(host, "redis_acl") is True:
            yield host, "redis_admin_password", deployment.get(host, "redis_admin_password")
    for host in (deployment.sentinels or deployment.nodes) if deployment.mode == "sentinel" else ():
        yield host, "redis_sentinel_password", deployment.get(host, "redis_sentinel_password")
    for host in deployment.apps:
        yield host, "django_app_secret_key", deployment.get(host, "django_app_secret_key")


def secrets_unwritable(inventory: Inventory) -> Iterator[Finding]:
    """Neither Redis nor Django would have the same text again."""
    for host, name, value in _secrets(inventory):
        if isinstance(value, str) and any(ord(character) < 32 or ord(character) == 127 for character in value):
            fix = "remove it; a vault file that ends in a line break adds one"
            yield Finding(host, name, NOTHING, "it has a line break or another control character", fix)


def secrets_in_the_open(inventory: Inventory) -> Iterator[Finding]:
    """Whoever reads the repository has it."""
    for path, name in inventory.plain_secrets:
        yield Finding(path, name, NOTHING, "a secret lies in this file as it is", "put it in an Ansible Vault file")


def secrets_in_environment(inventory: Inventory) -> Iterator[Finding]:
    """The variables of a process are in the unit's file and in manage.py, which everybody on the host may read."""
    for host, variables in inventory.variables.items():
        given = variables.get("django_app_environment")
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if not isinstance(value, str):
                continue
            if (value and SECRET_IN_ENVIRONMENT.fullmatch(str(name))) or SECRET_URL.fullmatch(value):
                wrong = "it looks like a secret, and everybody on the host may read the variables"
                fix = "put it in django_app_settings, best from Ansible Vault"
                yield Finding(host, f"django_app_environment.{name}", NOTHING, wrong, fix)


def environment(inventory: Inventory) -> Iterator[Finding]:
    """Neither systemd, supervisor nor a shell takes a line break in a variable of a process."""
    for host, variables in inventory.variables.items():
        given = variables.get("django_app_environment")
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if isinstance(value, str) and any(ord(character) < 32 or ord(character) == 127 for character in value):
                wrong = "it has a line break or another control character"
                yield Finding(host, f"django_app_environment.{name}", NOTHING, wrong, "put it in django_app_settings")


def directives(inventory: Inventory) -> Iterator[Finding]:
    """A directive that a variable decides as well, that Redis does not know, or that it would not take."""
    for host, variables in inventory.variables.items():
        for variable, owned in (("redis_config", OWNED), ("redis_sentinel_config", OWNED_BY_SENTINEL)):
            given = variables.get(variable)
            for name, value in given.items() if isinstance(given, Mapping) else ():
                for shown, wrong, fix in _directive(str(name).lower(), value, owned, inventory.options):
                    yield Finding(host, f"{variable}.{name}", shown, wrong, fix)


def _directive(
    name: str, value: Any, owned: Mapping[str, str], options: Mapping[str, Option]
) -> Iterator[tuple[Any, str, str]]:
    """What is wrong with a directive: the value to show, why, and what to write."""
    if name in owned:
        yield NOTHING, "the bundle decides this directive", owned[name]
    elif name not in DIRECTIVES and not name.startswith("sentinel ") and (meant := closest(name, DIRECTIVES, 0.8)):
        yield NOTHING, "Redis has no such directive", f"did you mean {meant}?"
    elif isinstance(value, Mapping):
        yield NOTHING, "it must be text, a number, a list or true or false", "write one"
    elif isinstance(value, str) and any(ord(character) < 32 for character in value):
        yield NOTHING, "it has a line break or another control character", "remove it"
    elif name in ALSO_VARIABLES and (fault := options[ALSO_VARIABLES[name]].fault(value)):
        yield (value, *fault)
    elif name in WHOLE and not (is_whole(value) and int(value) >= 1):
        yield value, "it must be a whole number", "write 1 or more"
