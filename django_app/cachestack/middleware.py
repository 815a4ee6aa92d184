"""Health endpoints for load balancers and deployments."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from .aliases import get_aliases
from .probe import ERROR, overall, probe_all

NO_STORE = {"Cache-Control": "no-store"}
# What web servers add to the requests that they hand on.
FORWARDED = frozenset(
    f"HTTP_{name}"
    for name in ("FORWARDED", "VIA", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_FORWARDED_PROTO", "X_REAL_IP")
)


def healthz() -> JsonResponse:
    """Answer 200: the process is alive. No cache is touched."""
    return JsonResponse({"status": "ok"}, headers=NO_STORE)


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if this process can serve, else 503; on this machine with the status and error class of each cache.

    It can while a cache is degraded: it would be worse if every process were taken out of service during a failover.
    """
    answers = probe_all(get_aliases())
    status = overall(answers)
    body: dict[str, Any] = {"status": status}
    if is_local(request):
        body["aliases"] = {
            answer.alias.name: {
                "status": answer.status,
                "error": answer.error,
                "ms": answer.ms,
            }
            for answer in answers
        }
    return JsonResponse(body, status=503 if status == ERROR else 200, headers=NO_STORE)


def is_local(request: HttpRequest) -> bool:
    """Tell whether the request comes from this machine, and not from somebody else through a web server on it."""
    address = request.META.get("REMOTE_ADDR", "")
    return (address.startswith("127.") or address == "::1") and FORWARDED.isdisjoint(request.META)


class HealthMiddleware(MiddlewareMixin):
    """Answer `GET /healthz` and `GET /readyz`; pass everything else on.

    Put it first in MIDDLEWARE: then no redirect, host check or URL configuration of the project stands before it.
    """

    def process_request(self, request: HttpRequest) -> JsonResponse | None:
        """Answer a health request. None lets Django go on with any other."""
        if request.method == "GET" and request.path_info == "/healthz":
            return healthz()
        if request.method == "GET" and request.path_info == "/readyz":
            return readyz(request)
        return None

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do as MiddlewareMixin, but leave the event loop only for /readyz, which may block."""
        if request.path_info == "/readyz":
            response = await sync_to_async(self.process_request)(request)
        else:
            response = self.process_request(request)
        return response or await cast("Awaitable[HttpResponseBase]", self.get_response(request))
