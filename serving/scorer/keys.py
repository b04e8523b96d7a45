"""Keys (table, id) as two arrays side by side."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array


def distinct(tables: Array, ids: Array) -> Array:
    """Places of one occurrence of each key (N,), in order of table, then id."""
    order = np.lexsort((ids, tables))
    tables, ids = tables[order], ids[order]
    first = np.ones(len(ids), dtype=np.bool_)
    first[1:] = (tables[1:] != tables[:-1]) | (ids[1:] != ids[:-1])
    places: Array = order[first]
    return places
