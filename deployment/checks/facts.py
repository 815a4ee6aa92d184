"""Rules for what only the hosts themselves can say, asked before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployment.addresses import is_loopback
from deployment.checks import versions
from deployment.checks.problems import NOTHING, WARNING, Finding, Rule, as_answer, problems
from deployment.hosts import Host, Hosts, known_hosts
from deployment.model import BUS

# Of a machine's memory, what the data of its servers may take: a copy-on-write save and the system need the rest.
SHARE = 0.6
# As in redis.conf.
UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1000**2, "mb": 1 << 20, "g": 1000**3, "gb": 1 << 30}
# Days in which a certificate can be renewed in time.
RENEWAL = 30
# In which variable a file's path is.
FILES = {"cert_file": "redis_tls_cert_file", "key_file": "redis_tls_key_file", "ca_file": "redis_tls_ca_file"}


def silent(hosts: Hosts) -> Iterator[Finding]:
    """Who leads, and so what Django is told, is known when every server was asked."""
    for app in hosts:
        for name in app.app.get("servers", ()):
            if name not in hosts.by_name or not hosts.by_name[name].reply:
                wrong = "it was not asked who leads: Ansible did not get to every server, or --limit leaves some out"
                limit = f"{app.name},{app.app['group']}"
                fix = f"see what Ansible says above, or add them to --limit, such as --limit {limit}"
                yield Finding(name, "", NOTHING, wrong, fix)


def memory(hosts: Hosts) -> Iterator[Finding]:
    """Servers that may take more than 60 % of their machine's memory are killed by the system when they save."""
    for machine in hosts.machines:
        total = int(machine[0].facts.get("memtotal_mb") or 0) * UNITS["mb"]
        sizes = {host.name: size(host.redis["maxmemory"]) for host in machine}
        if not total or sum(sizes.values()) <= total * SHARE:
            continue
        bound = f"more than {SHARE:.0%} of host memory ({gib(total)})".replace("%", " %")
        wrong = f"it is {bound}"
        if len(sizes) > 1:
            wrong = f"the servers on this machine ({', '.join(sizes)}) may take {gib(sum(sizes.values()))}, {bound}"
        most = int(total * SHARE / len(sizes)) // UNITS["mb"]
        for host in machine:
            name, value = host.redis["maxmemory_variable"], host.redis["maxmemory"]
            yield Finding(host.name, name, value, wrong, f"write {most}mb or less")


def disk(hosts: Hosts) -> Iterator[Finding]:
    """The log and the snapshots of a server that persists need as much room on the disk as its data in memory."""
    disks: dict[tuple[Any, ...], list[Host]] = {}
    for host in hosts:
        if host.redis and host.probe.get("disk"):
            disks.setdefault((host.machine or host.name, host.probe["disk"]["device"]), []).append(host)
    for sharing in disks.values():
        wanted = sum(size(host.redis["maxmemory"]) for host in sharing)
        free = sharing[0].probe["disk"]["free"] + sum(host.probe["disk"]["used"] for host in sharing)
        if wanted > free:
            most = int(free / len(sharing)) // UNITS["mb"]
            for host in sharing:
                folder = host.probe["disk"]["folder"]
                room = f"the disk of {folder} has room for {gib(free)}"
                wrong = f"{room}, and what is kept there may need {gib(wanted)}"
                fix = (
                    f"write {host.redis['maxmemory_variable']}: {most}mb or less, or a redis_data_dir on a larger disk"
                )
                yield Finding(host.name, "redis_data_dir", host.redis["data_dir"], wrong, fix)


def ports(hosts: Hosts) -> Iterator[Finding]:
    """A port that another process has keeps a service from starting."""
    for host in hosts:
        for port, variable, state in _listeners(host):
            if state["state"] == "taken":
                which = "it" if state["port"] == port else f"{state['port']}, the port of the cluster's bus,"
                wrong = f"{which} is taken on {state['address']} by {state['text']}"
                yield Finding(host.name, variable, port, wrong, f"stop that, or set {variable} to a free port")


def binds(hosts: Hosts) -> Iterator[Finding]:
    """A server can only listen on addresses that its host has."""
    for host in hosts:
        for _, variable, state in _listeners(host):
            if state["state"] == "impossible":
                name = variable.replace("_port", "_bind")
                wrong = f"nothing can listen there on this host: {state['text']}"
                have = ", ".join(map(str, host.addresses)) or "none that it told"
                yield Finding(host.name, name, state["address"], wrong, f"write one of its addresses ({have})")


def _listeners(host: Host) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """The port that the inventory has, its variable, and what was found."""
    for state in host.listeners:
        if state["variable"] == "redis_port" and not host.redis:
            # It was looked at before anybody had said that another server leads.
            continue
        is_bus = state["variable"] == "redis_port" and state["port"] != host.redis.get("port")
        yield state["port"] - (BUS if is_bus else 0), state["variable"], state


