"""Reading rounds from the store: in equal chunks side by side, or two records as half-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch, concat_batches
from trainer.future.gradients import Halves
from trainer.future.gram import Floats
from trainer.future.round_store import RoundStore
from trainer.prepare import Preparer


def side_by_side(store: RoundStore, rounds: Sequence[int], batch_size: int) -> Iterator[list[ExampleBatch | None]]:
    """Every example of the rounds once: step by step a chunk of each, None where a short round has none left over.

    There are as many steps as the longest round has batches, and each round is spread evenly over them.
    """
    totals = [sum(store.sizes(t)) for t in rounds]
    steps = -(-max(totals) // batch_size)
    readers = [_chunks(store, t, total, steps) for t, total in zip(rounds, totals, strict=True)]
    for _ in range(steps):
        yield [next(reader) for reader in readers]


def mixed(chunks: Sequence[ExampleBatch | None], weights: Floats) -> tuple[ExampleBatch, Array]:
    """One batch of all chunks, and the share (E,) of each example: its round's weight over the chunk's size.

    The gradient of the summed losses times the shares is sum_i a_i * (mean gradient of chunk i).
    """
    there = [(chunk, weight) for chunk, weight in zip(chunks, weights, strict=True) if chunk is not None]
    shares = [np.full(len(chunk), np.float32(weight) / np.float32(len(chunk))) for chunk, weight in there]
    return concat_batches([chunk for chunk, _ in there]), np.concatenate(shares)


def halves_of(store: RoundStore, t: int, random: np.random.Generator, prepare: Preparer) -> Halves:
    """Two different records of round t drawn at random; of a round with one record, its two halves."""
    sizes = np.array(store.sizes(t))
    full = np.flatnonzero(sizes * 2 > sizes.max())
    if len(full) > 1:
        first, second = (store.read(t, int(record)) for record in random.choice(full, 2, replace=False))
    else:
        only = store.read(t, int(full[0]))
        middle = max(len(only) // 2, 1)
        first, second = only.slice(0, middle), only.slice(min(middle, len(only) - 1), len(only))
    return prepare(first), prepare(second)


def _chunks(store: RoundStore, t: int, total: int, steps: int) -> Iterator[ExampleBatch | None]:
    ends = [total * (step + 1) // steps for step in range(steps)]
    rest: ExampleBatch | None = None
    record, begin = 0, 0
    for end in ends:
        wanted = end - begin
        parts = [] if rest is None else [rest]
        while sum(map(len, parts)) < wanted:
            parts.append(store.read(t, record))
            record += 1
        whole = concat_batches(parts) if parts else None
        yield whole.slice(0, wanted) if whole is not None and wanted else None
        rest = whole.slice(wanted, len(whole)) if whole is not None and len(whole) > wanted else None
        begin = end
