"""The two views of the ASGI measurement, and their URLs: each looks one key up in the cache that its path names."""

from __future__ import annotations

from django.core.cache import caches
from django.http import HttpRequest, HttpResponse
from django.urls import path

KEY = "asgi"


async def in_the_event_loop(_request: HttpRequest, alias: str) -> HttpResponse:
    """Ask as asynchronous code does."""
    return HttpResponse(str(await caches[alias].aget(KEY)))


def in_a_thread(_request: HttpRequest, alias: str) -> HttpResponse:
    """Ask as any other view does, which under ASGI runs in a thread."""
    return HttpResponse(str(caches[alias].get(KEY)))


urlpatterns = [
    path("async/<alias>", in_the_event_loop),
    path("sync/<alias>", in_a_thread),
]
