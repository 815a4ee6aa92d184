"""The steps of a run on the control node: each takes what is known by then, and returns what the next one needs.

``look`` says what to ask each host, ``compare`` what each host is compared with, ``plan`` what would be done in which
step, ``apply`` what each step applies, ``report`` what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from deployment.changes import PREFIX, Changes
from deployment.checks.facts import host_problems
from deployment.descriptions import described, secrets, verification
from deployment.errors import DeploymentError
from deployment.plan import deployment_plan
from deployment.report import cachecheck_faults, deployment_summary, sentinel_faults, topology_faults
from deployment.site import Site
from deployment.states import States


class RunError(DeploymentError):
    """The run cannot go on; the text says why, what to do, and that nothing was changed."""


def look(site: Site, briefly: bool = False) -> dict[str, Any]:
    """What to ask each host (``hosts``), and the git repositories that the control node must have (``checkouts``).

    ``briefly``: only what runs, of the hosts that the mode may use, and as it is while a failover goes on.
    """
    # Nobody has said who leads.
    states = States(site)
    checkouts = [
        {"repo": app.source, "version": app.text("django_app_src_version"), "dest": app.checkout}
        for app in states.apps.values()
        if app.is_git
    ]
    return {
        "hosts": {name: asked for name in states.names if (asked := states.questions(name, briefly))},
        "checkouts": [one for index, one in enumerate(checkouts) if one not in checkouts[:index]],
    }


def check_asked(site: Site) -> None:
    """Refuse to ask only some of the servers who leads. Raises RunError.

    With a part of the servers, one that came back empty would lead.
    """
    for cache in site.caches:
        everybody = [*cache.deployment.redis, *(cache.deployment.sentinels if cache.mode == "sentinel" else ())]
        asked = [name for name in everybody if name in site.looked]
        if asked and len(asked) < len(everybody):
            sentinels = f",{cache.deployment.sentinel_group}" if cache.mode == "sentinel" else ""
            raise RunError(
                f"who leads is asked of all servers: add {cache.deployment.group}{sentinels} to --limit, and take a "
                f"server that is lost out of the inventory. Nothing was changed."
            )


def problems(site: Site) -> dict[str, Any]:
    """What is wrong on the hosts: ``problems``, each a dict, and ``text`` for people. Raises DeploymentError."""
    check_asked(site)
    states = States(site)
    return host_problems(states.judged, site.groups)


def compare(site: Site) -> dict[str, Any]:
    """What each host is compared with, as the module host_apply takes it, without the hosts that have nothing."""
    states = States(site)
    found = {name: states.state(name) for name in site.looked}
    hosts = {name: state for name, state in found.items() if state["sections"]}
    return {"hosts": hosts, "groups": [{"host": name, "groups": [f"{PREFIX}compare"]} for name in hosts]}


def plan(site: Site, compared: Mapping[str, Any]) -> dict[str, Any]:
    """What would be done: the ``plan``, and what the playbooks need to do it.

    ``steps`` has the hosts that have something to do in each step, and ``groups`` the same by host; ``install`` by host
    what its tasks need; ``forgets`` is whether a Sentinel is to forget somebody; ``finish_waits_for`` are the Django
    hosts without whose deployment former passwords stay valid.
    """
    changes = Changes(States(site), compared)
    return {
        "plan": deployment_plan(changes),
        "groups": changes.groups(),
        "steps": changes.steps,
        "install": {name: changes.states.install(name) for name in changes.steps.get("install", ())},
        "forgets": changes.forgets,
        "finish_waits_for": changes.finish_waits_for,
    }


def apply(site: Site, steps: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What each step applies to each host: ``hosts``, by step what the module host_apply takes.

    Two entries are for tasks instead: ``release`` of a Django host, and ``restart`` of a server.

    Issues the certificates that are missing, and packs the releases that are new, on the control node.
    """
    states = States(site)
    for authority in states.authorities.values():
        if authority.reasons:
            authority.issue()
    states = States(site, has_issued=True)
    hosts: dict[str, dict[str, Any]] = {}
    for name in site.looked:
        hosts[name] = states.steps(name)
        if name in states.apps and name in steps.get("django_app", ()):
            hosts[name]["release"] = states.apps[name].pack()
        if name in states.used:
            hosts[name]["restart"] = states.restart(name)
    return {"hosts": hosts}


