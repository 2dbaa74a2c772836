"""The command ``apikey-guard``: keys, settings, a key service and a demo from the command line.

Exit status:

====  =====================================================================================
0     done; for a question, the answer is yes
1     the answer is no: ``check`` found problems, the key is not valid, the tour went wrong
2     it could not be done: wrong usage, settings or key file that cannot be used, port taken
3     ``verify`` only: the key service gave no verdict
130   ended by Ctrl-C (143: by SIGTERM)
====  =====================================================================================
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from apikey_guard.cli.console import Console
from apikey_guard.cli.parser import parse
from apikey_guard.errors import ApiKeyGuardError, SettingsError

__all__ = ["main"]

_UNUSABLE = 2
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM
# As the shell shows it for commands that a closed pipe ends.
_NO_READER = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :param arguments: what follows the command's name; None takes it from the command line.
    :returns: the exit status.
    """
    console = Console(sys.stdout, sys.stderr, os.environ)
    # Commands say themselves what went wrong; without this, Python would print log lines too.
    logging.getLogger("apikey_guard").addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, _end)
    try:
        run, options = parse(arguments)
        status = run(options, console)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except SettingsError as error:
        count = len(error.problems)
        console.fail(f"{count} problem{'s' * (count != 1)} in the settings:", error.problems)
    except ApiKeyGuardError as error:
        console.fail(str(error))
    return _UNUSABLE


def _end(_signum: int, _frame: FrameType | None) -> None:
    # As an exception, so that temporary files and servers are let go of.
    sys.exit(_TERMINATED)
