"""The body of an answer, piece by piece as it comes; what is cut never looks whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from apikey_guard.errors import OriginAborted, OriginError
from apikey_guard.http1.connection import Connection
from apikey_guard.http1.parser import Chunks, Malformed

# Gets the connection back, and whether another request may be sent on it.
Release = Callable[[Connection, bool], None]


class Body:
    """An iterator over the pieces; closing it before its end destroys the connection.

    :param connection: read to the end of the header.
    :param reusable: whether it may serve again after this answer.
    :param release: called once, when the body ends or is closed.
    """

    def __init__(self, connection: Connection, reusable: bool, release: Release) -> None:
        self._connection: Connection | None = connection
        self._reusable = reusable
        self._release = release
        self._received = connection.take_received()

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        connection = self._connection
        if connection is None:
            raise StopIteration
        try:
            piece = self._next(connection)
        except (OriginError, Malformed) as error:
            self.close()
            raise OriginAborted(str(error)) from None
        except BaseException:
            self.close()
            raise
        if not piece:
            self._end(self._reusable)
            raise StopIteration
        return piece

    def close(self) -> None:
        """Destroy the connection, unless the body has ended. May be called twice."""
        self._end(False)

    def _end(self, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection, reusable)

    def _more(self, connection: Connection) -> bytes:
        """The next bytes; b"" where the origin has closed."""
        data, self._received = self._received, b""
        return data or connection.receive()

    @abstractmethod
    def _next(self, connection: Connection) -> bytes:
        """The next piece, b"" at the end."""


class BodyOfLength(Body):
    """A body whose length was announced.

    :param length: in bytes.
    """

    def __init__(self, connection: Connection, reusable: bool, release: Release, *, length: int) -> None:
        super().__init__(connection, reusable, release)
        self._left = length

    def _next(self, connection: Connection) -> bytes:
        left = self._left
        if not left:
            return b""
        piece = self._more(connection)
        if len(piece) >= left:
            if len(piece) > left:
                # What comes after the end belongs to nobody; the next caller must not get it.
                self._reusable = False
                piece = piece[:left]
            # Given back before the piece is sent, so that it is there for the caller's next request.
            self._left = 0
            self._end(self._reusable)
        elif not piece:
            raise OriginAborted(f"{left} bytes are missing")
        else:
            self._left = left - len(piece)
        return piece


class BodyInChunks(Body):
    """A body in chunks (RFC 9112, section 7.1)."""

    def __init__(self, connection: Connection, reusable: bool, release: Release) -> None:
        super().__init__(connection, reusable, release)
        self._chunks = Chunks()

    def _next(self, connection: Connection) -> bytes:
        chunks = self._chunks
        piece = b""
        while not piece and not chunks.done:
            data = self._more(connection)
            if not data:
                raise OriginAborted("the last chunk is missing")
            piece = chunks.feed(data)
        if chunks.done:
            self._end(self._reusable and not chunks.surplus)
        return piece


class BodyToTheEnd(Body):
    """A body that ends where the connection does."""

    def _next(self, connection: Connection) -> bytes:
        return self._more(connection)
