"""Inventories that are wrong in what Django is told: each with the rule that says so, and its words."""

from __future__ import annotations

from sample_inventories import (
    BUILTIN_PATH,
    Given,
    alias,
    aliases,
    caches,
    changed,
    given,
    options_of,
    regrouped,
    standalone,
)

# (the rule, what is wrong, the words that must be told)
WRONG: dict[str, tuple[str, Given, list[str]]] = {
    "an object of Python": ("alias", options_of("builtin", retry=3), ["options.retry", "object of Python"]),
    "a parser of old": (
        "alias",
        options_of("builtin", parser_class="redis.connection.HiredisParser"),
        ["options.parser_class", "remove it"],
    ),
    "options of TLS on a socket": (
        "alias",
        changed(options_of("builtin", ssl_ca_certs="/ca"), "redis-1", redis_tls=True, redis_socket="/run/redis.sock"),
        ["ssl_ca_certs", "redis_tls"],
    ),
    "options of TLS without TLS": ("alias", options_of("builtin", ssl_ca_certs="/ca"), ["ssl_ca_certs", "redis_tls"]),
    "a host with a scheme": (
        "settings",
        standalone(django_app_allowed_hosts=["https://www.example.com"]),
        ["'https://www.example.com'", "without a scheme"],
    ),
    "an address of IPv6 without brackets": (
        "settings",
        standalone(django_app_allowed_hosts=["2001:db8::1"]),
        ["'2001:db8::1' is no name that a request can have"],
    ),
    "Django twice on a machine": (
        "django-twice",
        changed(
            regrouped(standalone(), django_app=["app-1", "redis-1"]),
            "app-1",
            ansible_host="192.0.2.11",
            django_app_port=8001,
        ),
        ["redis-1: app-1 is on the same machine", "remove one of them"],
    ),
    "a backend of another client": (
        "caches",
        caches("redis://a:1", "django_redis.cache.RedisCache"),
        ["default.BACKEND", "cache_client: django_redis"],
    ),
    "a project that is not there": ("python-name", standalone(django_app_src="/nowhere/shop"), ["no such folder"]),
    "TLS that checks nothing": (
        "alias",
        standalone(redis_tls=True, django_app_cache_aliases={"default": {"options": {"ssl_cert_reqs": "none"}}}),
        ["options.ssl_cert_reqs", "forge everything"],
    ),
    "TLS that checks in a way of its own": (
        "alias",
        standalone(
            redis_tls=True,
            django_app_cache_aliases={
                "default": {"options": {"ssl_cert_reqs": True, "ssl_check_hostname": "required"}}
            },
        ),
        ["options.ssl_cert_reqs", "options.ssl_check_hostname"],
    ),
    "TLS of a URL that checks nothing": (
        "caches",
        caches(["rediss://192.0.2.11:6379/1?ssl_check_hostname=No"]),
        ["forge everything"],
    ),
    "a token in a URL": (
        "python-name",
        standalone(django_app_src="https://oauth2:hunter2@git.example.com/shop.git"),
        ["django_app_src:", "what is before the @", "SSH"],
    ),
    # Django.
    "B13 a db of a cluster": (
        "alias",
        aliases("resilient", "cluster", db=1),
        ["django_app_cache_aliases.default.db = 1", "the database 0 alone"],
    ),
    "B10 a db that is not there": ("alias", alias(db=99), ["default.db = 99", "16 databases", "0 to 15"]),
    "a db of a default alias that is not there": (
        "alias",
        standalone(redis_config={"databases": 2}),
        ["django_app_cache_aliases.dj_session.db = 2", "2 databases", "0 to 1"],
    ),
    "a db in quotes": ("alias", alias(db="1"), ["default.db = '1'", "without quotes"]),
    "a db below nothing": ("alias", alias(db=-1), ["default.db = -1"]),
    "B31 seconds with a unit": (
        "alias",
        alias(timeout="300s"),
        ["default.timeout = '300s'", "text", "silently take 300", "whole number of seconds"],
    ),
    "B31 None in quotes": ("alias", alias(timeout="None"), ["default.timeout = 'None'", "null for ever"]),
    "B31 over before it begins": ("alias", alias(timeout=-5), ["default.timeout = -5", "nothing would be cached"]),
    "B31 half a second": ("alias", alias(timeout=0.5), ["default.timeout = 0.5", "nothing would be cached"]),
    "a timeout that is true": ("alias", alias(timeout=True), ["default.timeout = True"]),
    "a number in quotes": ("alias", alias(timeout="60"), ["default.timeout = '60'", "no quotes"]),
    "B32 a number as text": (
        "alias",
        options_of("builtin", socket_timeout="5.5"),
        ["default.options.socket_timeout = '5.5'", "must be a number"],
    ),
    "no time at all": ("alias", options_of("builtin", socket_timeout=0), ["options.socket_timeout = 0", "above 0"]),
    "no connection at all": ("alias", options_of("builtin", max_connections=0), ["max_connections = 0", "least 1"]),
    "B34 an option with a slip": (
        "alias",
        options_of("builtin", socket_conect_timeout=1),
        ["options.socket_conect_timeout", "did you mean socket_connect_timeout?"],
    ),
    "an option of resilient with a slip": (
        "alias",
        options_of("resilient", retry_dedline=1),
        ["did you mean retry_deadline?"],
    ),
    "an option of django-redis with a slip": (
        "alias",
        options_of("django_redis", IGNORE_EXCEPTION=True),
        ["did you mean IGNORE_EXCEPTIONS?"],
    ),
    "B35 an option of django-redis": (
        "alias",
        options_of("builtin", CLIENT_CLASS="x"),
        ["options.CLIENT_CLASS", "belongs to django_redis", "cache_client is builtin"],
    ),
    "B35 a compressor of django-redis": (
        "alias",
        aliases("builtin", compressor="zlib"),
        ["default.compressor = 'zlib'", "cache_client builtin"],
    ),
    "B35 db as an option": ("alias", options_of("django_redis", db=1), ["options.db = 1", "beside options"]),
    "a bound of locmem": ("alias", options_of("builtin", MAX_ENTRIES=1000), ["MAX_ENTRIES = 1000", "redis_maxmemory"]),
    "a boolean as text": (
        "alias",
        options_of("django_redis", IGNORE_EXCEPTIONS="False"),
        ["IGNORE_EXCEPTIONS = 'False'", "true or false"],
    ),
    "TLS as an option": ("alias", options_of("builtin", ssl=True), ["options.ssl", "redis_tls"]),
    "values that are text": ("alias", options_of("builtin", decode_responses=True), ["decode_responses", "bytes"]),
    "B14 a location": ("alias", alias(location="127.0.0.1:6379"), ["default.location", "the inventory's hosts"]),
    "an alias's word with a slip": ("alias", alias(timout=3), ["default.timout", "did you mean timeout?"]),
    "an alias that is a list": (
        "alias",
        standalone(django_app_cache_aliases={"default": [], "dj_session": {}}),
        ["django_app_cache_aliases.default", "no mapping"],
    ),
    "a prefix that is a number": ("alias", alias(key_prefix=2024), ["default.key_prefix = 2024", "in quotes"]),
    "no default": (
        "alias",
        standalone(django_app_cache_aliases={"dj_session": {}}),
        ["django_app_cache_aliases", "'default'"],
    ),
    "sessions without an alias": (
        "alias",
        standalone(django_app_cache_aliases={"default": {}}),
        ["dj_session", "the sessions use this alias", "django_app_session_alias"],
    ),
    "two aliases with one pool": (
        "alias",
        standalone(
            cache_client="django_redis",
            django_app_cache_aliases={"default": {}, "dj_session": {"options": {"socket_timeout": 1}}},
        ),
        ["dj_session", "options of default"],
    ),
    "logins that get lost": (
        "alias-policy",
        standalone(
            cache_client="resilient", django_app_cache_aliases={"default": {}, "dj_session": {"on_error": "miss"}}
        ),
        ["dj_session.on_error = 'miss'", "not logged in"],
    ),
    "B37 a client of a later Django": (
        "client",
        standalone(cache_client="builtin", django_app_django_version="3.2"),
        ["cache_client = 'builtin'", "Django 3.2 has no client builtin", "cache_client: django_redis"],
    ),
    "a client without Sentinel": (
        "client",
        given("sentinel", 3, 3, cache_client="builtin"),
        ["cache_client = 'builtin'", "no mode sentinel", "resilient"],
    ),
    "a client without Cluster": ("client", given("cluster", 6, cache_client="django_redis"), ["no mode cluster"]),
    "B14 no scheme": ("caches", caches("127.0.0.1:6379"), ["default.LOCATION = '127.0.0.1:6379'", "redis://"]),
    "B14 half a scheme": ("caches", caches(["redis:/h"]), ["'redis:/h'", "redis://"]),
    "B14 a loud scheme": ("caches", caches(["REDIS://h:6379"]), ["'REDIS://h:6379'", "redis://"]),
    "B16 a password in a URL": (
        "caches",
        caches(["redis://:p@ss/w#rd@192.0.2.11:6379"]),
        ["default.LOCATION", "percent-encoded", "the option password"],
    ),
    "a blank behind a comma": ("caches", caches("redis://a:1, redis://b:2"), ["redis://"]),
    "a server twice": ("caches", caches(["redis://a:1", "redis://a:1"]), ["twice"]),
    "a port that is too high": ("caches", caches(["redis://a:99999"]), ["'redis://a:99999'", "65535"]),
    "a database that is not there": ("caches", caches(["redis://a:1/99"]), ["16 databases", "0 to 15"]),
    "two databases": ("caches", caches(["redis://a:1/2"], OPTIONS={"db": 1}), ["OPTIONS.db = 1", "2", "win silently"]),
    "TLS without TLS": ("caches", caches(["redis://a:1"], OPTIONS={"ssl_ca_certs": "/ca"}), ["ssl_ca_certs", "rediss"]),
    "TLS that asks no Sentinel": (
        "caches",
        caches(["rediss://shop/1"], "django_redis.cache.RedisCache", OPTIONS={"SENTINELS": [["192.0.2.1", 26379]]}),
        ["default.LOCATION", "ask no Sentinel", "ssl: true in CONNECTION_POOL_KWARGS"],
    ),
    "keepalive of a socket": (
        "caches",
        caches(["unix:///run/redis.sock"], OPTIONS={"socket_keepalive": True}),
        ["socket_keepalive", "unix://"],
    ),
    "a semicolon of django-redis": (
        "caches",
        caches("redis://a:1/1;redis://b:1/1", backend="django_redis.cache.RedisCache"),
        ["LOCATION", "a list of URLs"],
    ),
    "Sentinels as text": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"SENTINELS": ["h:26379"]}),
        ["OPTIONS.SENTINELS", "pairs"],
    ),
    "a short path": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"COMPRESSOR": "zlib"}),
        ["OPTIONS.COMPRESSOR = 'zlib'", "dotted path"],
    ),
    "a backend with a slip": (
        "caches",
        caches(backend="django.core.cache.backends.redis.RedisCach"),
        ["default.BACKEND", f"did you mean {BUILTIN_PATH}?"],
    ),
    "a backend of a later Django": (
        "caches",
        changed(caches(), "app-1", django_app_django_version="3.2"),
        ["default.BACKEND", "Django 3.2"],
    ),
    "an alias that is a password": (
        "alias",
        standalone(django_app_cache_aliases={"default": "hunter2", "dj_session": {"options": "password=hunter2"}}),
        ["django_app_cache_aliases.default", "no mapping", "dj_session.options"],
    ),
    "an alias that is a number": (
        "alias",
        standalone(django_app_cache_aliases={1: {}, "default": {}}),
        ["dj_session", "one of 1, default"],
    ),
    "a database in letters": ("caches", caches(["redis://a:1/abc"]), ["silently take 0"]),
    "no server at all": ("caches", caches([]), ["LOCATION", "no server"]),
    "a TIMEOUT in quotes": ("caches", caches(TIMEOUT="None"), ["default.TIMEOUT = 'None'", "300"]),
    "a bound that is none": ("caches", caches(OPTIONS={"MAX_ENTRIES": 1}), ["OPTIONS.MAX_ENTRIES", "redis_maxmemory"]),
    "an option that is ignored": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"socket_timeout": 1}),
        ["OPTIONS.socket_timeout = 1", "CONNECTION_POOL_KWARGS"],
    ),
    "a pool with a slip": (
        "caches",
        caches(backend="django_redis.cache.RedisCache", OPTIONS={"CONNECTION_POOL_KWARGS": {"max_conections": 1}}),
        ["CONNECTION_POOL_KWARGS.max_conections", "did you mean max_connections?"],
    ),
    "an entry with a slip": ("caches", caches(KEY_PREFX="x"), ["default.KEY_PREFX", "did you mean KEY_PREFIX?"]),
    "no BACKEND": (
        "caches",
        standalone(django_app_session_alias="", django_app_caches={"default": {"LOCATION": "x"}}),
        ["default.BACKEND"],
    ),
    "sessions without an entry": (
        "caches",
        standalone(django_app_caches={"default": {"BACKEND": BUILTIN_PATH, "LOCATION": "redis://a:1"}}),
        ["django_app_session_alias = 'dj_session'", "no", "choose default"],
    ),
    "everybody's host": (
        "settings",
        standalone(django_app_allowed_hosts=["*"]),
        ["app-1: django_app_allowed_hosts = ['*']", "any name"],
    ),
    "nobody's host": ("settings", standalone(django_app_allowed_hosts=[]), ["refuse every request"]),
    "DEBUG": ("settings", standalone(django_app_settings={"DEBUG": True}), ["django_app_settings.DEBUG = True"]),
    "DEBUG in quotes": ("settings", standalone(django_app_settings={"DEBUG": "False"}), ["DEBUG = 'False'"]),
    "a key in two places": (
        "settings",
        standalone(django_app_settings={"SECRET_KEY": "hunter2"}),
        ["django_app_settings.SECRET_KEY", "django_app_secret_key"],
    ),
    "a small setting": ("settings", standalone(django_app_settings={"debug": True}), ["debug", "write DEBUG"]),
    "a path for a module": (
        "python-name",
        standalone(django_app_base_settings="config/settings.py"),
        ["django_app_base_settings = 'config/settings.py'", "config.settings"],
    ),
    "a module for a callable": ("python-name", standalone(django_app_wsgi="config.wsgi"), ["config.wsgi:application"]),
}
