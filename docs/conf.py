"""Sphinx: ``python -m sphinx -W -b html docs docs/_build``."""

import django.conf

from apikey_guard import __version__

project = "apikey-guard"
author = "the apikey-guard developers"
copyright = "2026, the apikey-guard developers"  # noqa: A001 - Sphinx wants this name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "examples/**"]
myst_heading_anchors = 3

# The reference is made of the docstrings; REST framework can be imported only with settings.
django.conf.settings.configure()
autodoc_default_options = {"members": True, "member-order": "groupwise"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"


def setup(app):
    """Fields of named tuples are told with their class; what Python itself says of each is left out."""
    app.connect("autodoc-skip-member", lambda *event: is_field(event[3]) or None)


def is_field(member):
    return (getattr(member, "__doc__", None) or "").startswith("Alias for field number")


html_theme = "furo"
html_title = f"apikey-guard {__version__}"
html_static_path = ["_static"]
