"""The model repository that a Triton of ours serves: the files of `repository/`, filled in."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from string import Template
from typing import TypeVar

import msgspec

from serving.recommender.config import RecommenderConfig
from serving.scorer.config import ScorerConfig
from streams.contract.recommend_wire import RECOMMENDER
from streams.contract.wire import MODEL_NAME

_FILES = Path(__file__).parent / "repository"
_C = TypeVar("_C", ScorerConfig, RecommenderConfig)


def write_repository(
    folder: Path, scorer: ScorerConfig, *, recommender: RecommenderConfig | None = None, max_batch_size: int = 32
) -> Path:
    """Writes the model `ranker`, and `recommender` where it is configured; returns the repository.

    It lies under `folder`, in the place of what was there. At most `max_batch_size` requests are answered together.
    """
    repository = folder / "models"
    shutil.rmtree(repository, ignore_errors=True)
    _write_model(repository, MODEL_NAME, max_batch_size=max_batch_size, scorer=config_to_json(scorer))
    if recommender is not None:
        packed = config_to_json(recommender)
        _write_model(repository, RECOMMENDER, max_batch_size=max_batch_size, recommender=packed)
    return repository


def models_in(repository: Path) -> list[str]:
    """The models that a repository holds."""
    return sorted(model.name for model in repository.iterdir())


def config_to_json(config: ScorerConfig | RecommenderConfig) -> str:
    """A model's configuration as one line."""
    return json.dumps(dataclasses.asdict(config))


def config_from_json(text: str, kind: type[_C]) -> _C:
    """The inverse of `config_to_json`."""
    return msgspec.json.decode(text, type=kind)


def _write_model(repository: Path, name: str, *, max_batch_size: int, **parameters: str) -> None:
    """Each parameter is a JSON text, which becomes a string of the configuration."""
    shutil.copytree(_FILES / name, repository / name, ignore=shutil.ignore_patterns("__pycache__"))
    config = repository / name / "config.pbtxt"
    filled = {key: json.dumps(text) for key, text in parameters.items()}
    config.write_text(Template(config.read_text()).substitute(max_batch_size=max_batch_size, **filled))
