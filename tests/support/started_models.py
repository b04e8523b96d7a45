"""Served models that a test starts, each with changes to one configuration; all are closed at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from serving.recommender.config import RecommenderConfig
from serving.scorer.config import ScorerConfig
from serving.scorer.live import Live

C = TypeVar("C", ScorerConfig, RecommenderConfig)
M = TypeVar("M", bound=Live[Any])


@contextmanager
def starting(start: Callable[..., M], config: C) -> Iterator[Callable[..., M]]:
    """Gives `start_it(version=1, **changes)`: starts a model with changes to `config`, and waits for a version."""
    started: list[M] = []

    def start_it(version: int = 1, **changes: Any) -> M:
        started.append(start(replace(config, **changes), environment={}))
        assert started[-1].wait_for_version(version, 60)
        return started[-1]

    try:
        yield start_it
    finally:
        for each in started:
            each.close()
