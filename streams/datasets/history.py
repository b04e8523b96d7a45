"""What each unit clicked before, for logs that do not say so themselves."""

from __future__ import annotations

from collections import OrderedDict


class RecentHistory:
    """The newest `length` items of the `max_units` units seen last; older units are forgotten."""

    def __init__(self, *, length: int = 50, max_units: int = 200_000) -> None:
        self._length = length
        self._max_units = max_units
        self._items: OrderedDict[str, list[str]] = OrderedDict()

    def of(self, unit_id: str) -> list[str]:
        """The unit's items, oldest first, as a list of its own."""
        return list(self._items.get(unit_id, ()))

    def add(self, unit_id: str, item: str) -> None:
        """Appends one item to the unit's history."""
        items = self._items.setdefault(unit_id, [])
        items.append(item)
        del items[: -self._length]
        self._items.move_to_end(unit_id)
        if len(self._items) > self._max_units:
            self._items.popitem(last=False)
