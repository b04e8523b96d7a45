"""One version of a recommender made ready: its tables merged, the items' rows apart, and its catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.recommender.catalogue import Catalogue, new_catalogue
from serving.scorer.version import PreparedVersion, merged
from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.manifest import Generation, Manifest, ModelUpdate
from streams.contract.recommender import ITEMS, NEW_ITEMS, temperature_of


@dataclass(frozen=True, slots=True)
class PreparedRecommender:
    """item_numbers (N,) int64 that differ and item_rows (N, D); gone_items (M,); `users`: the other tables' part."""

    users: PreparedVersion
    catalogue: Catalogue
    item_numbers: Array
    item_rows: Array
    gone_items: Array
    temperature: float

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return self.users.manifest


def prepare(update: ModelUpdate, generation: Generation, before: Catalogue) -> PreparedRecommender:
    """Checks a version against its generation. Raises FormatError naming what does not fit."""
    catalogue = new_catalogue(update.dense, before)
    version = merged(update, generation)
    table = list(generation.tables).index(ITEMS)
    of_items, gone = version.tables == table, version.dead_tables == table
    # One occurrence of each: a place of the table that is written twice at once has no telling which row stays.
    numbers, first = np.unique(version.ids[of_items], return_index=True)
    if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < len(catalogue):
        raise FormatError("names an item that is in no catalogue", field=f"rows.{ITEMS}",
                          value=int(numbers[-1]), remedy=f"ship its name in dense.{NEW_ITEMS}")  # fmt: skip
    users = PreparedVersion(
        version.manifest, {}, version.tables[~of_items], version.ids[~of_items], version.rows[~of_items],
        version.dead_tables[~gone], version.dead_ids[~gone],
    )  # fmt: skip
    gone_items = version.dead_ids[gone]
    return PreparedRecommender(
        users, catalogue, numbers, version.rows[of_items][first], gone_items[gone_items >= 0],
        temperature_of(update.dense),
    )  # fmt: skip
