"""The directives of redis.conf: those there are, and those that the bundle decides itself."""

from __future__ import annotations

from pathlib import Path

# Asked of Redis 7.0, 8.0 and Valkey 9.1 (CONFIG GET *), with those of earlier versions and those that are no
# parameters. For slips alone: what is like none of these is left to the server, which tries every configuration first.
DIRECTIVES = frozenset(Path(__file__).with_suffix(".txt").read_text("utf-8").split())
# What to write instead.
OWNED = {
    "aclfile": "remove it",
    "bind": "write redis_bind",
    "cluster-enabled": "write cache_mode: cluster",
    "daemonize": "remove it, service_manager runs the servers",
    "dir": "write redis_data_dir",
    "include": "remove it, every directive fits in redis_config",
    "masterauth": "remove it, it follows from redis_admin_password",
    "masteruser": "remove it",
    "port": "write redis_port",
    "protected-mode": "remove it, it is on",
    "replicaof": "write redis_leader, or cache_mode: standalone",
    "requirepass": "write redis_password",
    "slaveof": "write redis_leader, or cache_mode: standalone",
    "supervised": "remove it, service_manager runs the servers",
    "tls-cluster": "write redis_tls",
    "tls-port": "write redis_tls: true and redis_port",
    "tls-replication": "write redis_tls",
    "unixsocket": "write redis_socket",
    "unixsocketperm": "write redis_socket_group, whose members may use the socket",
    "user": "write redis_app_rules",
}
OWNED_BY_SENTINEL = {
    "aclfile": "remove it",
    "bind": "write redis_sentinel_bind",
    "daemonize": "remove it, service_manager runs the Sentinels",
    "dir": "write redis_data_dir",
    "include": "remove it",
    "port": "write redis_sentinel_port",
    "protected-mode": "remove it",
    "requirepass": "write redis_sentinel_password",
    "supervised": "remove it, service_manager runs the Sentinels",
    "tls-port": "write redis_tls: true and redis_sentinel_port",
    "user": "remove it",
}
# The variables that say the same, and so have the same values.
ALSO_VARIABLES = {
    "maxmemory-policy": "redis_maxmemory_policy",
    "min-replicas-max-lag": "redis_min_replicas_max_lag",
    "min-replicas-to-write": "redis_min_replicas_to_write",
}
# Directives of which there must be one or more.
WHOLE = ("databases", "maxclients")
