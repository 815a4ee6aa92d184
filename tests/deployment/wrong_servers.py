"""Inventories that are wrong in servers and how they go together: each with the rule that says so, and its words."""

from __future__ import annotations

from sample_inventories import (
    PASSWORD,
    Given,
    changed,
    given,
    regrouped,
    standalone,
    two_deployments,
    two_of_a_machine,
    without,
)

# (the rule, what is wrong, the words that must be told)
WRONG: dict[str, tuple[str, Given, list[str]]] = {
    # Groups and servers.
    "B02 no replica": (
        "replicas",
        given("replication", 1),
        ["cache_mode = 'replication'", "group redis has no replica", "add a host", "standalone"],
    ),
    "nobody to promote": ("replicas", given("sentinel", 1, 3), ["no replica"]),
    "B03 a leader from elsewhere": (
        "leader",
        given("replication", 3, redis_leader="redis-9"),
        ["redis_leader = 'redis-9'", "not in group redis (redis-1, redis-2, redis-3)"],
    ),
    "B03 two leaders": (
        "not-the-same",
        changed(given("replication", 3, redis_leader="redis-1"), "redis-2", redis_leader="redis-2"),
        ["redis_leader", "not the same everywhere", "redis-2: redis-2"],
    ),
    "B04 no server": ("empty-group", given("standalone", 0), ["group redis", "it has no host", "locmem"]),
    "B04 no Django": (
        "empty-group",
        regrouped(standalone(), django_app=[]),
        ["group django_app", "it has no host"],
    ),
    "a group with a slip": (
        "empty-group",
        regrouped(standalone(), django_app=[], djano_app=["app-1"]),
        ["group djano_app", "did you mean django_app?"],
    ),
    "B06 one port twice": (
        "same-port",
        changed(given("replication", 3), "redis-3", ansible_host="192.0.2.12"),
        ["redis-2 and redis-3 both use 192.0.2.12:6379", "redis_port"],
    ),
    "one port of this machine twice": (
        "same-port",
        given("replication", 3, ansible_connection="local", redis_address="127.0.0.1"),
        ["both use this machine:6379"],
    ),
    "a Sentinel on a server's port": (
        "same-port",
        changed(given("sentinel", 3, 3), "redis-3", redis_sentinel_port=6379),
        ["redis_port and redis_sentinel_port both use 192.0.2.13:6379"],
    ),
    "a server on another one's bus": (
        "same-port",
        changed(changed(given("cluster", 6), "redis-2", ansible_host="192.0.2.11"), "redis-2", redis_port=16379),
        ["192.0.2.11:16379", "the bus of a cluster"],
    ),
    "no port for the bus": (
        "same-port",
        given("cluster", 6, redis_port=60000),
        ["redis_port = 60000", "55535 or less"],
    ),
    "B21 a leader at home": (
        "address",
        changed(given("replication", 3), "redis-1", redis_address="127.0.1.1"),
        ["redis-1: redis_address = '127.0.1.1'", "redis-2 would find itself there", "set redis_address"],
    ),
    "one address for all": (
        "same-address",
        given("replication", 3, redis_address="192.0.2.1"),
        ["redis_address = '192.0.2.1'", "redis-1 and redis-2", "own address"],
    ),
    "one address for all Sentinels": (
        "same-address",
        given("sentinel", 3, 3, redis_sentinel_address="192.0.2.1"),
        ["redis_sentinel_address = '192.0.2.1'", "port 26379"],
    ),
    "no mode": ("mode-not-said", without(standalone(), "cache_mode"), ["cache_mode", "standalone"]),
    "a size in bytes": ("memory", standalone(redis_maxmemory=512), ["redis_maxmemory = 512", "bytes", "512mb"]),
    "a group of Sentinels with a slip": (
        "empty-group",
        regrouped(given("sentinel", 3), redis_sentinels=["redis-1", "redis-2", "redis-3"]),
        ["group redis_sentinels", "did you mean redis_sentinel?"],
    ),
    "a bind of two addresses with a comma": (
        "bind",
        standalone(redis_bind="192.0.2.11, 127.0.0.1"),
        ["redis_bind = '192.0.2.11, 127.0.0.1'", "'192.0.2.11,' is no address", "with blanks"],
    ),
    "a bind that others cannot reach": ("bind", standalone(redis_bind="127.0.0.1 ::1"), ["other machines cannot"]),
    "one port for two exporters": (
        "same-port",
        two_of_a_machine(redis_exporter_enabled=True, redis_exporter_port=9121),
        ["redis-1 and redis-2 both use 192.0.2.11:9121", "redis_exporter_port"],
    ),
    "a server on the port that an exporter has by default": (
        "same-port",
        changed(two_of_a_machine(redis_exporter_enabled=True), "redis-1", redis_port=9122),
        ["redis-2: redis_exporter_port = 9122: redis-1 and redis-2 both use 192.0.2.11:9122"],
    ),
    "a port of two deployments": (
        "same-port",
        changed(two_deployments(), "b-1", ansible_host="a-1"),
        ["a-1 and b-1 both use a-1:6379"],
    ),
    "TLS of one server": (
        "not-the-same",
        changed(given("replication", 3), "redis-2", redis_tls=True),
        ["redis_tls", "redis-2: True"],
    ),
    "replicas by redis_config": (
        "replicas",
        given("replication", 3, redis_config={"min-replicas-to-write": 5}),
        ["redis_config.min-replicas-to-write = 5", "the 2 replicas"],
    ),
    "a size by redis_config": ("memory", standalone(redis_config={"maxmemory": "10xb"}), ["maxmemory = '10xb'"]),
    "a server at home, and Django elsewhere": (
        "address",
        changed(standalone(), "redis-1", redis_address="localhost"),
        ["redis_address = 'localhost'"],
    ),
    "an address with a port": (
        "address",
        changed(standalone(), "redis-1", redis_address="192.0.2.11:6379"),
        ["redis_address = '192.0.2.11:6379'", "no host name", "such as 10.0.0.1"],
    ),
    "an address of four numbers": (
        "address",
        changed(standalone(), "redis-1", redis_address="192.0.2"),
        ["no address"],
    ),
    "an address of a group": (
        "address",
        changed(standalone(), "redis-1", redis_address="224.0.0.1"),
        ["redis_address = '224.0.0.1'", "nobody can reach"],
    ),
    "a Sentinel that is no address": (
        "address",
        changed(given("sentinel", 3, 3), "redis-1", redis_sentinel_address="192.0.2.11:26379"),
        ["redis-1: redis_sentinel_address = '192.0.2.11:26379'", "no host name and no address"],
    ),
    "a Sentinel at home": (
        "address",
        changed(given("sentinel", 2, 3), "redis-3", ansible_host="127.0.0.1"),
        ["redis-3: redis_sentinel_address = '127.0.0.1'", "redis-1 would find itself there", "set redis_sentinel_addr"],
    ),
    "Sentinels that cannot reach a server at home": (
        "address",
        changed(
            changed(given("sentinel", 1, 3), "redis-1", redis_address="127.0.0.1", ansible_connection="local"),
            "app-1",
            ansible_connection="local",
        ),
        ["redis-1: redis_address = '127.0.0.1'", "redis-2 would find itself there"],
    ),
    "a user of a Django host": (
        "address",
        changed(standalone(), "app-1", ansible_host="me@192.0.2.12"),
        ["app-1: ansible_host = 'me@192.0.2.12'", "no host name"],
    ),
    "an address of everybody": ("address", changed(standalone(), "redis-1", redis_address="0.0.0.0"), ["nobody can"]),
    "a socket that Django cannot reach": (
        "socket",
        standalone(redis_socket="/run/redis-6379/redis.sock"),
        ["redis-1: redis_socket", "Django on app-1 cannot reach it"],
    ),
    "a server that Django cannot reach by its socket": (
        "socket",
        standalone(redis_socket="/run/redis-6379/redis.sock", redis_tcp=False),
        ["redis-1: redis_socket", "Django on app-1 cannot reach it"],
    ),
    "a server that nobody reaches": (
        "socket",
        standalone(redis_tcp=False),
        ["redis-1: redis_tcp = False: nobody could reach the server", "a redis_socket"],
    ),
    "servers without a port for each other": (
        "socket",
        changed(given("cluster", 6, redis_tcp=False), "redis-1", redis_socket="/run/redis-6379/redis.sock"),
        ["redis-1: redis_tcp = False: the other servers could not reach it"],
    ),
    "a user that a shell would run": (
        "account",
        standalone(redis_user="redis; id"),
        ["redis-1: redis_user = 'redis; id'", "no name for a user"],
    ),
    "a user of Django's with a capital": ("account", standalone(django_app_user="Django"), ["app-1: django_app_user"]),
    "a group of two words": (
        "account",
        standalone(redis_socket_group="Web Users"),
        ["redis-1: redis_socket_group = 'Web Users'", "no name for a group", "small letters"],
    ),
    "a socket of two servers": (
        "socket",
        two_of_a_machine(service_manager="supervisor", redis_socket="/srv/redis.sock"),
        ["redis-2: redis_socket = '/srv/redis.sock'", "redis-1 on the same machine has it as well", "redis-6380"],
    ),
    "a socket that the unit cannot make": (
        "socket",
        standalone(ansible_connection="local", redis_socket="/tmp/redis.sock"),
        ["redis-1: redis_socket = '/tmp/redis.sock'", "own folder alone", "write /run/redis-6379/redis.sock"],
    ),
    "a socket for a shell": (
        "socket",
        standalone(ansible_connection="local", redis_socket="/run/redis-6379/$(id).sock"),
        ["it is no absolute path of letters"],
    ),
    "a socket without a path": ("socket", standalone(redis_socket="redis.sock"), ["no absolute path"]),
    "B22 two Sentinels": ("sentinels", given("sentinel", 3, 2), ["2 Sentinels", "loss of one", "wanted 3, 5"]),
    "B22 four Sentinels": ("sentinels", given("sentinel", 3, 4), ["4 Sentinels", "odd"]),
    "no Sentinel": ("sentinels", given("sentinel", 3), ["group redis_sentinel", "0 Sentinels", "wanted 3, 5"]),
    "B23 a quorum too high": (
        "sentinels",
        given("sentinel", 3, 3, redis_sentinel_quorum=4),
        ["redis_sentinel_quorum = 4", "3 Sentinels", "1 to 3", "best 2"],
    ),
    "a service of two words": (
        "sentinels",
        given("sentinel", 3, 3, redis_sentinel_service="my master"),
        ["redis_sentinel_service = 'my master'", "letters"],
    ),
    "a failover that cannot be in time": (
        "sentinels",
        given("sentinel", 3, 3, redis_sentinel_down_after_ms=20000),
        ["redis_sentinel_failover_timeout_ms = 10000", "redis_sentinel_down_after_ms 20000", "write 40000"],
    ),
    "Sentinels on one machine": (
        "sentinels",
        changed(given("sentinel", 3, 3), "redis-2", ansible_host="192.0.2.11", redis_port=1, redis_sentinel_port=2),
        ["2 of 3 Sentinels are on one machine, 192.0.2.11", "spread"],
    ),
    "two primaries": ("cluster", given("cluster", 4), ["4 hosts", "2 primaries", "have 6 hosts"]),
    "two primaries without replicas": ("cluster", given("cluster", 2, redis_cluster_replicas=0), ["have 3 hosts"]),
    "B26 more replicas than there are": (
        "replicas",
        given("sentinel", 3, 3, redis_min_replicas_to_write=3),
        ["redis_min_replicas_to_write = 3", "the 2 replicas", "refuse every write", "write 1"],
    ),
    "a single server that waits for replicas": (
        "replicas",
        standalone(redis_min_replicas_to_write=1),
        ["redis_min_replicas_to_write = 1", "the 0 replicas", "write 0"],
    ),
    "B27 no log and no snapshots": (
        "empty-restart",
        given("sentinel", 3, 3, redis_appendonly=False),
        ["redis_appendonly and redis_save are both off", "redis_accept_empty_restart: true"],
    ),
    "the same in other words": (
        "empty-restart",
        given("replication", 2, redis_config={"appendonly": "no", "save": '""'}),
        ["redis_appendonly and redis_save are both off"],
    ),
    "a size that is none": ("memory", standalone(redis_maxmemory="10 GiB"), ["redis_maxmemory = '10 GiB'", "256mb"]),
    "B28 no bound": ("memory-policy", standalone(redis_maxmemory="0"), ["redis_maxmemory = '0'", "no bound"]),
    "B30 no eviction": (
        "memory-policy",
        standalone(redis_maxmemory_policy="noeviction"),
        ["redis_maxmemory_policy = 'noeviction'", "every write fails"],
    ),
    "other rules elsewhere": (
        "not-the-same",
        changed(given("replication", 3), "redis-2", redis_app_rules=["+lpush"]),
        ["redis_app_rules", "not the same everywhere"],
    ),
    "no rights": ("rights", standalone(ansible_become=False), ["ansible_become = False", "root", "supervisor"]),
    "Django in another mode": (
        "not-the-same",
        changed(given("sentinel", 3, 3), "app-1", cache_mode="standalone"),
        ["cache_mode", "not the same everywhere", "app-1: standalone"],
    ),
    "two passwords": (
        "not-the-same",
        changed(given("replication", 3), "redis-2", redis_password=PASSWORD[::-1]),
        ["redis_password", "not the same everywhere", "group_vars/all.yml"],
    ),
}
