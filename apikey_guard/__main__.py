"""``python -m apikey_guard``: the same as the command ``apikey-guard``."""

import sys

from apikey_guard.cli import main

if __name__ == "__main__":
    sys.exit(main())
