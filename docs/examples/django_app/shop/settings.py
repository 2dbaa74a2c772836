"""Settings of a small API behind the guard."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for trying things out")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["apikey_guard.django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "apikey_guard.django.GuardMiddleware",
    "django.middleware.common.CommonMiddleware",
]
APIKEY_GUARD = {"VALIDATOR_URL": os.environ.get("KEY_SERVICE_URL", "http://127.0.0.1:8181/verify")}
USE_TZ = True
