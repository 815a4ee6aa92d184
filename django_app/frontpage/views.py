"""The front page: whether the caches answer, and on this machine how they are deployed."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from cachestack.aliases import deployment, get_aliases
from cachestack.middleware import is_local
from cachestack.probe import overall, probe_all


@never_cache
def frontpage(request: HttpRequest) -> HttpResponse:
    """Answer 200 whatever the caches do: a page that dies with its cache cannot tell that the cache is down.

    How they are deployed is nobody's business but this machine's.
    """
    answers = probe_all(get_aliases())
    context: dict[str, Any] = {"status": overall(answers)}
    if is_local(request):
        context.update(deployment=deployment(), answers=answers)
    return render(request, "frontpage/index.html", context)
