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
from dataclasses import dataclass, replace

import numpy as np
import torch
import xxhash
from torch import Tensor

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.values import cross_ids
from trainer.batch import RowBatch
from trainer.model.tables import Bags


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


def part_of(batch: RowBatch, chosen: Array) -> RowBatch:
    """The examples `chosen` (K,), K at least 1, with only the requests they name."""
    index = batch.request_index.cpu().numpy()[chosen]
    requests, index = np.unique(index, return_inverse=True)
    device = batch.request_index.device
    return replace(
        batch,
        request=_bags(batch.request, requests),
        candidate=_bags(batch.candidate, chosen),
        request_dense=_rows(batch.request_dense, requests),
        candidate_dense=_rows(batch.candidate_dense, chosen),
        request_index=torch.from_numpy(index.astype(np.int64)).to(device),
    )


def _bags(bags: Bags, columns: Array) -> Bags:
    """The bags of those columns of `lengths`, for every key."""
    lengths = bags.lengths[:, columns]
    starts = (np.cumsum(bags.lengths, dtype=np.int64) - bags.lengths.ravel()).reshape(bags.lengths.shape)
    flat = lengths.ravel().astype(np.int64)
    within = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
    return Bags(bags.rows[np.repeat(starts[:, columns].ravel(), flat) + within], lengths)


def _rows(tensor: Tensor, rows: Array) -> Tensor:
    return tensor.index_select(0, torch.from_numpy(rows).to(tensor.device))


def _hashes(names: list[str]) -> Array:
    digests = b"".join(xxhash.xxh3_64_digest(name.encode("utf-8", "surrogatepass")) for name in names)
    return np.frombuffer(digests, dtype=">i8").astype(np.int64)
