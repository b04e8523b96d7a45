"""Online counters of a learner: filled in for each batch in the order of the log, before it is predicted and learnt.

What a batch counts under has changed since the last version, so its keys' rows go into the next (`rows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Rows
from streams.contract.schema import Schema
from streams.counters.keys import BatchKeys
from streams.counters.keyspace import Ints
from streams.counters.online import OnlineCounters
from streams.counters.rows import counter_tables, rows_of
from trainer.changes import Changes
from trainer.prepare import Learnable
from trainer.recipes import RecipeConfig
from trainer.vocabulary import Keys

_CHANGES = "changes."


class Counting:
    """A schema's counters, and which of them the next version must bring."""

    def __init__(self, schema: Schema, kind: str) -> None:
        """Raises InputError where they count another kind of feedback."""
        self.counters = OnlineCounters(schema, kind=kind, on_change=self._record)
        self.changes = Changes(self.counters.state.keys.capacity, 0)
        self._schema = schema
        self._tables = counter_tables(schema)

    def rows(self, *, full: bool) -> dict[str, Rows]:
        """Table -> rows of the keys counted under since the last version taken; with `full`, of all."""
        state, dim = self.counters.state, max(self._schema.tables.values())
        slots = state.keys.held if full else np.flatnonzero(self.changes.since.touched)
        if not full:
            slots = np.intersect1d(slots, state.keys.held, assume_unique=True)
        numbers, ids = state.keys.keys_at(slots)
        values = rows_of(state.totals(slots), state.clock_ms + 1, dim)
        return {self._tables[n]: Rows(ids[numbers == n], values[numbers == n]) for n in np.unique(numbers).tolist()}

    def tombstones(self) -> dict[str, Array]:
        """Table -> ids evicted since the last version taken, without those that have come back."""
        numbers, ids = self.changes.since.evicted_keys()
        gone = self.counters.state.keys.lookup(numbers, ids) < 0
        numbers, ids = numbers[gone], ids[gone]
        return {self._tables[number]: ids[numbers == number] for number in np.unique(numbers).tolist()}

    def default_rows(self) -> Array:
        """(K + 1, D): a key of which nothing is known."""
        return np.zeros((len(self._tables), max(self._schema.tables.values())), dtype=np.float32)

    def tensors(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        return {**self.counters.tensors(), **{f"{_CHANGES}{n}": array for n, array in self.changes.state().items()}}

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """The inverse of `tensors`."""
        self.counters.load_tensors(tensors)
        changes = {n.removeprefix(_CHANGES): array for n, array in tensors.items() if n.startswith(_CHANGES)}
        self.changes.load_state(changes)

    def _record(self, slots: Ints, evicted: BatchKeys) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        gone = Keys(evicted.numbers, evicted.ids, np.zeros(len(evicted), dtype=np.int64))
        self.changes.record(slots[slots >= 0], gone, np.zeros((0, 0), dtype=np.int64), nothing)


def learnt_schema(schema: Schema, recipe: RecipeConfig) -> Schema:
    """What the recipe learns of the schema: all of it, or without its counters."""
    return schema if recipe.use_counters else msgspec.structs.replace(schema, counters=())


def counting_of(schema: Schema, recipe: RecipeConfig) -> Counting | None:
    """The schema's counters, empty; None where it has none. Raises InputError where they do not fit the recipe."""
    return Counting(schema, recipe.kind) if schema.counters else None


def count(counting: Counting | None, learnable: Learnable) -> Learnable:
    """The batch with its counters, its own outcomes counted."""
    if counting is None:
        return learnable
    examples, features = counting.counters.take(learnable.examples, learnable.features)
    return replace(learnable, examples=examples, features=features)


def look(counting: Counting | None, learnable: Learnable) -> Learnable:
    """The batch with its counters, nothing counted."""
    if counting is None:
        return learnable
    examples, features = counting.counters.look(learnable.examples, learnable.features)
    return replace(learnable, examples=examples, features=features)