def loopback(hosts: Hosts) -> Iterator[Finding]:
    """An address that leads back to the host that asks, such as 127.0.1.1 of /etc/hosts, is not another's server."""
    for host, server, target in _targets(hosts):
        own = [one for one in target["resolved"] if is_loopback(one) or one in host.addresses]
        if not own or not host.machine or not server.machine:
            continue
        if host.machine != server.machine:
            what = "would replicate from itself" if host.redis else "would ask itself"
            wrong = f"here it leads to {own[0]}, which is {host.name}: it {what} instead of {server.name}"
            fix = f"set {_of(target)} to one that every host reaches, or correct /etc/hosts of {host.name}"
            yield Finding(host.name, _of(target), target["address"], wrong, fix)
        elif is_loopback(own[0]) and not _listens(server, target, own[0]):
            wrong = f"here it leads to {own[0]}, where {server.name} does not listen"
            fix = f"take it out of the line of {own[0]} in /etc/hosts of {host.name}, or write an IP address"
            yield Finding(host.name, _of(target), target["address"], wrong, fix)


def _listens(server: Host, target: Mapping[str, Any], address: str) -> bool:
    wanted = server.sentinel if target["variable"] == "redis_sentinel_address" else server.redis
    everywhere = "0.0.0.0" if "." in address else "::"
    return bool({address, everywhere, "*"} & {one.lstrip("-") for one in wanted["bind"]})


def unreachable(hosts: Hosts) -> Iterator[Finding]:
    """Django, replicas and Sentinels must reach the servers; that a server is not there yet is no problem.

    Nor is it that the firewall of an earlier run keeps out a host that only this run tells it of.
    """
    for host, server, target in _targets(hosts):
        if target["outcome"] == "unresolvable":
            wrong = f"this host does not know the name ({target['text']})"
            fix = "add it to the name server or to /etc/hosts, or write an IP address"
        elif target["outcome"] == "unreachable" or (target["outcome"] == "timeout" and not server.has_firewall):
            wrong = f"this host does not get through to port {target['port']} there ({target['text']})"
            fix = f"open it in the firewalls between them, or write an address of {server.name} that this host reaches"
        else:
            continue
        yield Finding(host.name, _of(target), target["address"], wrong, fix)


def wrong_server(hosts: Hosts) -> Iterator[Finding]:
    """What answers under a server's address must be that server, and take what the settings say."""
    for host, server, target in _targets(hosts):
        if target["outcome"] != "open" or host.machine == server.machine:
            continue
        port, said = target["port"], target.get("reply")
        fix = f"write the address of {server.name}"
        if server.is_free(port):
            wrong = f"something answers there on port {port}, and on {server.name} nothing does: it leads elsewhere"
            yield Finding(host.name, _of(target), target["address"], wrong, fix)
        # A server that refuses it at home as well is about to be told.
        elif said and said != "PONG" and server.own_reply(port) == "PONG":
            wrong = f"{server.name} takes the inventory's settings on its own host, and to this one it says: {said}"
            if "certificate" in said.lower():
                fix = "write django_app_redis_ca_file: the authority that signed its certificate"
            yield Finding(host.name, _of(target), target["address"], wrong, fix)


def _targets(hosts: Hosts) -> Iterator[tuple[Host, Host, Mapping[str, Any]]]:
    """Each connection to another server: from which host, to whose server, and what became of it."""
    for host in hosts:
        for target in host.targets:
            if target["variable"] and _is_needed(host, target):
                yield host, hosts.by_name.get(target["server"]) or Host(target["server"]), target


def _is_needed(host: Host, target: Mapping[str, Any]) -> bool:
    """Tell whether the host needs that server: a replica alone needs its leader, but not the other replicas."""
    if host.app or host.sentinel or host.redis.get("mode") != "replication":
        return True
    return any(node["role"] == "leader" and node["name"] == target["server"] for node in host.redis["nodes"])


def _of(target: Mapping[str, Any]) -> str:
    return f"{target['variable']} of {target['server']}"


def certificates(hosts: Hosts) -> Iterator[Finding]:
    """The files of TLS must be there and go together, and the certificate must be valid for redis_address."""
    for host in hosts:
        tls, state = host.redis.get("tls") or {}, host.probe.get("certificate") or {}
        for fault in state.get("faults", ()) if tls else ():
            variable = FILES[fault["file"]]
            yield Finding(host.name, variable, tls[fault["file"]] or NOTHING, *_fault(fault, tls, state))
        for fault in host.probe.get("ca_faults") or ():
            path = host.app["ca_file"]
            yield Finding(host.name, "django_app_redis_ca_file", path, *_fault(fault, {}, {}))


