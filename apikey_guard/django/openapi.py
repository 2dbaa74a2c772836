"""drf-spectacular describes views with :class:`ApiKeyAuthentication`; importing this registers it."""

from __future__ import annotations

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from apikey_guard.django.guards import installed_guard


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its metaclass has no types
    """One security scheme per configured location; any one of them will do."""

    target_class = "apikey_guard.django.drf.ApiKeyAuthentication"
    match_subclasses = True

    @property
    def name(self) -> list[str]:  # type: ignore[override]  # several names are allowed
        """The names of the schemes."""
        return list(installed_guard().openapi_security_scheme())

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:  # noqa: ARG002 - its signature
        """The schemes themselves."""
        return list(installed_guard().openapi_security_scheme().values())

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[str]]]:  # noqa: ARG002 - its signature
        """Alternatives: a caller sends the key in one place."""
        return [{name: []} for name in self.name]
