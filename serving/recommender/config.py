"""What a served recommender is started with."""

from __future__ import annotations

from dataclasses import dataclass

from streams.contract.errors import InputError
from streams.contract.recommend_wire import RECOMMENDER
from streams.log.event_log import RECOMMENDER_UPDATES, TopicPartition

UPDATES = TopicPartition(RECOMMENDER_UPDATES, 0)
MAX_USERS = 32
"""Users in one pass through the language model: so many places stand before the items in the table of IDs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommenderConfig:
    """Addresses, memory and patience of one recommender. Passwords come from the environment alone."""

    model: str = RECOMMENDER
    log: str = ""
    redis: str = ""

    # memory
    max_hot_rows: int = 100_000
    """Rows of users and histories; the items' rows are all held."""
    max_unknown_ids: int = 200_000
    max_states: int = 4096
    """States of users kept in this process; 0: none."""
    state_seconds: float = 60.0
    """How long a state is kept in Redis, for all who serve the model; 0: not at all."""

    # processor
    num_threads: int = 1
    device: str = "cpu"
    """Where the language model computes, as PyTorch names it."""
    max_likes: int = 0
    """Of a history, the newest that go into a prompt: a forward pass takes as long as its longest prompt.
    0: as many as prompts had where the generation was learnt."""
    warm_up_likes: tuple[int, ...] = (0, 8, 64)

    # patience
    live_poll_seconds: float = 0.1
    log_poll_seconds: float = 0.2
    catch_up_timeout_seconds: float = 0.2
    store_timeout_seconds: float = 0.25
    """A batch that waited so long for the store goes on without, and the next ones too until it is seen to answer."""
    load_timeout_seconds: float = 60.0
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in ("log", "redis", "model"):
            if not getattr(self, name):
                raise InputError("is not set", field=name, remedy=f"give the recommender its {name}")
        for name in ("max_hot_rows", "max_unknown_ids", "num_threads"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=name, value=getattr(self, name))
        for name in ("max_states", "state_seconds", "max_likes"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=name, value=getattr(self, name))
