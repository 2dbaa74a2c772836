"""``python -m tests.docs.run_page PAGE``: does what a page says, in a process and directory of its own.

``https://keys.example.com`` is played by a key service on loopback that knows one key, ``my-key``,
of the consumer ``acme``. Python blocks start with these names:

``app``
    a WSGI app that answers ``200`` and the name of the consumer.
``get(app, path, method=..., query=..., headers=...)``
    one WSGI call; see ``tests/harness/wsgi.py``.
``service``
    the key service.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from apikey_guard.settings import load_settings
from apikey_guard.testing import LoopbackKeyService
from tests.docs.page import Block, read_page
from tests.harness import Response, build_environ, call

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 60


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    consumer = environ.get("apikey_guard.consumer")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"hello {consumer.username if consumer else 'stranger'}\n".encode()]


def get(
    app: WSGIApplication,
    path: str = "/",
    *,
    method: str = "GET",
    query: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> Response:
    return call(app, build_environ(path, method, query=query, headers=headers, body=body))


class Runner:
    """Runs the blocks of one page, in order.

    :param page: its name, for what is said about failures.
    :param service: plays the key service of the examples.
    """

    def __init__(self, page: str, service: LoopbackKeyService) -> None:
        self.page = page
        self.service = service
        self.printed = ""
        self.names: dict[str, object] = {
            "__name__": "__page__",
            "app": app,
            "get": get,
            "service": service,
        }

    def run(self, block: Block) -> None:
        """Do what the block says.

        :raises Exception: whatever the block raises; AssertionError where it does not do what the
            page says.
        """
        word, _, rest = block.action.partition(" ")
        source = self._for_loopback(block.source)
        if block.action.startswith("not run, "):
            return
        if word == "elsewhere":
            assert (ROOT / rest).exists(), f"{rest} does not exist"
        elif word == "file":
            Path(rest).write_text(source + "\n", "utf-8")
        elif word == "output":
            assert_printed(source, self.printed)
        elif block.action == "key file":
            self._key_file(source)
        elif word == "raises":
            self._must_raise(rest, block, source)
        elif block.action:
            raise AssertionError(f"'test: {block.action}' is not known; see tests/docs/page.py")
        elif block.language in {"python", "first", "then"}:
            self._python(block, source)
        elif block.language == "pycon":
            self._doctest(block, source)
        elif block.language in {"bash", "console"}:
            self._commands(source)
        elif block.language == "toml":
            Path("settings.toml").write_text(source, "utf-8")
            load_settings(config_file="settings.toml", environ={})
        else:
            json.loads(source)

    def _for_loopback(self, source: str) -> str:
        base = self.service.url.removesuffix("/verify")
        return source.replace("https://keys.example.com", base)

    def _python(self, block: Block, source: str) -> None:
        # Empty lines before it, so that a traceback shows the line of the page.
        code = compile("\n" * (block.line - 1) + source, self.page, "exec", dont_inherit=True)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, self.names)
        self.printed = printed.getvalue()

    def _must_raise(self, name: str, block: Block, source: str) -> None:
        try:
            self._python(block, source)
        except Exception as error:
            if name not in {kind.__name__ for kind in type(error).__mro__}:
                raise
            self.printed = str(error)
        else:
            raise AssertionError(f"did not raise {name}")

    def _doctest(self, block: Block, source: str) -> None:
        test = doctest.DocTestParser().get_doctest(source + "\n", self.names, self.page, None, block.line - 1)
        said = io.StringIO()
        failed = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
            test, out=said.write, clear_globs=False
        )
        assert not failed.failed, said.getvalue()

    def _commands(self, source: str) -> None:
        lines = source.splitlines()
        prompted = any(line.startswith("$ ") for line in lines)
        commands = [line.removeprefix("$ ") for line in lines if not prompted or line.startswith("$ ")]
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.getcwd()]),
            },
        )
        assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}"
        self.printed = done.stdout
        expected = "\n".join(line for line in lines if prompted and not line.startswith("$ "))
        if expected.strip():
            assert_printed(expected, self.printed)

    def _key_file(self, source: str) -> None:
        from apikey_guard.keyservice.file import FileKeyService

        assert tomllib.loads(source), "an empty key file shows nothing"
        path = Path("keys.toml")
        path.write_text(source, "utf-8")
        path.chmod(0o600)
        FileKeyService(path).close()


def assert_printed(expected: str, printed: str) -> None:
    """What a page shows is what was printed; ``...`` stands for anything, also for lines."""
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*?")
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), (
        f"the page shows\n{expected}\nbut it is\n{printed}"
    )


def main(path: Path) -> int:
    """Run a page; says which block failed.

    :returns: the exit status of the process.
    """
    blocks = read_page(path)
    with (
        LoopbackKeyService({"my-key": {"consumer": {"id": "42", "username": "acme"}}}) as service,
        tempfile.TemporaryDirectory() as directory,
        contextlib.chdir(directory),
    ):
        sys.path.insert(0, directory)
        runner = Runner(str(path), service)
        for block in blocks:
            try:
                runner.run(block)
            except BaseException:
                print(
                    f"{path}, line {block.line}: this block does not hold:\n\n{block.source}\n",
                    file=sys.stderr,
                )
                raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
