"""Base settings: enough for `python manage.py runserver` on a laptop, with no database and no Redis.

A deployment imports these and replaces SECRET_KEY, DEBUG, ALLOWED_HOSTS, CACHES and the SESSION_* settings.
"""

from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent

# GENERAL
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#debug
# A deployment sets this to False.
DEBUG = True
# https://docs.djangoproject.com/en/stable/ref/settings/#secret-key
# For development alone, as its prefix says: `check --deploy` (security.W009) warns about it.
SECRET_KEY = "django-insecure-for-development-only-a-deployment-brings-its-own"
# https://docs.djangoproject.com/en/stable/ref/settings/#allowed-hosts
# Empty: with DEBUG, Django allows localhost.
ALLOWED_HOSTS: list[str] = []
# https://docs.djangoproject.com/en/stable/ref/settings/#language-code
LANGUAGE_CODE = "en-gb"
# https://docs.djangoproject.com/en/stable/ref/settings/#time-zone
TIME_ZONE = "UTC"
# https://docs.djangoproject.com/en/stable/ref/settings/#use-tz
USE_TZ = True

# URLS
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#root-urlconf
ROOT_URLCONF = "config.urls"
# https://docs.djangoproject.com/en/stable/ref/settings/#wsgi-application
WSGI_APPLICATION = "config.wsgi.application"

# APPS
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#installed-apps
INSTALLED_APPS = [
    "django.contrib.sessions",
    "frontpage",
    "cachestack",
]

# MIDDLEWARE
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#middleware
# HealthMiddleware is first: it has to answer whatever the others would do with the request.
MIDDLEWARE = [
    "cachestack.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# TEMPLATES
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#templates
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
    },
]

# DATABASES
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#databases
# None: nothing here needs one.
DATABASES: dict[str, Any] = {}

# CACHES
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#caches
# https://docs.djangoproject.com/en/stable/topics/cache/
# In the memory of each process. The two aliases are the ones that a deployment replaces.
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "default",
    },
    "dj_session": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "dj_session",
    },
}
# How the caches are deployed, as the front page and `cachecheck` name it.
CACHESTACK = {"mode": "locmem", "client": "builtin"}

# SESSIONS
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#session-engine
# Neither a database nor a shared cache is at hand, so a session lives in its cookie.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
# https://docs.djangoproject.com/en/stable/ref/settings/#session-cookie-httponly
SESSION_COOKIE_HTTPONLY = True

# SECURITY
# ------------------------------------------------------------------------------
# https://docs.djangoproject.com/en/stable/ref/settings/#csrf-cookie-httponly
CSRF_COOKIE_HTTPONLY = True
# https://docs.djangoproject.com/en/stable/ref/settings/#x-frame-options
X_FRAME_OPTIONS = "DENY"
