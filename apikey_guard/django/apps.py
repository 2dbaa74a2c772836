"""The app ``apikey_guard.django``: optional; it brings the system checks and the commands."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig, apps

from apikey_guard.django.guards import APP_LABEL, GuardHolder
from apikey_guard.guard import Guard


class ApiKeyGuardConfig(AppConfig):
    """Holds the guard of this process for the middleware, the commands and REST framework."""

    name = "apikey_guard.django"
    label = APP_LABEL
    verbose_name = "API key guard"

    @property
    def guard(self) -> Guard:
        """The guard; made now where there is none.

        :raises SettingsError: lists everything that is wrong with the settings.
        """
        return self.holder.guard

    def ready(self) -> None:
        """Register the system checks; and the OpenAPI extension where drf-spectacular is installed."""
        self.holder = GuardHolder()
        from apikey_guard.django import checks

        checks.register()
        if apps.is_installed("drf_spectacular"):
            # Importing it registers the extension.
            import_module("apikey_guard.django.openapi")
