"""Arguments of `make inventory`: right ones for each mode, and wrong ones with what must be said of them."""

from __future__ import annotations

from typing import Any

SIX = "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6"
THREE = "10.0.0.1 10.0.0.2 10.0.0.3"
# Servers that each mode can have.
SERVERS = {"locmem": "", "standalone": "10.0.0.1", "replication": THREE, "sentinel": THREE, "cluster": SIX}


def words(mode: str, client: str = "", **others: str) -> list[str]:
    """Arguments for a right inventory of a mode, with other words in place of some; an empty one is left out."""
    right = {"NAME": "prod", "MODE": mode, "REDIS": SERVERS.get(mode, THREE), "APP": "10.0.0.9", "CLIENT": client}
    return [f"{word}={value}" for word, value in {**right, **others}.items() if value]


# (arguments, the hosts of each group)
HOSTS: list[tuple[list[str], dict[str, dict[str, Any]]]] = [
    (words("locmem"), {"redis": {}, "django_app": {"app-1": {"ansible_host": "10.0.0.9"}}}),
    (
        words("sentinel", REDIS="10.0.0.1,10.0.0.2,  10.0.0.3", APP="10.0.0.8\n10.0.0.9"),
        {
            "redis": {f"redis-{number}": {"ansible_host": f"10.0.0.{number}"} for number in (1, 2, 3)},
            "redis_sentinel": {"redis-1": None, "redis-2": None, "redis-3": None},
            "django_app": {"app-1": {"ansible_host": "10.0.0.8"}, "app-2": {"ansible_host": "10.0.0.9"}},
        },
    ),
    # Names are the hosts' own names, also where one host is in several groups.
    (
        words("standalone", REDIS="Db.example.com", APP="db.example.com"),
        {"redis": {"db.example.com": None}, "django_app": {"db.example.com": None}},
    ),
    # Not where another host has that name, or a group, or where YAML reads something else.
    (
        words("replication", REDIS="redis-2 10.0.0.2 redis", APP="on"),
        {
            "redis": {
                "redis-2": None,
                "redis-1": {"ansible_host": "10.0.0.2"},
                "redis-3": {"ansible_host": "redis"},
            },
            "django_app": {"on": None},
        },
    ),
    # Several servers on one machine.
    (
        words("replication", REDIS="db:6379 db:6380 cache:6379", APP="app:8080"),
        {
            "redis": {
                "redis-1": {"ansible_host": "db", "redis_port": 6379},
                "redis-2": {"ansible_host": "db", "redis_port": 6380},
                "cache": {"redis_port": 6379},
            },
            "django_app": {"app": {"django_app_port": 8080}},
        },
    ),
    (
        words("replication", REDIS="2001:DB8:0::1 [2001:db8::1]:6380 2001:db8::", APP="[2001:db8::9]"),
        {
            "redis": {
                "redis-1": {"ansible_host": "2001:db8::1"},
                "redis-2": {"ansible_host": "2001:db8::1", "redis_port": 6380},
                "redis-3": {"ansible_host": "2001:db8::"},
            },
            "django_app": {"app-1": {"ansible_host": "2001:db8::9"}},
        },
    ),
    # A Sentinel on a machine that has a server has that one's name, once.
    (
        words("sentinel", REDIS="10.0.0.1 db", SENTINEL="10.0.0.1:26380 db 10.0.0.7 watch:26380 10.0.0.1"),
        {
            "redis": {"redis-1": {"ansible_host": "10.0.0.1"}, "db": None},
            "redis_sentinel": {
                "redis-1": {"redis_sentinel_port": 26380},
                "db": None,
                "sentinel-1": {"ansible_host": "10.0.0.7"},
                "watch": {"redis_sentinel_port": 26380},
                "sentinel-2": {"ansible_host": "10.0.0.1"},
            },
            "django_app": {"app-1": {"ansible_host": "10.0.0.9"}},
        },
    ),
    # Without SENTINEL there is one on each machine.
    (
        words("sentinel", REDIS="10.0.0.1:6379 10.0.0.1:6380 db 10.0.0.3"),
        {
            "redis": {
                "redis-1": {"ansible_host": "10.0.0.1", "redis_port": 6379},
                "redis-2": {"ansible_host": "10.0.0.1", "redis_port": 6380},
                "db": None,
                "redis-3": {"ansible_host": "10.0.0.3"},
            },
            "redis_sentinel": {"redis-1": None, "db": None, "redis-3": None},
            "django_app": {"app-1": {"ansible_host": "10.0.0.9"}},
        },
    ),
    # Django on the machine that deploys: it asks the servers, and they do not ask it.
    (
        words("standalone", APP="localhost"),
        {
            "redis": {"redis-1": {"ansible_host": "10.0.0.1"}},
            "django_app": {"app-1": {"ansible_host": "localhost"}},
        },
    ),
    # This machine alone.
    (
        words("replication", REDIS="127.0.0.1 localhost:6380", APP="::1"),
        {
            "redis": {
                "redis-1": {"ansible_host": "127.0.0.1"},
                "redis-2": {"ansible_host": "localhost", "redis_port": 6380},
            },
            "django_app": {"app-1": {"ansible_host": "::1"}},
        },
    ),
]

