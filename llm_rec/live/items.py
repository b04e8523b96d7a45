"""The catalogue as it grows: an item gets a number when it is first seen as a candidate, liked or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.contract.columns import to_values
from streams.contract.examples import ExampleBatch
from streams.contract.recommender import Item


class ItemBook:
    """Items by number, each with what its newest impression told. Numbers are never given twice."""

    def __init__(self, items: Sequence[Item], *, most_items: int, text_columns: Sequence[str] = ()) -> None:
        self.begin(items)
        self.num_left_out = 0
        """Candidates without a number, since there were `most_items` already."""
        self._most = most_items
        self._columns = tuple(text_columns)

    def begin(self, items: Sequence[Item]) -> None:
        """Takes items in, in the order of their numbers."""
        self.items = list(items)
        self._numbers = {item.name: number for number, item in enumerate(items)}

    def __len__(self) -> int:
        return len(self.items)

    def number(self, name: str) -> int | None:
        """The item's number, None where it has none."""
        return self._numbers.get(name)

    def see(self, batch: ExampleBatch) -> list[int]:
        """Takes note of every candidate; the numbers of those not seen before, in the order of the examples."""
        columns = {name: to_values(column) for name, column in batch.candidate.items()}
        new: list[int] = []
        for row, name in enumerate(batch.ad_id):
            features = {column: values[row] for column, values in columns.items() if values[row] is not None}
            number = self._numbers.get(name)
            if number is not None:
                self.items[number] = Item(name, self.items[number].text, features)
            elif len(self.items) < self._most:
                new.append(len(self.items))
                self._numbers[name] = len(self.items)
                self.items.append(Item(name, text_of(features, self._columns), features))
            else:
                self.num_left_out += 1
        return new


def text_of(features: Mapping[str, Any], columns: Sequence[str] = ()) -> str:
    """`key: value, key: value` of the columns named (none: all), in the order of their names; lists with blanks."""
    told = sorted(name for name in features if not columns or name in columns)
    return ", ".join(f"{name}: {_plain(features[name])}" for name in told if features[name] not in (None, "", []))


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