def authority(hosts: Hosts) -> Iterator[Finding]:
    """A control machine without the folder of the authority would make another one, and cut all hosts off."""
    for host in hosts:
        tls, trusted = (host.redis or host.sentinel).get("tls") or {}, host.probe.get("issued_by")
        if trusted and tls.get("names") and trusted != tls["authority"] and not tls["may_replace"]:
            there = "another one" if tls["authority"] else "none"
            yield Finding(
                host.name,
                "redis_tls_authority_dir",
                tls["authority_dir"],
                f"the host trusts the authority of an earlier run, and in this folder there is {there}",
                "copy the folder from the machine that deployed before; where it is lost, run once with "
                "-e '{redis_tls_new_authority: true}', which stops all servers together",
            )


def _fault(fault: Mapping[str, str], tls: Mapping[str, str], state: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with a file, and what to do."""
    names = ", ".join(state.get("names", ())) or "nobody"
    renew = "renew it, and run this again"
    said: dict[str, tuple[str, str]] = {
        "missing": ("there is no such file on this host", "put it there, or write the path of one that is there"),
        "unreadable": (f"it cannot be used: {fault['text']}", "write the path of a PEM file"),
        "closed": (
            f"the user {fault['text']} may not read it, or not open a folder above it",
            "chgrp it to that user's group, and chmod 640",
        ),
        "mismatch": (f"it is not the key of the certificate {tls.get('cert_file')}", "write the path of its key"),
        "untrusted": (
            f"the authority in {tls.get('ca_file')} does not vouch for it: {fault['text']}",
            "write redis_tls_ca_file: the authority that signed it",
        ),
        "outdated": (
            f"the authority itself is not valid now: {fault['text']}",
            "write one that is, and that signed it",
        ),
        "name": (
            f"the certificate is for {names}, not {tls.get('name')}",
            f"have one made for {tls.get('name')}, or set redis_address to a name in it",
        ),
        "expired": (f"it expired on {fault['text']}", renew),
        "early": (f"it is valid from {fault['text']} on", "look at the host's clock, or have another one made"),
    }
    return said[fault["kind"]]


def certificates_expire(hosts: Hosts) -> Iterator[Finding]:
    """A certificate that expires takes the cache away; within 30 days it should be renewed."""
    for host in hosts:
        state = host.probe.get("certificate") or {}
        days = state.get("days_left")
        if host.redis and days is not None and 0 <= days < RENEWAL:
            path = host.redis["tls"]["cert_file"]
            wrong = f"it expires {_in_days(days)}"
            yield Finding(host.name, "redis_tls_cert_file", path, wrong, "renew it, and run this again")
        # Of one that the bundle's authority made the server itself has told.
        issued = host.reply.get("days_left") if (host.redis.get("tls") or {}).get("names") else None
        if issued is not None and issued < RENEWAL:
            wrong = f"its certificate expires {_in_days(issued)}"
            yield Finding(host.name, "redis_tls", True, wrong, "run make renew_tls")


def ca_expires(hosts: Hosts) -> Iterator[Finding]:
    """All certificates that a CA has issued expire with it, and nothing renews it: no certificate outlives its CA."""
    for host in hosts:
        tls = host.redis.get("tls") or {}
        days = tls.get("ca_days_left")
        if days is not None and days < RENEWAL:
            yield Finding(
                host.name,
                "redis_tls_authority_dir",
                tls["authority_dir"],
                f"the CA expires {_in_days(days)}, and all certificates with it",
                "before that, delete the directory, and run site.yml once with "
                "-e '{redis_tls_new_authority: true}', which stops all servers together",
            )


def _in_days(days: int) -> str:
    return f"in {days} days" if days > 1 else "within two days"


def size(value: Any) -> int:
    """Return the bytes of a size as redis.conf has it; 0 for no bound, and for what another rule refuses."""
    found = re.fullmatch(r"([0-9]+)([a-z]*)", str(value).strip().lower())
    return int(found[1]) * UNITS.get(found[2], 0) if found else 0


def gib(count: float) -> str:
    """Return bytes for people."""
    return (
        f"{count / UNITS['gb']:.1f} GiB".replace(".0 ", " ")
        if count >= UNITS["gb"]
        else f"{count / UNITS['mb']:.0f} MiB"
    )


RULES = (
    Rule("silent-host", silent),
    Rule("memory-too-small", memory),
    Rule("disk-too-small", disk, WARNING),
    Rule("port-taken", ports),
    Rule("address-not-here", binds),
    Rule("address-is-loopback", loopback),
    Rule("unreachable-server", unreachable),
    Rule("wrong-server", wrong_server),
    Rule("server-program", versions.server_programs),
    Rule("server-too-old", versions.too_old),
    Rule("replica-older-than-leader", versions.older_replicas),
    Rule("mixed-versions", versions.mixed, WARNING),
    Rule("server-features", versions.features),
    Rule("python", versions.python),
    Rule("libraries", versions.libraries),
    Rule("certificate", certificates),
    Rule("authority", authority),
    Rule("certificate-expires", certificates_expire, WARNING),
    Rule("ca-expires", ca_expires, WARNING),
)


def host_problems(hostvars: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what is wrong: `problems`, each a dict, and `text` for people."""
    return as_answer(problems(RULES, known_hosts(hostvars, groups), groups))
