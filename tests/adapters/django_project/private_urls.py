"""The same paths as the main URLconf, with other views behind them."""

from django.urls import path

from tests.adapters.django_project import views

urlpatterns = [path("health/", views.private)]
