"""A running scorer: the model, the two threads that keep it fresh, and what they are connected to."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

import torch

from serving.scorer.config import ScorerConfig
from serving.scorer.links import Links
from serving.scorer.loader import load_generation
from serving.scorer.log_link import LogLink
from serving.scorer.scorer import Result, Scorer
from serving.scorer.served_generation import ServedGeneration
from serving.scorer.stats import ScorerStats
from serving.scorer.store_link import StoreLink
from serving.scorer.updates import UPDATES
from streams.contract.columns import Array
from streams.contract.settings import settings_from
from streams.contract.wire import Info


class ScorerService:
    """Use `start`; it may be scored with at once, and refuses with `not_ready` until a generation is live."""

    def __init__(self, scorer: Scorer, links: Links[ServedGeneration]) -> None:
        self._scorer = scorer
        self._links = links

    @staticmethod
    def start(config: ScorerConfig, environment: Mapping[str, str] = os.environ) -> ScorerService:
        """Starts the threads; log and store may be away. Raises InputError for an address that is none."""
        torch.set_num_threads(config.num_threads)
        log = LogLink(config.log)
        password = settings_from(environment).redis_password
        store = StoreLink(
            config.redis, config.model, password=password, timeout_seconds=config.store_timeout_seconds
        )  # fmt: skip
        scorer = Scorer(config, store)
        links = Links(
            scorer, store, log, UPDATES,
            lambda rows, versions, number: load_generation(rows, versions, number, config),
            log_poll_seconds=config.log_poll_seconds, live_poll_seconds=config.live_poll_seconds,
        )  # fmt: skip
        links.start()
        return ScorerService(scorer, links)

    def score(self, requests: Sequence[Mapping[str, Array]]) -> list[Result]:
        """See `Scorer.score`."""
        return self._scorer.score(requests)

    def info(self) -> Info:
        """The version applied; version 0 before the first."""
        return self._scorer.info()

    def stats(self) -> ScorerStats:
        """Counts up to now."""
        return self._scorer.stats()

    def wait_for_version(self, version: int, timeout_seconds: float) -> bool:
        """Waits until at least `version` is applied; False where it does not come in time."""
        deadline = time.monotonic() + timeout_seconds
        while self.info().version < version:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Ends the threads and frees the connections."""
        self._links.close()
