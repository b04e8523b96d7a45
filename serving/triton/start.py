"""Starts a Triton that serves our models: `ranker`, and `recommender` where it is configured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from serving.recommender.config import RecommenderConfig
from serving.scorer.config import ScorerConfig
from serving.triton.config import TritonConfig
from serving.triton.repository import models_in, write_repository
from serving.triton.server import TritonServer


def start_models(
    folder: Path,
    scorer: ScorerConfig,
    triton: TritonConfig | None = None,
    environment: Mapping[str, str] = os.environ,
    *,
    recommender: RecommenderConfig | None = None,
) -> TritonServer:
    """A running server with the models loaded; repository, backend and log lie under `folder`.

    The models refuse requests with `not_ready` until a generation is live. Raises as `TritonServer.start`.
    """
    repository = write_repository(folder, scorer, recommender=recommender)
    return TritonServer.start(repository, folder, triton, models=models_in(repository), environment=environment)
