"""Counters of a stream of labelled examples: each gets its counters as they stood at its own event time.

    take   counts what the batch settles, then reads      look   only reads

An outcome counts from the millisecond after it was decided on, and an example is decided on at its own time
or later: so none sees its own label or a later one, although its batch is counted before it is read. The
content is a function of the sequence of batches alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from streams.contract.columns import Array, Column
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureBatch
from streams.contract.schema import Feature, Schema
from streams.counters.columns import CounterValues, with_values
from streams.counters.keys import BatchKeys, CounterKeys
from streams.counters.keyspace import Ints
from streams.counters.state import CounterState, Outcomes


class OnlineCounters:
    """The counters of one schema over one stream."""

    def __init__(
        self, schema: Schema, *, kind: str, on_change: Callable[[Ints, BatchKeys], None] = lambda slots, evicted: None
    ) -> None:
        """`on_change` is told, for each batch, the slots that it counts under (-1: none) and the keys evicted for them.

        Raises InputError where the counters count another kind of feedback than `kind`.
        """
        for counter in schema.counters:
            if counter.outcome != kind:
                raise InputError(f"counts another kind of feedback than the recipe learns, {kind}",
                                 field=f"{counter.name}.outcome", value=counter.outcome,
                                 remedy=f'set outcome = "{kind}"')  # fmt: skip
        self.state = CounterState(schema.counters)
        self.num_undated = 0
        """Outcomes not counted, as their record does not say when they were decided on."""
        self.num_too_late = 0
        """Corrections that came after the horizon: counted, but not to be learnt without their counters."""
        self._on_change = on_change
        self._keys = CounterKeys(schema)
        self._values = CounterValues(schema)
        self._of_request = schema.counted(of_request=True)
        self._of_candidate = schema.counted(of_request=False)

    def take(self, examples: ExampleBatch, features: FeatureBatch) -> tuple[ExampleBatch, FeatureBatch]:
        """Counts the batch's outcomes, then fills in its counters, in its features and in its columns.

        A correction that comes too late for its counters gets weight 0. Raises InputError where an example
        that is no correction does: the horizon is shorter than labels are waited for.
        """
        keys = self._keys(features)
        slots, evicted = self.state.admit(keys.numbers, keys.ids)
        self._on_change(slots, evicted)
        self._count(examples, slots)
        late = ~self.state.reaches(examples.event_time_ms)[examples.request_index]
        if late.any():
            examples = self._without(examples, late)
        return self._filled(examples, features, slots)

    def look(self, examples: ExampleBatch, features: FeatureBatch) -> tuple[ExampleBatch, FeatureBatch]:
        """Fills in the batch's counters and counts nothing."""
        keys = self._keys(features)
        return self._filled(examples, features, self.state.keys.lookup(keys.numbers, keys.ids))

    def tensors(self) -> dict[str, Array]:
        """Everything, as arrays for a checkpoint."""
        return {**self.state.state(), "uncounted": np.array([self.num_undated, self.num_too_late])}

    def load_tensors(self, tensors: Mapping[str, Array]) -> None:
        """The inverse of `tensors`. Raises InputError where they are another schema's."""
        self.state.load_state(tensors)
        self.num_undated, self.num_too_late = tensors["uncounted"].tolist()

    def _count(self, examples: ExampleBatch, slots: Ints) -> None:
        dated = np.flatnonzero(examples.decided_time_ms >= 0)
        self.num_undated += len(examples) - len(dated)
        of_request, of_candidate = self._by_side(slots, examples.num_requests, len(examples))
        each = np.concatenate([of_request[:, examples.request_index[dated]], of_candidate[:, dated]])
        weight = examples.weight[dated].astype(np.float64)
        # The show that a correction belongs to was counted with its example.
        shows = np.where(examples.correction[dated], 0.0, weight)
        self.state.add(Outcomes(each, examples.decided_time_ms[dated], shows, weight * examples.label[dated]))

    def _without(self, examples: ExampleBatch, late: Array) -> ExampleBatch:
        if (late & ~examples.correction).any():
            times_ms = examples.event_time_ms[examples.request_index]
            row = int(np.flatnonzero(late & ~examples.correction)[0])
            raise InputError(
                f"is shorter than labels take: an example of {int(times_ms[row])} came when outcomes up to "
                f"{self.state.clock_ms} had been counted", field="counters.horizon_seconds",
                value=self.state.horizon_ms / 1000, remedy="raise it above the join's longest wait",
            )  # fmt: skip
        self.num_too_late += int(late.sum())
        return replace(examples, weight=np.where(late, np.float32(0), examples.weight))

    def _filled(self, examples: ExampleBatch, features: FeatureBatch, slots: Ints) -> tuple[ExampleBatch, FeatureBatch]:
        times_ms, index = examples.event_time_ms, examples.request_index
        of_request, of_candidate = self._by_side(slots, len(times_ms), len(index))
        at_ms = np.concatenate([np.tile(times_ms, len(of_request)), np.tile(times_ms[index], len(of_candidate))])
        sums = self.state.read(slots, at_ms)
        split, cell = of_request.size, sums.shape[1:]
        request, candidate = self._values(
            sums[:split].reshape(*of_request.shape, *cell), sums[split:].reshape(*of_candidate.shape, *cell), index
        )
        request_columns = {**examples.request, **_columns(self._of_request, request)}
        candidate_columns = {**examples.candidate, **_columns(self._of_candidate, candidate)}
        examples = replace(examples, request=request_columns, candidate=candidate_columns)
        return examples, with_values(features, request, candidate)

    def _by_side(self, slots: Ints, num_requests: int, num_examples: int) -> tuple[Ints, Ints]:
        """The slots of the request's counters (K_r + 1, R) and of the ad's (K_c, E)."""
        split = self._keys.num_of_request * num_requests
        return slots[:split].reshape(-1, num_requests), slots[split:].reshape(-1, num_examples)


def _columns(features: list[Feature], values: Array) -> dict[str, Column]:
    return {feature.name: values[:, place] for place, feature in enumerate(features)}
