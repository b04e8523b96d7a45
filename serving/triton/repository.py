"""The model repository that a Triton of ours serves: the files of `repository/`, filled in."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from string import Template

import msgspec

from serving.scorer.config import ScorerConfig

_FILES = Path(__file__).parent / "repository"


def write_repository(folder: Path, scorer: ScorerConfig, *, max_batch_size: int = 32) -> Path:
    """Writes the model `ranker` under `folder`; returns the repository. What was there is replaced.

    At most `max_batch_size` requests are scored together.
    """
    repository = folder / "models"
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(_FILES, repository, ignore=shutil.ignore_patterns("__pycache__"))
    config = repository / "ranker" / "config.pbtxt"
    config.write_text(
        Template(config.read_text()).substitute(
            max_batch_size=max_batch_size,
            scorer=json.dumps(scorer_to_json(scorer)),
        )
    )
    return repository


def scorer_to_json(config: ScorerConfig) -> str:
    """The scorer's configuration as one line."""
    return json.dumps(dataclasses.asdict(config))


def scorer_from_json(text: str) -> ScorerConfig:
    """The inverse of `scorer_to_json`."""
    return msgspec.json.decode(text, type=ScorerConfig)
