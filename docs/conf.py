"""Sphinx: ``python -m sphinx -W -b html docs docs/_build``."""

from apikey_guard import __version__

project = "apikey-guard"
author = "the apikey-guard developers"
copyright = "2026, the apikey-guard developers"  # noqa: A001 - Sphinx wants this name
version = release = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "examples/**"]
myst_heading_anchors = 3
# The pages link to files of the repository (example projects, the licence) as GitHub shows them.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]

html_theme = "furo"
html_title = f"apikey-guard {__version__}"
html_static_path = ["_static"]
