"""The front page: how the caches are deployed, and whether they answer."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from cachestack.aliases import deployment, get_aliases
from cachestack.probe import probe_all


@never_cache
def frontpage(request: HttpRequest) -> HttpResponse:
    """Answer 200 whatever the caches do: a page that dies with its cache cannot tell that the cache is down."""
    context = {"deployment": deployment(), "answers": probe_all(get_aliases())}
    return render(request, "frontpage/index.html", context)