def verify(site: Site) -> dict[str, Any]:
    """What verify asks each host (``hosts``), and the ``moment`` that tells its values from others.

    Raises RunError where the servers' roles are not those of the mode.
    """
    check_protocol(site)
    states = States(site)
    faults = [fault for cache in site.caches for fault in topology_faults(cache.nodes, site.known, cache.mode)]
    faults += [
        f"{name}: {fault}"
        for name, sentinel in states.watching.items()
        for fault in sentinel_faults(sentinel.sentinel_reply, sentinel.cache.leader)
    ]
    if faults:
        raise RunError("; ".join(faults))
    moment = datetime.now(timezone.utc).isoformat()
    return {"hosts": {name: verification(states, name) for name in site.looked}, "moment": moment}


def cachecheck(site: Site, reports: Mapping[str, Any]) -> list[str]:
    """What is wrong with the caches that Django loaded, by host what `manage.py cachecheck --json` printed."""
    apps, found = States(site).apps, []
    for name, report in reports.items():
        app = apps[name]
        nodes = [] if app.own_caches else app.cache.nodes
        faults = cachecheck_faults(report, nodes, app.cache.mode, app.client, service=app.cache.service)
        found += [f"{name}: {fault}" for fault in faults]
    return found


def check_protocol(site: Site) -> None:
    """Refuse to ask servers in another way than they speak. Raises RunError."""
    states = States(site)
    names = [name for name in site.looked if states.changes_protocol(name)]
    if names:
        raise RunError(
            f"redis_tls of {', '.join(names)} is not what its server speaks, or its Sentinel's certificate has expired "
            "or is of another authority. Where site.yml or make up was given -e or ARGS, give the same here; else run "
            "site.yml, which changes what they speak and replaces such certificates."
        )


def renew(site: Site, check_mode: bool = False) -> dict[str, Any]:
    """New certificates: who gets one (``issued``), what is applied to each host (``hosts``), what to the ``sentinels``.

    In check mode none is issued, and nothing is applied. Raises RunError where a server has no TLS.
    """
    check_protocol(site)
    states = States(site)
    servers = {**states.watching, **states.used}
    plain = [name for name, server in servers.items() if not server.tls]
    if plain or not servers:
        raise RunError(
            f"{', '.join(plain) or 'no host'} has no TLS, so there is nothing to renew; "
            "write redis_tls: true and deploy first"
        )
    authorities = [replace(authority, renew=True) for authority in states.authorities.values()]
    issued = [name for authority in authorities for name in authority.reasons]
    if check_mode:
        return {"issued": issued, "hosts": {}, "sentinels": {}}
    for authority in authorities:
        authority.issue()
    states = States(site, has_issued=True)
    hosts = {name: states.renewal(name) for name in servers}
    sentinels = {name: states.steps(name)["restart_sentinel"] for name in states.watching}
    return {"issued": issued, "hosts": hosts, "sentinels": sentinels}


def local_checks(site: Site) -> dict[str, Any]:
    """By host how its exporter and its firewall are checked, which needs no other host."""
    states = States(site)
    found = {name: verification(states, name) for name in site.looked}
    return {name: {word: own[word] for word in ("exporter", "firewall") if word in own} for name, own in found.items()}


def describe(site: Site) -> dict[str, Any]:
    """By host how what runs there is reached."""
    states = States(site)
    return {name: described(states, name) for name in site.looked}


def disclose(site: Site) -> dict[str, Any]:
    """By host the same, and its secrets."""
    states = States(site)
    return {name: {**described(states, name), **secrets(states, name)} for name in site.looked}


def settings(site: Site) -> dict[str, str]:
    """By Django host its cache settings, for a settings.py of one's own. Contacts nobody."""
    return {name: app.settings_to_paste() for name, app in States(site).apps.items()}


def report(site: Site) -> str:
    """What runs, a line for each server, for people."""
    texts = []
    apps = States(site).apps
    for cache in site.caches:
        texts.append(deployment_summary(cache, [apps[name] for name in cache.deployment.apps]))
    return "\n\n".join(texts)
