"""The project's URLs: one front page. `/healthz` and `/readyz` are answered by cachestack.middleware."""

from django.urls import path

from frontpage.views import frontpage

urlpatterns = [
    path("", frontpage, name="frontpage"),
]
