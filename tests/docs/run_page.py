"""``python -m tests.docs.run_page PAGE``: does what a page says, in a process and directory of its own.

``https://keys.example.com`` is played by a key service on loopback that knows one key, ``my-key``,
of the consumer ``acme``; ``https://api.internal`` and ``https://reports.internal`` by origins that
answer with what they got. Port 8000 stands for a free one. The command ``apikey-guard`` is on the path.
Python blocks start with these names:

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
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from apikey_guard.settings import load_settings
from apikey_guard.testing import LoopbackKeyService
from tests.docs.page import Block, read_page
from tests.harness import Response, build_environ, call
from tests.harness.origin import Exchange, Origin, answer

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
    :param played: what stands on loopback for each address of the examples.
    """

    def __init__(self, page: str, service: LoopbackKeyService, played: Mapping[str, str]) -> None:
        self.page = page
        self.service = service
        self._played = played
        self._staying: list[tuple[Block, subprocess.Popen[bytes]]] = []
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
        elif word == "stays":
            self._stay(block, source)
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
        for address, ours in self._played.items():
            source = source.replace(address, ours)
        return source

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
            env=_environment(),
        )
        assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}"
        self.printed = done.stdout
        expected = "\n".join(line for line in lines if prompted and not line.startswith("$ "))
        if expected.strip():
            assert_printed(expected, self.printed)

    def _stay(self, block: Block, source: str) -> None:
        lines = source.splitlines()
        *before, command = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        expected = "\n".join(line for line in lines if not line.startswith("$ "))
        if "apikey-guard serve" in command and "--bind" not in command:
            command += f" --bind {self._played['127.0.0.1:8000']}"
        written = Path(f"staying-{len(self._staying)}.log")
        with written.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-euc", "\n".join([*before, f"exec {command}"])],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
        self._staying.append((block, process))
        end = time.monotonic() + COMMAND_SECONDS
        while not shown_in(expected, written.read_text()):
            assert process.poll() is None, f"ended with {process.returncode}:\n{written.read_text()}"
            assert time.monotonic() < end, f"the page shows\n{expected}\nbut it is\n{written.read_text()}"
            time.sleep(0.05)
        self.printed = written.read_text()

    def end(self) -> None:
        """End what runs until the page ends.

        :raises AssertionError: it had ended before, or does not end well.
        """
        for block, process in self._staying:
            where = f"{self.page}, line {block.line}"
            assert process.poll() is None, f"{where}: ended with {process.returncode} before the page did"
            process.terminate()
            assert process.wait(COMMAND_SECONDS) == 0, f"{where}: ended with {process.returncode}"

    def close(self) -> None:
        """Leave nothing running, whatever happened."""
        for _, process in self._staying:
            process.kill()
            process.wait()

    def _key_file(self, source: str) -> None:
        from apikey_guard.keyservice.keyfile.service import FileKeyService

        assert tomllib.loads(source), "an empty key file shows nothing"
        path = Path("keys.toml")
        path.write_text(source, "utf-8")
        path.chmod(0o600)
        FileKeyService(path).close()


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([f"{Path.cwd()}/bin", str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.getcwd()]),
    }


def shown_in(expected: str, printed: str) -> bool:
    """Whether what is shown is what was printed at the beginning."""
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*?")
    return re.match(pattern, printed, re.DOTALL) is not None


def got(name: str) -> Callable[[Exchange], None]:
    """The behaviour of an origin that answers with what it got."""

    def behave(exchange: Exchange) -> None:
        request = exchange.request
        line = request.line.removesuffix(" HTTP/1.1")
        said = f"{name} got {line} from {request.header('X-Consumer-Username') or 'somebody'}\n"
        exchange.send(answer(said.encode()))

    return behave


def make_command() -> None:
    """The command as an installation would put it on the path."""
    Path("bin").mkdir()
    command = Path("bin/apikey-guard")
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m apikey_guard "$@"\n')
    command.chmod(0o755)


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
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(
            LoopbackKeyService({"my-key": {"consumer": {"id": "42", "username": "acme"}}})
        )
        played = {
            "https://keys.example.com": service.url.removesuffix("/verify"),
            "127.0.0.1:8000": f"127.0.0.1:{_free_port()}",
        }
        for name in ("api.internal", "reports.internal"):
            origin = stack.enter_context(Origin())
            origin.behave(got(name))
            played[f"https://{name}"] = origin.url
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(contextlib.chdir(directory))
        sys.path.insert(0, directory)
        make_command()
        runner = Runner(str(path), service, played)
        stack.callback(runner.close)
        for block in blocks:
            try:
                runner.run(block)
            except BaseException:
                print(
                    f"{path}, line {block.line}: this block does not hold:\n\n{block.source}\n",
                    file=sys.stderr,
                )
                raise
        runner.end()
    return 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