# (arguments, what must be said of each problem)
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], ["NAME is missing; write NAME=prod", "MODE is missing", "REDIS is missing", "APP is missing"]),
    "empty": (["NAME=", "MODE= ", "REDIS=,", "APP="], ["NAME is", "MODE is", "REDIS is", "APP is missing"]),
    "a slip": (words("sentinel", SENTINELS="10.0.0.7"), ["SENTINELS: it is unknown; did you mean SENTINEL?"]),
    "small letters": (["name=prod", *words("locmem", NAME="")], ["name: it is unknown; did you mean NAME?", "NAME is"]),
    "no word": (["prod", *words("locmem")], ["prod: it is unknown; there are NAME, MODE, REDIS, APP"]),
    "a shipped name": (words("locmem", NAME="shipped"), ["NAME shipped: inventories/shipped is there already"]),
    "a path": (words("locmem", NAME="inventories/prod"), ["NAME inventories/prod: it is a path"]),
    "a way out": (words("locmem", NAME="../prod"), ["NAME ../prod: it is a path"]),
    "dots": (words("locmem", NAME=".."), ["NAME ..: it is no name of a folder here"]),
    "hidden": (words("locmem", NAME=".prod"), ["NAME .prod: it is no name"]),
    "an option": (words("locmem", NAME="-prod"), ["NAME -prod: it is no name"]),
    "a blank": (words("locmem", NAME="my prod"), ["NAME my prod: it is no name", "letters, digits and . _ -"]),
    "umlauts": (words("locmem", NAME="prüf"), ["NAME prüf: it is no name"]),
    "too long": (words("locmem", NAME="a" * 65), ["it is no name", "up to 64"]),
    "unknown mode": (words("sentinal"), ["MODE sentinal: it is unknown; did you mean sentinel? choose locmem,"]),
    "a slip in locmem": (
        words("locmen", REDIS=""),
        ["MODE locmen: it is unknown; did you mean locmem?", "REDIS is missing"],
    ),
    "unknown client": (
        words("sentinel", "django-redis"),
        ["CLIENT django-redis: it is unknown; did you mean django_redis? choose builtin"],
    ),
    "builtin of Sentinels": (
        words("sentinel", "builtin"),
        ["CLIENT builtin: it has no mode sentinel; write CLIENT=resilient, or remove it"],
    ),
    "builtin of clusters": (words("cluster", "builtin"), ["it has no mode cluster; write CLIENT=resilient,"]),
    "django-redis of clusters": (words("cluster", "django_redis"), ["CLIENT django_redis: it has no mode cluster"]),
    "locmem with Redis": (
        words("locmem", REDIS="10.0.0.1"),
        ["REDIS 10.0.0.1: MODE=locmem uses none of these; remove", "or choose another mode"],
    ),
    "two alone": (
        words("standalone", REDIS="10.0.0.1 10.0.0.2"),
        ["REDIS 10.0.0.1 10.0.0.2: MODE=standalone uses 1 of these; remove", "or choose another mode"],
    ),
    "no replica": (
        words("replication", REDIS="10.0.0.1"),
        [
            "MODE replication: MODE is replication but group redis has no replica",
            "add a host, or write MODE=standalone",
        ],
    ),
    "nobody to watch": (
        words("sentinel", REDIS="10.0.0.1"),
        ["MODE sentinel: MODE is sentinel but", "SENTINEL: 1 Sentinel (REDIS 10.0.0.1) cannot survive the loss of one"],
    ),
    "no servers for Sentinels": (words("sentinel", REDIS=""), ["REDIS is missing"]),
    "two Sentinels": (
        words("sentinel", REDIS="10.0.0.1 10.0.0.2"),
        ["SENTINEL: 2 Sentinels (REDIS 10.0.0.1, REDIS 10.0.0.2) cannot survive the loss of one; wanted 3, 5"],
    ),
    "four Sentinels": (
        words("sentinel", REDIS=f"{THREE} 10.0.0.4"),
        ["REDIS 10.0.0.4) survive no more losses than one fewer would; wanted 3, 5"],
    ),
    "two named Sentinels": (
        words("sentinel", SENTINEL="a b"),
        ["SENTINEL a b: 2 Sentinels (a, b) cannot survive the loss of one"],
    ),
    "Sentinels of another mode": (
        words("replication", SENTINEL=THREE),
        [f"SENTINEL {THREE}: MODE=replication uses none of these; remove", "or choose another mode"],
    ),
    "Sentinels on one machine": (
        words("sentinel", SENTINEL="10.0.0.1:26379 10.0.0.1:26380 10.0.0.2"),
        ["26380 10.0.0.2: 2 of 3 Sentinels are on one machine, 10.0.0.1, and are lost with it; spread them"],
    ),
    "a small cluster": (
        words("cluster", REDIS=THREE),
        [f"REDIS {THREE}: 3 hosts", "make 1 primary, and a cluster has 3 or more; have 6 hosts"],
    ),
    "a cluster on one machine": (
        words("cluster", REDIS="db:1 db:2 db:3 db:4 10.0.0.2:5 10.0.0.2:6"),
        ["4 of 6 nodes are on one machine, db: a primary and its replica would be lost", "no more than 3 on one"],
    ),
    "a high port": (
        words("cluster", REDIS=f"{SIX} 10.0.0.1:60000"),
        ["REDIS 10.0.0.1:60000: it leaves no port for the bus of the cluster, which is 10000 above; write 55535"],
    ),
    "the port of a bus": (
        words("cluster", REDIS=f"{SIX} 10.0.0.1:16379"),
        ["REDIS 10.0.0.1:16379: REDIS 10.0.0.1 and REDIS 10.0.0.1:16379 both use 10.0.0.1:16379 (the bus of a"],
    ),
    "twice": (
        words("replication", REDIS="10.0.0.1 10.0.0.2 10.0.0.1:6379"),
        ["REDIS 10.0.0.1:6379: REDIS 10.0.0.1 and REDIS 10.0.0.1:6379 both use 10.0.0.1:6379; set another redis_port"],
    ),
    "twice in a cluster": (words("cluster", REDIS=f"{SIX} 10.0.0.1"), ["both use 10.0.0.1:6379"]),
    "twice by name": (words("replication", REDIS="db DB"), ["REDIS DB: REDIS db and REDIS DB both use db:6379"]),
    "twice in IPv6": (
        words("replication", REDIS="2001:db8::1 [2001:DB8:0::1]:6379"),
        ["REDIS [2001:DB8:0::1]:6379: REDIS 2001:db8::1 and REDIS [2001:DB8:0::1]:6379 both use 2001:db8::1:6379"],
    ),
    "a Sentinel twice": (
        words("sentinel", SENTINEL=f"{THREE} 10.0.0.1 10.0.0.2"),
        ["SENTINEL 10.0.0.1: REDIS 10.0.0.1 and SENTINEL 10.0.0.1 both use 10.0.0.1:26379", "use 10.0.0.2:26379"],
    ),
    "the port of a Sentinel": (
        words("sentinel", REDIS="10.0.0.1:26379 10.0.0.2 10.0.0.3"),
        ["SENTINEL 10.0.0.1: redis_port and redis_sentinel_port both use 10.0.0.1:26379; set another"],
    ),
    "Django twice": (
        words("locmem", APP="10.0.0.9 10.0.0.9:8001"),
        ["APP 10.0.0.9:8001: APP 10.0.0.9 is on the same machine, which can have one service django_app; remove one"],
    ),
    "Django's port": (
        words("standalone", REDIS="10.0.0.9:8000"),
        ["APP 10.0.0.9: REDIS 10.0.0.9:8000 and APP 10.0.0.9 both use 10.0.0.9:8000; set another django_app_port"],
    ),
    "loopback": (
        words("replication", REDIS="127.0.0.1 10.0.0.2"),
        ["REDIS 127.0.0.1: REDIS 10.0.0.2 would find itself there"],
    ),
    "loopback for a Sentinel": (
        words("sentinel", SENTINEL="10.0.0.1 10.0.0.2 localhost"),
        ["SENTINEL localhost: REDIS 10.0.0.1 would find itself there; set redis_sentinel_address"],
    ),
    "loopback for all but Sentinels": (
        words("sentinel", REDIS="127.0.0.1 127.0.0.1:6380", SENTINEL=THREE, APP="127.0.0.1"),
        ["SENTINEL 10.0.0.1 would find itself there"],
    ),
    "no address": (words("standalone", REDIS="10.0.0.256"), ["REDIS 10.0.0.256: it is no host name and no address"]),
    "half an address": (words("standalone", REDIS="10.0.0"), ["REDIS 10.0.0: it is no host name and no address"]),
    "a network": (words("standalone", REDIS="10.0.0.0/24"), ["REDIS 10.0.0.0/24: it is no host name and no address"]),
    "a URL": (words("standalone", REDIS="redis://db:6379"), ["REDIS redis://db:6379: it is no host name and no addr"]),
    "a user": (words("standalone", APP="me@app"), ["APP me@app: it is no host name and no address; write one such as"]),
    "nobody's address": (words("standalone", REDIS="0.0.0.0"), ["REDIS 0.0.0.0: nobody can reach this address"]),
    "everybody's address": (words("standalone", REDIS="::"), ["REDIS ::: nobody can reach this address"]),
    "an address of a group": (words("standalone", REDIS="224.0.0.1"), ["REDIS 224.0.0.1: nobody can reach this"]),
    "an option as a host": (words("standalone", REDIS="-oProxyCommand=x"), ["REDIS -oProxyCommand=x: it is no host"]),
    "a template": (words("standalone", REDIS="{{x}}"), ["REDIS {{x}}: it is no host name and no address"]),
    "a Sentinel that is no address": (words("sentinel", SENTINEL="a b c:d"), ["SENTINEL c:d: it is no host name"]),
    "no port": (words("standalone", REDIS="db:"), ["REDIS db:: it is no host name and no address"]),
    "port 0": (words("standalone", REDIS="db:0"), ["REDIS db:0: it is out of range; write a number from 1 to 65535"]),
    "a port too high": (words("standalone", REDIS="db:65536"), ["REDIS db:65536: it is out of range"]),
    "a port of many digits": (words("standalone", REDIS=f"db:{'9' * 5000}"), ["it is no host name and no address"]),
    "brackets around a name": (words("standalone", REDIS="[db]:6379"), ["REDIS [db]:6379: it is no host name"]),
    "a domain with a scheme": (
        words("locmem", DOMAIN="https://www.example.com"),
        ["DOMAIN https://www.example.com: 'https://www.example.com' is no name that a request can have; write names"],
    ),
    "a domain with a port": (
        words("locmem", DOMAIN="www.example.com:443"),
        ["DOMAIN www.example.com:443: 'www.example.com:443' is no name that a request can have"],
    ),
    "a domain without brackets": (words("locmem", DOMAIN="2001:db8::1"), ["DOMAIN 2001:db8::1: '2001:db8::1' is no"]),
    "every domain": (words("locmem", DOMAIN="*"), ["DOMAIN *: '*' takes requests for any name"]),
    "everything": (
        ["NAME=a/b", "MODE=clustre", "CLIENT=x", "REDIS=1.2.3 ::1", "APP=10.0.0.9", "DOMAIN=a:b", "APPS=c"],
        ["NAME a/b", "did you mean cluster?", "CLIENT x", "REDIS 1.2.3: it is no", "REDIS ::1: ", "DOMAIN a:b", "APPS"],
    ),
}
