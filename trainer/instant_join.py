"""Recorded impressions as labelled batches of one size, each label known at its impression's time.

That is how logs are evaluated: the label's delay is part of the join, and is not simulated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streams.contract.examples import ExampleBatch, concat_batches
from streams.datasets.observed import Observed
from streams.join.example_builder import Emission, Given, build_batch

_CHUNK_EXAMPLES = 4096


def labelled_batches(observed: Iterable[Observed], *, kind: str, batch_size: int) -> Iterator[ExampleBatch]:
    """Batches of `batch_size` examples in the order of impressions; the last may be shorter."""
    rest: ExampleBatch | None = None
    for chunk in _chunks(observed, kind):
        whole = chunk if rest is None else concat_batches([rest, chunk])
        start = 0
        while len(whole) - start >= batch_size:
            yield whole.slice(start, start + batch_size)
            start += batch_size
        rest = whole.slice(start, len(whole)) if start < len(whole) else None
    if rest is not None:
        yield rest


def emission(observed: Observed, kind: str) -> Emission:
    """All candidates of one impression, labelled by its feedback of that kind."""
    impression = observed.impression
    given: dict[int, Given] = {}
    for feedback in observed.feedback:
        if feedback.kind == kind and feedback.ad_id in impression.ad_ids:
            delay_ms = feedback.event_time_ms - impression.event_time_ms
            given.setdefault(impression.ad_ids.index(feedback.ad_id), Given(feedback.value, delay_ms))
    return Emission(
        kind=kind, impression=impression, num_bytes=0, rows=range(len(impression.ad_ids)),
        decided_ingest_ms=impression.ingest_ms, decided_time_ms=impression.event_time_ms, given=given,
    )  # fmt: skip


def _chunks(observed: Iterable[Observed], kind: str) -> Iterator[ExampleBatch]:
    emissions: list[Emission] = []
    num_examples = 0
    for each in observed:
        if not each.impression.ad_ids:
            continue
        emissions.append(emission(each, kind))
        num_examples += len(each.impression.ad_ids)
        if num_examples >= _CHUNK_EXAMPLES:
            yield build_batch(emissions)
            emissions, num_examples = [], 0
    if emissions:
        yield build_batch(emissions)
