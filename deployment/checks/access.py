"""Rules for who may reach what, and do what there: TLS, users, firewalls."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from deployment.checks.problems import NOTHING, Finding
from deployment.model import Deployment, django_version
from deployment.render.firewall import ALLOW, MONITORING, WEB, advice

# One rule of an ACL, for keys, channels or commands.
# https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
ACL_RULE = re.compile(r"~\S+|%(R|W|RW)~\S+|&\S+|[+-]@?[a-z0-9][a-z0-9._|-]*|allkeys|allchannels|resetchannels", re.I)
# Those with which a user can give itself every other one.
BROAD_RULE = re.compile(r"[+]@(all|admin|dangerous)|[+](acl|config|debug|module|replicaof|slaveof)([|].*)?", re.I)
# Those that take from Django what its caches need.
TAKING_RULE = re.compile("-@.*")
# The first Django that comes with a gunicorn that takes networks.
NETWORKS_SINCE = (5, 2)


def tls(deployment: Deployment) -> Iterator[Finding]:
    """With certificates of your own, every Redis host has all three `redis_tls_*_file`, and Django the authority's.

    Without, no host has any of them.
    """
    own = ("redis_tls_cert_file", "redis_tls_key_file", "redis_tls_ca_file")
    hosts = [host for host in (*deployment.nodes, *deployment.watching) if deployment.get(host, "redis_tls") is True]
    for host in dict.fromkeys(hosts):
        given = {name: deployment.get(host, name) for name in own}
        for name, path in given.items():
            if not isinstance(path, str) or not (path.startswith("/") or not any(given.values())):
                wrong = "the other files of redis_tls are given, this is not" if not path else "it is no absolute path"
                fix = "write the path of a file on the Redis host, or none of the three for certificates that are made"
                yield Finding(host, name, path or NOTHING, wrong, fix)
        days, before = (deployment.whole(host, f"redis_tls_{name}") for name in ("days", "renew_before_days"))
        if days is not None and before is not None and before >= days:
            wrong = f"with redis_tls_days {days} every run would make new certificates"
            yield Finding(host, "redis_tls_renew_before_days", before, wrong, f"write less than {days}")
    makers = {bool(deployment.get(host, "redis_tls_cert_file")): host for host in dict.fromkeys(hosts)}
    if len(makers) > 1:
        wrong = f"{makers[True]} has files of its own, and clients trust one authority alone"
        fix = "give all hosts files of their own, or none"
        yield Finding(makers[False], "redis_tls_cert_file", NOTHING, wrong, fix)
    has_own = True in makers
    for host in deployment.apps if has_own else ():
        if not deployment.get(host, "django_app_redis_ca_file"):
            wrong = "the servers have certificates of their own, and Django would not trust them"
            fix = "write the path of the authority's file on the Django host"
            yield Finding(host, "django_app_redis_ca_file", NOTHING, wrong, fix)


def users_off(deployment: Deployment) -> Iterator[Finding]:
    """Without users whoever has Django's password may do everything."""
    for host in deployment.nodes:
        if deployment.get(host, "redis_acl") is False:
            wrong = "one password opens everything: whoever has Django's can read, delete and reconfigure all of it"
            yield Finding(host, "redis_acl", False, wrong, "remove it, unless the servers are older than Redis 6")


def broad_app_rules(deployment: Deployment) -> Iterator[Finding]:
    """With commands for administrators whoever has Django's password is one."""
    for host in deployment.nodes:
        for rule in deployment.listed(host, "redis_app_rules"):
            if BROAD_RULE.fullmatch(str(rule)):
                wrong = "whoever has Django's password can reconfigure the server, and make users"
                yield Finding(host, "redis_app_rules", rule, wrong, "name the commands that the project needs")


def app_rules(deployment: Deployment) -> Iterator[Finding]:
    """What Django's user may do on top is said in single rules, none of which is about how it logs in."""
    for host in deployment.nodes:
        for number, rule in enumerate(deployment.listed(host, "redis_app_rules"), 1):
            if not ACL_RULE.fullmatch(str(rule)):
                # What is no rule may be a password.
                wrong = f"number {number} is no rule for keys, channels or commands"
                fix = "write one such as ~queue:*, &news or +lpush, each of them an entry of its own"
                yield Finding(host, "redis_app_rules", NOTHING, wrong, fix)
            elif TAKING_RULE.fullmatch(str(rule)):
                wrong = "it takes commands from Django that its caches need"
                yield Finding(host, "redis_app_rules", rule, wrong, "name single commands, such as -flushdb")


def networks(deployment: Deployment) -> Iterator[Finding]:
    """Who may reach a port, and whose word is taken, is said by address: behind a name may be anybody."""
    for host in deployment.hosts:
        for name in (ALLOW, MONITORING, WEB):
            for value in deployment.listed(host, name):
                yield from _network(host, name, str(value))
    for host in deployment.apps:
        version = deployment.get(host, "django_app_django_version")
        for value in deployment.listed(host, "django_app_proxies"):
            yield from _network(host, "django_app_proxies", str(value))
            if "/" in str(value) and django_version(version) < NETWORKS_SINCE:
                wrong = f"with Django {version} comes a gunicorn that takes no networks"
                yield Finding(host, "django_app_proxies", value, wrong, "write addresses, or a later Django")


def open_to_all(deployment: Deployment) -> Iterator[Finding]:
    """Who lets everybody reach the servers leaves it to passwords alone."""
    for host in deployment.hosts:
        for name in (ALLOW, MONITORING):
            for value in deployment.listed(host, name):
                if str(value).endswith("/0"):
                    wrong = "everybody may reach these ports"
                    yield Finding(host, name, value, wrong, "name the networks that need them")


def _network(host: str, name: str, value: str) -> Iterator[Finding]:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        wrong, _, fix = advice(value).partition(": ")
        yield Finding(host, name, value, f"it {wrong}", fix)


def needs_systemd(deployment: Deployment) -> Iterator[Finding]:
    """Firewalls and exporters are run by systemd alone, and exporters ask by the port."""
    for name, hosts in (("firewall_enabled", deployment.hosts), ("redis_exporter_enabled", deployment.nodes)):
        for host in hosts:
            if deployment.get(host, name) is True and deployment.get(host, "service_manager") != "systemd":
                yield Finding(host, name, True, "the services of this host run under supervisor", "write false")
    for host in deployment.nodes:
        by_socket = deployment.mode == "standalone" and deployment.get(host, "redis_socket")
        has_port = deployment.variables[host].get("redis_tcp", not by_socket)
        if deployment.get(host, "redis_exporter_enabled") is True and not has_port:
            wrong = "it asks the server by its port, and this one has a socket alone"
            yield Finding(host, "redis_exporter_enabled", True, wrong, "write redis_tcp: true, or false here")
