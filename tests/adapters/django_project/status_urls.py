"""An included URLconf."""

from django.urls import path

from apikey_guard.django import require_scopes
from tests.adapters.django_project import views

urlpatterns = [
    path("ping/", views.private),
    path("inner/", require_scopes()(views.private)),
]
