"""A FeatureBatch with its ids as rows: what tables and network take.

FeatureBatch, its Sightings          RowBatch
request.ids   (n_r,)  ── vocabulary ──>  request   Bags: rows (n_r,), lengths (F_r, R)
candidate.ids (n_c,)  ── vocabulary ──>  candidate Bags: rows (n_c,), lengths (F_c, E)
dense, request_index  ── as tensors ──>  (R, N_r), (E, N_c), (E,) int64
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureBatch, Side
from streams.contract.schema import Schema
from trainer.model.tables import Bags
from trainer.sightings import Sightings
from trainer.vocabulary import Assignment, Vocabulary


@dataclass(frozen=True, slots=True)
class RowBatch:
    """R requests and E candidates on the device, and what the vocabulary did for them."""

    request: Bags
    candidate: Bags
    request_dense: Tensor
    candidate_dense: Tensor
    request_index: Tensor
    assignment: Assignment


class RowLookup:
    """Turns ids into rows, in the order of batches: it admits and evicts on the way."""

    def __init__(self, vocabulary: Vocabulary, device: torch.device) -> None:
        self._vocabulary = vocabulary
        self._device = device

    def __call__(self, features: FeatureBatch, seen: Sightings, now_ms: int) -> RowBatch:
        """Rows and tensors of one batch whose newest event is at `now_ms`; `seen`: the keys of `features`."""
        return self._batch(features, self._vocabulary.assign(seen, now_ms))

    def find(self, features: FeatureBatch, seen: Sightings) -> RowBatch:
        """Rows and tensors of a batch that is only looked at: it admits and evicts nothing."""
        return self._batch(features, self._vocabulary.find(seen))

    def _batch(self, features: FeatureBatch, assignment: Assignment) -> RowBatch:
        request, candidate = features.request, features.candidate
        split = len(request.ids)
        return RowBatch(
            Bags(assignment.rows[:split], request.lengths),
            Bags(assignment.rows[split:], candidate.lengths),
            self._tensor(request.dense),
            self._tensor(candidate.dense),
            self._tensor(features.request_index.astype(np.int64)),
            assignment,
        )

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._device)


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


def labels_of(examples: ExampleBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """label (E,), weight (E,) float32. Copied, as what was decoded is read-only."""
    return torch.tensor(examples.label, device=device), torch.tensor(examples.weight, device=device)


def ad_columns(schema: Schema) -> list[int]:
    """Places among the candidate's sparse keys of those that belong to the ad alone and hold one value."""
    single = {feature.name for feature in schema.features if feature.kind == "categorical"}
    return [place for place, key in enumerate(schema.sparse(of_request=False)) if key.name in single]


def ad_ids(candidate: Side, columns: list[int]) -> Array:
    """Ids (E, len(columns)) of the candidates' single-valued keys."""
    num_candidates = candidate.lengths.shape[1]
    starts = np.concatenate([[0], np.cumsum(candidate.lengths.sum(axis=1, dtype=np.int64))])
    ids = np.empty((num_candidates, len(columns)), dtype=np.int64)
    for at, column in enumerate(columns):
        ids[:, at] = candidate.ids[starts[column] : starts[column] + num_candidates]
    return ids
