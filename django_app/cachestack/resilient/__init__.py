"""Django cache backends that survive what Redis does. Needs Django 4.2 and redis-py 5 or later."""

from .backends import ClusterRedisCache, RedisCache, SentinelRedisCache
from .deadlines import GivenUp, deadline
from .errors import CacheUnavailableError, OutcomeUnknownError
from .registry import statistics

__all__ = [
    "CacheUnavailableError",
    "ClusterRedisCache",
    "GivenUp",
    "OutcomeUnknownError",
    "RedisCache",
    "SentinelRedisCache",
    "deadline",
    "statistics",
]
