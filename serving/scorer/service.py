"""A running scorer: the model, the two threads that keep it fresh, and what they are connected to."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping, Sequence

import torch

from serving.scorer.config import ScorerConfig
from serving.scorer.follower import Follower
from serving.scorer.loader import load_generation
from serving.scorer.log_link import LogLink
from serving.scorer.scorer import Result, Scorer
from serving.scorer.served_generation import ServedGeneration
from serving.scorer.stats import ScorerStats
from serving.scorer.store_link import StoreLink
from serving.scorer.updates import UPDATES
from serving.scorer.watcher import Watcher
from streams.contract.columns import Array
from streams.contract.settings import settings_from
from streams.contract.wire import Info


class ScorerService:
    """Use `start`; it may be scored with at once, and refuses with `not_ready` until a generation is live."""

    def __init__(self, scorer: Scorer, link: StoreLink, log: LogLink, config: ScorerConfig) -> None:
        self._scorer = scorer
        self._link = link
        self._log = log
        self._config = config
        self._watcher = Watcher(scorer, link, config.live_poll_seconds, self._load)
        self._follower = Follower(scorer, log, UPDATES, config.log_poll_seconds, self._watcher.wake)

    @staticmethod
    def start(config: ScorerConfig, environment: Mapping[str, str] = os.environ) -> ScorerService:
        """Starts the threads; log and store may be away. Raises InputError for an address that is none."""
        torch.set_num_threads(config.num_threads)
        log = LogLink(config.log)
        link = StoreLink(config.redis, config.model, password=settings_from(environment).redis_password)
        service = ScorerService(Scorer(config, link), link, log, config)
        service._watcher.start()
        service._follower.start()
        return service

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
        self._follower.stop()
        self._watcher.stop()
        self._link.close()
        self._log.close()

    def _load(self, number: int) -> ServedGeneration:
        served = load_generation(self._link.store, self._log, number, self._config)
        # What was just loaded stays: a collection that walks over it would show in the slowest answers.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return served
