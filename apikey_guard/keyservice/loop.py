"""An event loop of our own, for an async hook where no caller has one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import TypeVar, cast

from apikey_guard.errors import KeyServiceUnavailable, Overloaded
from apikey_guard.process import PerProcess

T = TypeVar("T")


class OwnLoop:
    """One event loop in a daemon thread, made on first use in each process.

    One for all questions: what an async hook keeps open, such as a connection pool, belongs to one loop.

    :param timeout: seconds after which what runs is cancelled.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._made = PerProcess(_Made)

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """What the coroutine returns or raises. Called from threads without a loop.

        :raises KeyServiceUnavailable: it took too long.
        :raises Overloaded: the system gives no thread or descriptor for the loop.
        """
        try:
            loop = self._made.get().running()
        except BaseException:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(_kept(coroutine), loop)
        try:
            result, end = future.result(self._timeout)
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            raise KeyServiceUnavailable("timeout") from None
        if end is not None:
            raise end
        return cast("T", result)

    def close(self) -> None:
        """End the thread. May be called twice."""
        made = self._made.made()
        if made is not None and made.loop is not None:
            loop, made.loop = made.loop, None
            loop.call_soon_threadsafe(loop.stop)


class _Made:
    """The loop of one process, if it is needed there."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None

    def running(self) -> asyncio.AbstractEventLoop:
        with self._making:
            if self.loop is None:
                try:
                    loop = asyncio.new_event_loop()
                except OSError:
                    raise Overloaded("no_descriptor") from None
                thread = threading.Thread(target=_serve, args=(loop,), name="apikey-guard-loop", daemon=True)
                try:
                    thread.start()
                except (RuntimeError, MemoryError):
                    loop.close()
                    raise Overloaded("no_thread") from None
                self.loop = loop
            return self.loop


async def _kept(coroutine: Coroutine[object, object, T]) -> tuple[T | None, BaseException | None]:
    """What the coroutine returns, or what would end the loop of everybody if it were raised there."""
    try:
        return await coroutine, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
