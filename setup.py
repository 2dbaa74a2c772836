"""The README for a package index, where links into the repository lead nowhere: they become their words.

Everything else about the package is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

RELATIVE_LINK = re.compile(r"!?\[([^\]]+)\]\((?!https?:|#)[^)]+\)")
README = Path(__file__).with_name("README.md").read_text("utf-8")

setup(
    long_description=RELATIVE_LINK.sub(r"\1", README),
    long_description_content_type="text/markdown",
)
