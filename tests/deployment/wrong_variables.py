"""Inventories that are wrong in single variables: each with the rule that says so, and its words."""

from __future__ import annotations

from sample_inventories import (
    ADMIN_PASSWORD,
    KEY,
    PASSWORD,
    Given,
    changed,
    given,
    standalone,
    without,
)

# (the rule, what is wrong, the words that must be told)
WRONG: dict[str, tuple[str, Given, list[str]]] = {
    # Names and values.
    "B01 a mode with a slip": (
        "wrong-value",
        standalone(cache_mode="replicaton"),
        ["cache_mode = 'replicaton'", "did you mean replication?", "locmem, standalone, replication"],
    ),
    "a client with a slip": ("wrong-value", standalone(cache_client="resiliant"), ["did you mean resilient?"]),
    "B07 a port out of range": ("wrong-value", standalone(redis_port=99999), ["redis_port = 99999", "1 to 65535"]),
    "B08 a port with a blank": ("wrong-value", standalone(redis_port="6379 "), ["redis_port = '6379 '", "an integer"]),
    "B08 a port in letters": ("wrong-value", standalone(redis_port="abc"), ["redis_port = 'abc'", "an integer"]),
    "a port that is a fraction": ("wrong-value", standalone(redis_port=6379.5), ["an integer"]),
    "a port that is a boolean": ("wrong-value", standalone(redis_port=True), ["an integer"]),
    "a boolean in quotes": (
        "wrong-value",
        standalone(redis_tls="no"),
        ["redis_tls = 'no'", "is text", "write false, without quotes"],
    ),
    "a boolean that is a number": ("wrong-value", standalone(redis_appendonly=1), ["redis_appendonly = 1", "true"]),
    "a list that is text": (
        "wrong-value",
        standalone(django_app_allowed_hosts="example.com"),
        ["django_app_allowed_hosts = 'example.com'", "must be a list"],
    ),
    "a list with a number": ("wrong-value", standalone(django_app_allowed_hosts=[1.5]), ["in the list"]),
    "a mapping that is a list": ("wrong-value", standalone(redis_config=["maxmemory 1gb"]), ["must be a mapping"]),
    "a mode that no server has": ("wrong-value", standalone(redis_modes=["standalon"]), ["did you mean standalone?"]),
    "B30 a policy that is none": (
        "wrong-value",
        standalone(redis_maxmemory_policy="lru"),
        ["redis_maxmemory_policy = 'lru'", "did you mean allkeys-lru?"],
    ),
    "B37 a version that is a number": (
        "wrong-value",
        standalone(django_app_django_version=5.2),
        ["django_app_django_version = 5.2", "must be text", "in quotes"],
    ),
    "B37 a version that is not there": (
        "wrong-value",
        standalone(django_app_django_version="4.0"),
        ["django_app_django_version = '4.0'", "3.2, 4.2, 5.2, 6.1"],
    ),
    "B24 seconds for milliseconds": (
        "wrong-value",
        given("sentinel", 3, 3, redis_sentinel_down_after_ms=30),
        ["redis_sentinel_down_after_ms = 30", "milliseconds", "did you mean 30000?"],
    ),
    "milliseconds for seconds": (
        "wrong-value",
        given("sentinel", 3, 3, redis_min_replicas_max_lag=5000),
        ["redis_min_replicas_max_lag = 5000", "in seconds", "did you mean 5?"],
    ),
    "too long": ("wrong-value", given("sentinel", 3, 3, redis_sentinel_down_after_ms=9_000_000), ["out of range"]),
    "a time with its unit": (
        "wrong-value",
        given("cluster", 6, redis_cluster_node_timeout_ms="5s"),
        ["redis_cluster_node_timeout_ms = '5s'", "an integer"],
    ),
    "no replicas at all": ("wrong-value", given("cluster", 6, redis_cluster_replicas=-1), ["0 to 10"]),
    "a quorum of signs": ("wrong-value", given("sentinel", 3, 3, redis_sentinel_quorum="--2"), ["an integer"]),
    "a quorum of nobody": ("wrong-value", given("sentinel", 3, 3, redis_sentinel_quorum=0), ["1 to 100"]),
    "B40 a slip in a name": (
        "unknown-variable",
        standalone(redis_pasword="opensesame"),
        ["redis_pasword", "unknown variable", "did you mean redis_password?"],
    ),
    "a slip in the first letters": (
        "unknown-variable",
        standalone(chache_mode="cluster"),
        ["chache_mode", "did you mean cache_mode?"],
    ),
    "a name without the role": (
        "unknown-variable",
        given("sentinel", 3, 3, sentinel_quorum=2),
        ["sentinel_quorum", "did you mean redis_sentinel_quorum?"],
    ),
    "somebody else's name": (
        "unknown-variable",
        standalone(redis_insight_image="x"),
        ["redis_insight_image", "another prefix"],
    ),
    "B17 no password": (
        "missing-secret",
        without(standalone(), "redis_password"),
        ["redis-1: redis_password", "empty", "run code in Django", "make secret"],
    ),
    "B17 an empty password": ("missing-secret", standalone(redis_password=""), ["redis-1: redis_password", "empty"]),
    "no password of the Sentinels": (
        "missing-secret",
        without(given("sentinel", 3, 3), "redis_sentinel_password"),
        ["redis_sentinel_password", "empty"],
    ),
    "no SECRET_KEY": ("missing-secret", standalone(django_app_secret_key=""), ["app-1: django_app_secret_key"]),
    "B18 a short password": (
        "weak-secret",
        standalone(redis_password="hunter2!"),
        ["redis-1: redis_password", "8 characters", "32", "make secret"],
    ),
    "no password of the roles": (
        "missing-secret",
        without(standalone(), "redis_admin_password"),
        ["redis-1: redis_admin_password", "empty", "the roles need one of their own", "make secret"],
    ),
    "no password of the roles for a Sentinel": (
        "missing-secret",
        changed(given("sentinel", 2, 3), "redis-3", redis_admin_password=None),
        ["redis-3: redis_admin_password", "empty"],
    ),
    "a short password of the roles": ("weak-secret", standalone(redis_admin_password="hunter2!"), ["8 characters"]),
    "a SECRET_KEY that Django's check refuses": (
        "weak-secret",
        standalone(django_app_secret_key=KEY[:49]),
        ["app-1: django_app_secret_key", "49 characters", "50"],
    ),
    "the roles' password in Django's hands": (
        "weak-secret",
        standalone(redis_admin_password=PASSWORD),
        ["redis-1: redis_admin_password: it is the same as redis_password", "make secret"],
    ),
    "the servers' password for the Sentinels": (
        "weak-secret",
        given("sentinel", 3, 3, redis_sentinel_password=PASSWORD),
        ["redis_sentinel_password: it is the same as redis_password"],
    ),
    "the roles' password for the Sentinels": (
        "weak-secret",
        given("sentinel", 3, 3, redis_sentinel_password=ADMIN_PASSWORD),
        ["redis_sentinel_password: it is the same as redis_admin_password"],
    ),
    "B18 a common password": ("weak-secret", standalone(redis_password="changeme" * 6), ["a common password"]),
    "one letter": ("weak-secret", standalone(redis_password="x" * 40), ["1 different character"]),
    "the key of startproject": (
        "weak-secret",
        standalone(django_app_secret_key="django-insecure-" + "h" * 50),
        ["startproject"],
    ),
    "a password of two lines": (
        "unwritable-secret",
        standalone(redis_password=PASSWORD + "\n"),
        ["redis-1: redis_password", "line break"],
    ),
    "a directive of a variable": (
        "directive",
        standalone(redis_config={"port": 7000}),
        ["redis_config.port: ", "write redis_port"],
    ),
    "a user by redis_config": ("directive", standalone(redis_config={"user": "x on"}), ["write redis_app_rules"]),
    "a secret directive": ("directive", standalone(redis_config={"requirepass": "hunter2"}), ["write redis_password"]),
    "a directive with a slip": (
        "directive",
        standalone(redis_config={"maxmemory-polici": "allkeys-lfu"}),
        ["redis_config.maxmemory-polici", "did you mean maxmemory-policy?"],
    ),
    "a directive of two lines": ("directive", standalone(redis_config={"loglevel": "a\nb"}), ["line break"]),
    "a mode that is a number": ("wrong-value", standalone(redis_modes=5), ["redis_modes = 5", "must be a list"]),
    "a slip in Ansible's name": (
        "unknown-variable",
        standalone(ansible_hosts="192.0.2.1"),
        ["ansible_hosts", "did you mean ansible_host?"],
    ),
    "no Sentinel and no password": (
        "missing-secret",
        without(given("sentinel", 3), "redis_sentinel_password"),
        ["redis_sentinel_password", "empty"],
    ),
    "a policy by redis_config": (
        "directive",
        standalone(redis_config={"maxmemory-policy": "lru"}),
        ["redis_config.maxmemory-policy = 'lru'", "did you mean allkeys-lru?"],
    ),
    "databases in letters": ("directive", standalone(redis_config={"databases": "many"}), ["databases = 'many'"]),
    "a port of Sentinel's by its config": (
        "directive",
        given("sentinel", 3, 3, redis_sentinel_config={"requirepass": "hunter2"}),
        ["redis_sentinel_config.requirepass", "redis_sentinel_password"],
    ),
    "a folder that is nowhere": ("wrong-value", standalone(redis_data_dir="data"), ["redis_data_dir = 'data'", "/"]),
    "a folder with a blank": (
        "wrong-value",
        standalone(redis_data_dir="/var/lib/my redis"),
        ["redis_data_dir = '/var/lib/my redis'", "takes no path but of letters"],
    ),
    "a secret in the environment": (
        "secret-in-environment",
        standalone(django_app_environment={"DB_PASSWORD": "hunter2hunter2"}),
        ["django_app_environment.DB_PASSWORD:", "looks like a secret", "django_app_settings"],
    ),
    "a secret in a URL of the environment": (
        "secret-in-environment",
        standalone(django_app_environment={"DATABASE_URL": "postgres://shop:hunter2hunter2@db/shop"}),
        ["django_app_environment.DATABASE_URL:"],
    ),
    "a line break in the environment": (
        "environment",
        standalone(django_app_environment={"MOTTO": "one\ntwo"}),
        ["django_app_environment.MOTTO:", "line break", "django_app_settings"],
    ),
    "a directive that opens the server": (
        "directive",
        standalone(redis_config={"bind": "0.0.0.0", "protected-mode": "no", "unixsocketperm": "777"}),
        ["redis_config.bind", "write redis_bind", "redis_config.protected-mode", "redis_config.unixsocketperm"],
    ),
}
