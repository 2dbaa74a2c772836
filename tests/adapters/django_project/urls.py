"""The URLs of the tests' project."""

from pathlib import Path

from django.urls import include, path, register_converter
from django.views.static import serve

from apikey_guard.django import public
from tests.adapters.django_project import views

register_converter(views.Counted, "counted")

urlpatterns = [
    path("plain/", views.plain),
    path("café/", views.plain),
    path("counted/<counted:name>/", views.plain),
    path("open-counted/<counted:name>/", views.health),
    path("async/", views.plain_async),
    path("form/", views.form),
    path("health/", views.health),
    path("health-async/", views.health_async),
    path("maybe/", views.maybe),
    path("scoped/", views.scoped),
    path("scoped-async/", views.scoped_async),
    path("class/", views.Plain.as_view()),
    path("open-class/", views.Open.as_view()),
    path("open-dispatch/", views.OpenDispatch.as_view()),
    path("open-as-view/", public(views.Plain.as_view())),
    path("scoped-class/", views.ScopedAsync.as_view()),
    path("scoped-method/", views.ScopedMethod.as_view()),
    path("included/", include("tests.adapters.django_project.status_urls")),
    path("open/", public(include("tests.adapters.django_project.status_urls"))),
    path("static/<path:path>", serve, {"document_root": str(Path(__file__).parent)}),
]

handler404 = views.not_found
