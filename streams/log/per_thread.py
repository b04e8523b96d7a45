"""One resource a thread, for clients that must not be shared between threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from streams.contract.errors import ConflictError

T = TypeVar("T")


class PerThread(Generic[T]):
    """Makes a resource on a thread's first use; frees those of ended threads as others come, and all at `close`."""

    def __init__(self, make: Callable[[], T], free: Callable[[T], None]) -> None:
        self._make = make
        self._free = free
        self._items: dict[int, T] = {}
        self._lock = threading.Lock()
        self._closed = False

    def get(self) -> T:
        """This thread's resource."""
        item = self._items.get(threading.get_ident())
        return self._add() if item is None else item

    def close(self) -> None:
        """Frees every resource. No thread may be using one any more."""
        with self._lock:
            self._closed = True
            items, self._items = self._items, {}
        for item in items.values():
            self._free(item)

    def _add(self) -> T:
        if self._closed:
            raise ConflictError("the event log is closed", remedy="open it again")
        item = self._make()
        # current_thread() also enters threads that Python did not start into enumerate().
        ident = threading.current_thread().ident
        assert ident is not None
        with self._lock:
            ended = self._items.keys() - {thread.ident for thread in threading.enumerate()}
            freed = [self._items.pop(other) for other in ended]
            self._items[ident] = item
        for old in freed:
            self._free(old)
        return item
