from django.apps import AppConfig


class CachestackConfig(AppConfig):
    name = 'cachestack'
