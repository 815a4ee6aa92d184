"""How Django knows this app."""

from django.apps import AppConfig


class CachestackConfig(AppConfig):
    """The app `cachestack`."""

    name = "cachestack"
