"""An event loop of our own, for an async hook where no caller has one."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Coroutine
from typing import TypeVar, cast

from apikey_guard.errors import KeyServiceUnavailable, Overloaded

T = TypeVar("T")


def is_async(called: object) -> bool:
    """Whether calling it gives something to be awaited."""
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(
        getattr(type(called), "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


class OwnLoop:
    """One event loop in a daemon thread, made on first use in each process.

    One for all questions: what an async hook keeps open, such as a connection pool, belongs to one loop.

    :param timeout: seconds after which what runs is cancelled.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._making = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """What the coroutine returns or raises. Called from threads without a loop.

        :raises KeyServiceUnavailable: it took too long.
        :raises Overloaded: the system gives no thread or descriptor for the loop.
        """
        try:
            loop = self._running()
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
        loop, self._loop = self._loop, None
        if loop is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            # Another thread of the parent may have held it when this process was forked off.
            self._making, self._loop, self._pid = threading.Lock(), None, os.getpid()
        with self._making:
            if self._loop is None:
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
                self._loop = loop
            return self._loop


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
