"""Inventories that are wrong in who may reach and do what: each with the rule that says so, and its words."""

from __future__ import annotations

from sample_inventories import (
    Given,
    given,
    standalone,
    without,
)

# (the rule, what is wrong, the words that must be told)
WRONG: dict[str, tuple[str, Given, list[str]]] = {
    "a rule that takes away what caches need": (
        "app-rules",
        standalone(redis_app_rules=["-@all"]),
        ["redis-1: redis_app_rules = '-@all'", "that its caches need", "-flushdb"],
    ),
    "B38 TLS without a certificate": (
        "tls",
        standalone(redis_tls=True, redis_tls_key_file="key.pem", django_app_redis_ca_file="/ca"),
        ["redis_tls_cert_file", "are given, this is not", "redis_tls_key_file = 'key.pem'", "no absolute path"],
    ),
    "TLS that Django does not trust": (
        "tls",
        standalone(redis_tls=True, redis_tls_cert_file="/c", redis_tls_key_file="/k", redis_tls_ca_file="/ca"),
        ["app-1: django_app_redis_ca_file", "would not trust"],
    ),
    "a certificate without its authority": (
        "tls",
        given("cluster", 6, redis_tls=True, redis_tls_cert_file="/c", redis_tls_key_file="/k"),
        ["redis_tls_ca_file", "are given, this is not", "none of the three"],
    ),
    "certificates that are over at once": (
        "tls",
        given("sentinel", 3, 3, redis_tls=True, redis_tls_days=30),
        ["redis_tls_renew_before_days = 30", "redis_tls_days 30", "less than 30"],
    ),
    "commands for administrators": (
        "broad-app-rules",
        standalone(redis_app_rules=["~queue:*", "+CONFIG|get"]),
        ["redis-1: redis_app_rules = '+CONFIG|get'", "can reconfigure the server"],
    ),
    "a firewall for nobody": (
        "open-to-all",
        standalone(firewall_enabled=True, firewall_allow=["192.0.2.7", "0.0.0.0/0"]),
        ["firewall_allow = '0.0.0.0/0'", "everybody may reach"],
    ),
    "one password for everything": (
        "users-off",
        without(standalone(redis_acl=False), "redis_admin_password"),
        ["redis-1: redis_acl = False", "one password opens everything"],
    ),
    "a password among the rules": (
        "app-rules",
        standalone(redis_app_rules=["+lpush", ">hunter2"]),
        ["redis-1: redis_app_rules: number 2 is no rule", "~queue:*"],
    ),
    "two rules in one": ("app-rules", standalone(redis_app_rules=["~queue:* +lpush"]), ["number 1", "of its own"]),
    "a user that anybody is": ("app-rules", standalone(redis_app_rules=["nopass"]), ["number 1"]),
    "a user that is reset": ("app-rules", standalone(redis_app_rules=["reset", "~*"]), ["number 1"]),
    "a name in a firewall": (
        "networks",
        given("sentinel", 3, 3, firewall_allow=["proxy.example.com"]),
        ["all hosts: firewall_allow = 'proxy.example.com': it is no address and no network", "such as 192.0.2.7"],
    ),
    "an address in a network": (
        "networks",
        standalone(firewall_monitoring=["192.0.2.7/24"]),
        ["firewall_monitoring = '192.0.2.7/24'", "it is an address within a network", "192.0.2.7 or 192.0.2.0/24"],
    ),
    "everybody in a word": ("networks", standalone(firewall_web=["*"]), ["firewall_web = '*'", "no network"]),
    "a web server by name": (
        "networks",
        standalone(django_app_proxies=["web-1"]),
        ["app-1: django_app_proxies = 'web-1'", "it is no address"],
    ),
    "a network of web servers for an older Django": (
        "networks",
        standalone(django_app_proxies=["192.0.2.0/24"], django_app_django_version="4.2"),
        ["app-1: django_app_proxies = '192.0.2.0/24'", "with Django 4.2", "write addresses"],
    ),
    "a firewall without root": (
        "needs-systemd",
        standalone(firewall_enabled=True, service_manager="supervisor"),
        ["all hosts: firewall_enabled = True", "supervisor", "write false"],
    ),
    "an exporter without root": (
        "needs-systemd",
        standalone(redis_exporter_enabled=True, service_manager="supervisor"),
        ["redis-1: redis_exporter_enabled = True", "write false"],
    ),
}
