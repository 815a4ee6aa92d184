"""The shop's one page."""

from django.core.cache import cache
from django.http import HttpRequest, JsonResponse


def visit(_request: HttpRequest, path: str) -> JsonResponse:
    """Count this visit in the cache: {"path": "shoes", "visits": 3}."""
    cache.add("visits", 0, timeout=None)
    return JsonResponse({"path": path, "visits": cache.incr("visits")})
