"""One recipe over a recording with delays: every example is scored once, before any of its labels is heard.

    Shown ──> wait to be predicted ┐
    Heard ──> wait to be learnt ───┴─ a full batch waits: predict all that was shown, score it by its final
                                      label, then learn the batch

The model that predicts an impression is the one that a server would have had at its time: it has learnt
every full batch of what was heard by then, and nothing that was heard later.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch, concat_batches
from streams.datasets.observed import Observed
from streams.join.config import CLICK_WINDOW_SECONDS, milliseconds
from streams.join.example_builder import Emission, build_batch
from trainer.counting import count, look
from trainer.delayed.config import DelayedConfig
from trainer.delayed.timeline import Shown, timeline
from trainer.learner import Learner, Scored
from trainer.prepare import Preparer
from trainer.progressive import Progressive

_MOST_PREDICTED = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayedLabels:
    """Labels come when they would have come: how long an impression waits for its click. Raises InputError."""

    window_seconds: float = CLICK_WINDOW_SECONDS

    def __post_init__(self) -> None:
        milliseconds("window-seconds", self.window_seconds, least=1)


class Simulation:
    """A learner and the scores of its predictions at the impressions' times."""

    def __init__(self, learner: Learner, labels: DelayedLabels) -> None:
        self._learner = learner
        self._prepare = Preparer(learner.schema)
        self._window_ms = milliseconds("window-seconds", labels.window_seconds, least=1)
        self.progressive = Progressive(learner.recipe.progressive)
        self._shown: list[Emission] = []
        self._num_shown = 0
        self._seconds = 0.0

    def run(self, data: Iterable[Observed]) -> Iterator[tuple[ExampleBatch, Scored, float]]:
        """Examples with their final labels, in the order of impressions; how they were predicted; seconds for it.

        The seconds hold what was learnt since the examples before, and leave out the reading of the data.
        """
        recipe = self._learner.recipe
        wanted = (recipe.delayed or DelayedConfig()).labels
        heard = _Heard(recipe.batch_size)
        for event in timeline(data, kind=recipe.kind, labels=wanted, window_ms=self._window_ms):
            if isinstance(event, Shown):
                self._shown.append(event.final)
                self._num_shown += len(event.final.rows)
                if self._num_shown >= _MOST_PREDICTED:
                    yield self._predict()
                continue
            for batch in heard.add(event.emission):
                if self._shown:
                    yield self._predict()
                began = time.monotonic()
                self._learner.learn(count(self._learner.online, self._prepare(batch)))
                self._seconds += time.monotonic() - began
        if self._shown:
            yield self._predict()

    def _predict(self) -> tuple[ExampleBatch, Scored, float]:
        examples = build_batch(self._shown)
        self._shown, self._num_shown = [], 0
        began = time.monotonic()
        logit: Array = self._learner.predict(look(self._learner.online, self._prepare(examples)))
        scored = Scored(logit, self.progressive.add(examples, logit))
        seconds, self._seconds = self._seconds + time.monotonic() - began, 0.0
        return examples, scored, seconds


class _Heard:
    """Emissions until they make up batches of one size."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._emissions: list[Emission] = []
        self._rest: ExampleBatch | None = None
        self._num_examples = 0

    def add(self, emission: Emission) -> Iterator[ExampleBatch]:
        """The full batches that there are with this emission."""
        self._emissions.append(emission)
        self._num_examples += len(emission.rows)
        if self._num_examples < self._batch_size:
            return
        whole = build_batch(self._emissions)
        whole = whole if self._rest is None else concat_batches([self._rest, whole])
        start = 0
        while len(whole) - start >= self._batch_size:
            yield whole.slice(start, start + self._batch_size)
            start += self._batch_size
        self._emissions, self._num_examples = [], len(whole) - start
        self._rest = whole.slice(start, len(whole)) if self._num_examples else None
