"""Health endpoints for load balancers and deployments."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from .aliases import get_aliases
from .probe import probe

NO_STORE = {"Cache-Control": "no-store"}


def healthz() -> JsonResponse:
    """Answer 200: the process is alive. No cache is touched."""
    return JsonResponse({"status": "ok"}, headers=NO_STORE)


def readyz() -> JsonResponse:
    """Answer 200 if every cache does, else 503 with the class of each error."""
    answers = [probe(alias) for alias in get_aliases()]
    ok = all(answer.error is None for answer in answers)
    return JsonResponse(
        {
            "status": "ok" if ok else "error",
            "aliases": {
                answer.alias.name: {
                    "status": "ok" if answer.error is None else "error",
                    "error": answer.error,
                    "ms": answer.ms,
                }
                for answer in answers
            },
        },
        status=200 if ok else 503,
        headers=NO_STORE,
    )


class HealthMiddleware(MiddlewareMixin):
    """Answer `GET /healthz` and `GET /readyz`; pass everything else on.

    Put it first in MIDDLEWARE: then no redirect, host check or URL configuration of the project stands before it.
    """

    def process_request(self, request: HttpRequest) -> JsonResponse | None:
        """Answer a health request. None lets Django go on with any other."""
        if request.method == "GET" and request.path_info == "/healthz":
            return healthz()
        if request.method == "GET" and request.path_info == "/readyz":
            return readyz()
        return None

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do as MiddlewareMixin, but leave the event loop only for /readyz, which may block."""
        if request.path_info == "/readyz":
            response = await sync_to_async(self.process_request)(request)
        else:
            response = self.process_request(request)
        return response or await cast("Awaitable[HttpResponseBase]", self.get_response(request))
