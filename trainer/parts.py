"""Small steps at first: while little is learnt, a batch is predicted and learnt in parts.

    examples learnt before    0 .. 8,191   .. 16,383   .. 32,767   32,768 ..
    parts of at most                  32          64         128         256    (smallest 32, share 1/128)

Behind the first 4,096 examples a part is at most 1/128 of what was learnt before it, so predictions are hardly older
than their examples: early steps are worth the most and cost the least. Sizes are powers of two, so a batch falls
into equal parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from streams.contract.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class PartsConfig:
    """How large the parts are. Raises InputError for sizes that cannot be."""

    smallest: int = 32
    share: float = 1 / 128
    """A part holds at most this share of the examples learnt before it, but never fewer than `smallest`."""

    def __post_init__(self) -> None:
        if self.smallest < 1:
            raise InputError("must be 1 or more", field="first_parts.smallest", value=self.smallest)
        if not 0.0 < self.share <= 1.0:
            raise InputError("must lie above 0 and be at most 1", field="first_parts.share", value=self.share)


def part_size(config: PartsConfig | None, batch_size: int, num_learnt: int) -> int:
    """Examples a step behind `num_learnt` examples; whole batches without a config."""
    if config is None:
        return batch_size
    most = max(config.smallest, num_learnt * config.share)
    return min(batch_size, 1 << int(math.log2(most)))


def ranges(num_examples: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the parts, the last of which may be shorter."""
    for start in range(0, num_examples, size):
        yield start, min(start + size, num_examples)
