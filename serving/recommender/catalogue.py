"""The items of a generation by number and by name: those that it began with, then those that came since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.recommender import CATALOGUE, NEW_ITEMS, Item, unpack_items


class Catalogue:
    """Never changes: a version with other items brings another catalogue, which shares the generation's own items."""

    def __init__(self, items: Sequence[Item]) -> None:
        """Raises FormatError where a name stands twice."""
        self._base = list(items)
        self._base_numbers = _numbered(self._base, 0, CATALOGUE)
        self._new: list[Item] = []
        self._new_numbers: dict[str, int] = {}
        self._packed = b""

    def __len__(self) -> int:
        return len(self._base) + len(self._new)

    def __getitem__(self, number: int) -> Item:
        return self._base[number] if number < len(self._base) else self._new[number - len(self._base)]

    def with_new(self, packed: Array) -> Catalogue:
        """The catalogue with these new items (n,) uint8 instead of its own. Raises FormatError."""
        if packed.dtype != np.uint8:
            raise FormatError("is not bytes", field=f"dense.{NEW_ITEMS}", value=str(packed.dtype),
                              remedy="ship uint8")  # fmt: skip
        content = packed.tobytes()
        if content == self._packed:
            return self
        other = Catalogue.__new__(Catalogue)
        other._base, other._base_numbers = self._base, self._base_numbers
        other._new = unpack_items(content)
        other._new_numbers = _numbered(other._new, len(self._base), NEW_ITEMS)
        other._packed = content
        twice = next((name for name in other._new_numbers if name in self._base_numbers), None)
        if twice is not None:
            raise FormatError("is in the catalogue already", field=NEW_ITEMS, value=twice)
        return other

    def numbers_of(self, names: Iterable[str]) -> Array:
        """The numbers (n,) int64 of those names that are items, in order."""
        found = (self._base_numbers.get(name, self._new_numbers.get(name)) for name in names)
        return np.array([number for number in found if number is not None], dtype=np.int64)


def new_catalogue(dense: dict[str, Array], before: Catalogue) -> Catalogue:
    """The catalogue as a version's dense part has it. Raises FormatError."""
    if NEW_ITEMS not in dense:
        raise FormatError("is missing from the version", field=f"dense.{NEW_ITEMS}")
    return before.with_new(dense[NEW_ITEMS])


def _numbered(items: Sequence[Item], first: int, field: str) -> dict[str, int]:
    numbers = {item.name: first + number for number, item in enumerate(items)}
    if len(numbers) < len(items):
        raise FormatError("names an item twice", field=field, value=len(items) - len(numbers))
    return numbers
