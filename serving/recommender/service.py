"""A running recommender: the model, the two threads that keep it fresh, and what they are connected to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from serving.recommender.config import UPDATES, RecommenderConfig
from serving.recommender.loader import load_generation
from serving.recommender.recommender import Recommender
from serving.scorer.links import Links
from serving.scorer.log_link import LogLink
from serving.scorer.store_link import StoreLink
from streams.contract.settings import settings_from


def start_recommender(config: RecommenderConfig, environment: Mapping[str, str] = os.environ) -> Recommender:
    """It may be asked at once, and refuses with `not_ready` until a generation is live; `close` it at the end.

    Log and store may be away. Raises InputError for an address that is none.
    """
    torch.set_num_threads(config.num_threads)
    log = LogLink(config.log)
    password = settings_from(environment).redis_password
    store = StoreLink(config.redis, config.model, password=password, timeout_seconds=config.store_timeout_seconds)
    recommender = Recommender(config, store)
    recommender.keep_fresh(Links(
        recommender, store, log, UPDATES,
        lambda rows, versions, number: load_generation(rows, versions, number, config),
        log_poll_seconds=config.log_poll_seconds, live_poll_seconds=config.live_poll_seconds,
    ))  # fmt: skip
    return recommender
