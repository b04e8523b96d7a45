"""Negative downsampling: of the negatives a part is learnt, and the model still gives the true probability.

    scored    every example, before any is dropped
    kept      every positive; a negative where hash(impression, ad) falls below `keep_negatives`
    learnt    among the kept, log odds are z - log(keep), z being the log odds among all: that is what the loss takes
    served    z as it is, which is p = q / (q + (1 - q) / keep) of q = sigmoid(z - log(keep)) (He et al., ADKDD 2014)

So the correction is in the loss alone: what is published and what scores are computed from needs none, and
trainer and scorer have one number. The hash makes a choice that is the same in every run, in every
partition and after every resume; a correction of a label falls to the same side as its example.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xxhash

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.values import cross_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class DownsamplingConfig:
    """The share of the negatives that is learnt, above 0 and at most 1."""

    keep_negatives: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.keep_negatives <= 1.0:
            raise InputError("must lie above 0 and be at most 1", field="keep_negatives", value=self.keep_negatives,
                             remedy="give the share of the negatives to learn, as 0.1")  # fmt: skip

    @property
    def logit_shift(self) -> float:
        """What is added to the log odds among all to have those among the kept."""
        return -math.log(self.keep_negatives)


def kept(examples: ExampleBatch, config: DownsamplingConfig) -> Array:
    """Rising numbers (K,) int64 of the examples to learn."""
    impressions, ads = _hashes(examples.impression_id), _hashes(examples.ad_id)
    crossed = cross_ids([impressions[examples.request_index], ads]).view(np.uint64)
    below = (crossed >> np.uint64(11)) * 2.0**-53 < config.keep_negatives
    chosen: Array = np.flatnonzero(below | (examples.label > 0.5))
    return chosen


def _hashes(names: list[str]) -> Array:
    digests = b"".join(xxhash.xxh3_64_digest(name.encode("utf-8", "surrogatepass")) for name in names)
    return np.frombuffer(digests, dtype=">i8").astype(np.int64)
