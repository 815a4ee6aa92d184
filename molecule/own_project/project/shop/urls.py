"""The shop answers every path itself."""

from django.urls import re_path

from shop.views import visit

urlpatterns = [re_path(r"^(?P<path>.*)$", visit)]
