"""What a round's examples look like: all that the generator reads of them.

The mean of embedded ids over a round is the histogram of its ids times the embedding, so the
histogram is kept and the embedding stays learnable. Ids are hashed with their table into buckets
that the generator owns: it does not see the model's tables, which differ from lineage to lineage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streams.contract.columns import Array
from streams.contract.values import mix64
from trainer.prepare import Learnable
from trainer.sightings import Sightings


@dataclass(slots=True)
class Summary:
    """counts (H,): how often ids of each bucket came; dense (N,): sums of the requests' and candidates' values."""

    counts: npt.NDArray[np.float64]
    dense: npt.NDArray[np.float64]
    examples: int = 0

    def add(self, learnable: Learnable) -> None:
        """Adds E examples. A request's values count once for each of its candidates."""
        features = learnable.features
        buckets = _buckets(learnable.seen, len(self.counts))
        self.counts += np.bincount(buckets, weights=learnable.seen.counts, minlength=len(self.counts))
        of_request = features.request.dense[features.request_index].sum(axis=0, dtype=np.float64)
        self.dense += np.concatenate([of_request, features.candidate.dense.sum(axis=0, dtype=np.float64)])
        self.examples += len(learnable.examples)

    def as_arrays(self) -> dict[str, Array]:
        """For a checkpoint."""
        return {"counts": self.counts, "dense": self.dense, "examples": np.array([self.examples])}


def empty_summary(buckets: int, num_dense: int) -> Summary:
    """Of no examples: H buckets, N dense values."""
    return Summary(np.zeros(buckets), np.zeros(num_dense))


def summary_from(arrays: dict[str, Array]) -> Summary:
    """The inverse of `as_arrays`."""
    counts, dense = (np.array(arrays[name], dtype=np.float64) for name in ("counts", "dense"))
    return Summary(counts, dense, int(arrays["examples"][0]))


def _buckets(seen: Sightings, number: int) -> Array:
    mixed = mix64(seen.ids.view(np.uint64) ^ mix64(seen.tables.astype(np.uint64) + np.uint64(1)))
    buckets: Array = (mixed % np.uint64(number)).astype(np.int64)
    return buckets
