"""A recommender's learner and its publisher on a real log and a real store, without a loop between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llm_rec.live.gate import RecommenderGateConfig, recommender_gate
from llm_rec.live.learner import LiveLearner
from llm_rec.live.offering import Offering
from llm_rec.live.target import publish_target
from streams.log.event_log import EventLog
from streams.store.row_store import RowStore
from streams.turns.cursor import cursor_at
from streams.versions.publish import PublishConfig, ThreadedPublisher

QUICK = PublishConfig(interval_seconds=0.0, first_pause_seconds=0.01, longest_pause_seconds=0.05)
BOUNDS = RecommenderGateConfig(min_likes=1, min_compared=20, warm_up_likes=40)


class Publishing:
    """Publishes what the learner has learnt whenever it is told to."""

    def __init__(self, learner: LiveLearner, publisher: ThreadedPublisher, offering: Offering) -> None:
        self.learner, self.publisher, self.offering = learner, publisher, offering

    def publish(self) -> bool:
        """Offers what changed and waits until it is committed; False where the gate refused it."""
        assert self.publisher.wait_until_idle(60), self.publisher.status()
        taken = self.offering.offer_if_due(cursor_at([0]))
        assert self.publisher.wait_until_idle(60), self.publisher.status()
        return taken


@contextmanager
def publishing(
    learner: LiveLearner,
    log: EventLog,
    store: RowStore,
    *,
    new_generation: bool = False,
    promote: bool = False,
    bounds: RecommenderGateConfig = BOUNDS,
) -> Iterator[Publishing]:
    """One publisher, closed at the end."""
    target, catalogue_items = publish_target(learner, log, store, new_generation=new_generation, promote=promote)
    publisher = ThreadedPublisher(target, recommender_gate(learner.progressive.newest, bounds), QUICK)
    offering = Offering(learner, publisher, "examples", catalogue_items=catalogue_items)
    try:
        yield Publishing(learner, publisher, offering)
    finally:
        publisher.close(5)
