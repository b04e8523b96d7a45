"""A running scorer: the model, the two threads that keep it fresh, and what they are connected to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from serving.scorer.config import ScorerConfig
from serving.scorer.links import Links
from serving.scorer.loader import load_generation
from serving.scorer.log_link import LogLink
from serving.scorer.scorer import Scorer
from serving.scorer.store_link import StoreLink
from serving.scorer.updates import UPDATES
from streams.contract.settings import settings_from


def start_scorer(config: ScorerConfig, environment: Mapping[str, str] = os.environ) -> Scorer:
    """It may be scored with at once, and refuses with `not_ready` until a generation is live; `close` it at the end.

    Log and store may be away. Raises InputError for an address that is none.
    """
    torch.set_num_threads(config.num_threads)
    log = LogLink(config.log)
    password = settings_from(environment).redis_password
    store = StoreLink(config.redis, config.model, password=password, timeout_seconds=config.store_timeout_seconds)
    scorer = Scorer(config, store)
    scorer.keep_fresh(Links(
        scorer, store, log, UPDATES,
        lambda rows, versions, number: load_generation(rows, versions, number, config),
        log_poll_seconds=config.log_poll_seconds, live_poll_seconds=config.live_poll_seconds,
    ))  # fmt: skip
    return scorer
