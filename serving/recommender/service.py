"""A running recommender: the model, the two threads that keep it fresh, and what they are connected to."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

import torch

from serving.recommender.config import UPDATES, RecommenderConfig
from serving.recommender.loader import load_generation
from serving.recommender.recommender import Recommender, Result
from serving.recommender.served_generation import ServedRecommender
from serving.recommender.stats import RecommenderStats
from serving.scorer.links import Links
from serving.scorer.log_link import LogLink
from serving.scorer.store_link import StoreLink
from streams.contract.columns import Array
from streams.contract.recommend_wire import RecommendAnswer
from streams.contract.settings import settings_from


class RecommenderService:
    """Use `start`; it may be asked at once, and refuses with `not_ready` until a generation is live."""

    def __init__(self, recommender: Recommender, links: Links[ServedRecommender]) -> None:
        self._recommender = recommender
        self._links = links

    @staticmethod
    def start(config: RecommenderConfig, environment: Mapping[str, str] = os.environ) -> RecommenderService:
        """Starts the threads; log and store may be away. Raises InputError for an address that is none."""
        torch.set_num_threads(config.num_threads)
        log = LogLink(config.log)
        password = settings_from(environment).redis_password
        store = StoreLink(
            config.redis, config.model, password=password, timeout_seconds=config.store_timeout_seconds
        )  # fmt: skip
        recommender = Recommender(config, store)
        links = Links(
            recommender, store, log, UPDATES,
            lambda rows, versions, number: load_generation(rows, versions, number, config),
            log_poll_seconds=config.log_poll_seconds, live_poll_seconds=config.live_poll_seconds,
        )  # fmt: skip
        links.start()
        return RecommenderService(recommender, links)

    def score(self, requests: Sequence[Mapping[str, Array]]) -> list[Result]:
        """See `Recommender.score`."""
        return self._recommender.score(requests)

    def info(self) -> RecommendAnswer:
        """What is served, without items; version 0 before the first."""
        return self._recommender.info()

    def stats(self) -> RecommenderStats:
        """Counts up to now."""
        return self._recommender.stats()

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
