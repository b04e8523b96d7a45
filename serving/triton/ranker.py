"""Starts a Triton that serves the model `ranker`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from serving.scorer.config import ScorerConfig
from serving.triton.config import TritonConfig
from serving.triton.repository import write_repository
from serving.triton.server import TritonServer
from streams.contract.wire import MODEL_NAME


def start_ranker(
    folder: Path,
    scorer: ScorerConfig,
    triton: TritonConfig | None = None,
    environment: Mapping[str, str] = os.environ,
) -> TritonServer:
    """A running server with the model loaded; repository, backend and log lie under `folder`.

    The model refuses requests with `not_ready` until a generation is live. Raises as `TritonServer.start`.
    """
    repository = write_repository(folder, scorer)
    return TritonServer.start(repository, folder, triton, models=[MODEL_NAME], environment=environment)
