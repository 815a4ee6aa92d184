"""How Django knows this app."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from .checks import check_caches


class CachestackConfig(AppConfig):
    """The app `cachestack`."""

    name = "cachestack"

    def ready(self) -> None:
        """Let `manage.py check`, and every command that checks, look at CACHES."""
        register(check_caches, Tags.caches)
