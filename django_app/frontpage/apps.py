"""How Django knows this app."""

from django.apps import AppConfig


class FrontpageConfig(AppConfig):
    """The app `frontpage`."""

    name = "frontpage"
