"""Every operation of Django's cache API, run against the caches of this project (`manage.py cachecheck`)."""
