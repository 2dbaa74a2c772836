"""Who waits for a slot to ask the key service, and who is next.

Keys that were valid lately wait in a lane of their own. All others wait by the network that they
come from, and these take turns: whoever sends a thousand keys waits behind himself.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

# The share of the patience that the key service needs for an answer, roughly.
_TOO_LATE = 0.05


class Waiting(Protocol):
    """What waits.

    :ivar deadline: monotonic second after which nobody needs it.
    """

    deadline: float


W = TypeVar("W", bound=Waiting)


class Lanes(Generic[W]):
    """Two lanes; the second is shared in turns. Not for several threads at once.

    :param most: how many may wait in each lane.
    :param patience: seconds from the moment something is put here to its deadline.
    """

    def __init__(self, *, most: int, patience: float) -> None:
        self._most = most
        self._patience = patience
        self._known: deque[W] = deque()
        self._others: OrderedDict[str, deque[W]] = OrderedDict()
        self._others_waiting = 0
        self._longest: deque[W] = deque()

    def __len__(self) -> int:
        return len(self._known) + self._others_waiting

    def __iter__(self) -> Iterator[W]:
        yield from self._known
        for queue in self._others.values():
            yield from queue

    def put(self, waiter: W, *, known: bool, peer: str) -> W | None:
        """Let something wait.

        :param known: whether its key was valid lately.
        :param peer: where it comes from.
        :returns: what has no room any more and waits no longer, perhaps the same.
        """
        if known:
            if len(self._known) >= self._most:
                return waiter
            self._known.append(waiter)
            return None
        dropped = None
        if self._others_waiting >= self._most:
            # Who takes most of the room makes some: his oldest, which would soon be given up anyway.
            queue = self._longest or next(queue for queue in self._others.values() if queue)
            dropped = queue.popleft()
            self._others_waiting -= 1
        queue = self._others.setdefault(peer, deque())
        queue.append(waiter)
        self._others_waiting += 1
        if len(queue) > len(self._longest):
            self._longest = queue
        return dropped

    def take(self, now: float, *, others: bool) -> W | None:
        """What is next, or None.

        :param now: monotonic seconds.
        :param others: whether a key that was not valid lately may be next.
        """
        if self._known:
            return self._known.popleft()
        while others and self._others:
            peer, queue = self._others.popitem(last=False)
            if not queue:
                continue
            self._others_waiting -= 1
            # Where the oldest has waited so long that its answer comes too late, and there are more
            # of its kind, the youngest still has all its time.
            crowded = now <= queue[0].deadline < now + self._patience * _TOO_LATE
            waiter = queue.pop() if crowded else queue.popleft()
            if queue:
                self._others[peer] = queue
            return waiter
        return None

    def clear(self) -> list[W]:
        """Take everything out."""
        waiting = list(self)
        self._known.clear()
        self._others.clear()
        self._others_waiting = 0
        self._longest = deque()
        return waiting
