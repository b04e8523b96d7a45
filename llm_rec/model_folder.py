"""A learnt recommender in a folder: what it begins to serve with, and what a continual learner goes on from.

DIR/model/
  MANIFEST.json           sizes and checksums of the others
  state.json              configuration, users, items with texts and features, figures of validation
  ids.safetensors         collaborative (I + J, d), counts (J,), and what else is learnt of items
  backbone.safetensors    the language model's own weights where they learnt
  histories.safetensors   items (N,), lengths (I,)

The folder gets its name when all of it is on the disk: it is there whole, or not at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from llm_rec.backbone import load_backbone
from llm_rec.config import Cllm4recConfig
from llm_rec.history_path import HistoryPath
from llm_rec.models import Models, build_models
from streams.checkpoints.files import MANIFEST, Content, checksum, read_files, sync, write_files
from streams.contract.columns import Array
from streams.contract.errors import ConflictError, FormatError, NotFoundError
from streams.contract.recommender import Item

_NAME, _UNFINISHED = "model", ".unfinished-model"
_CONTENT = "content"
"""The set that is held beside the collaborative one while the model is fitted, and not needed behind that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntModel:
    """I users, J items; `learnt`: what `Models.learnt` names, without the content set."""

    config: Cllm4recConfig
    users: tuple[str, ...]
    items: tuple[Item, ...]
    learnt: dict[str, Tensor]
    histories: list[Array]
    """Item numbers of each user's likes, oldest first."""
    counts: Array
    """(J,) float64: likes of each item, each decayed by its age at `newest_time_ms`."""
    newest_time_ms: int = 0
    """0 where the data tell an order alone: then likes are counted undecayed."""
    half_life_days: float = 90.0
    temperature: float = 1.0
    """What the scores are divided by to be logits of validation likes."""
    validation: dict[str, float] = field(default_factory=dict)


def learnt_by(models: Models) -> dict[str, Tensor]:
    """What a folder keeps of two models."""
    return {name: each.detach().cpu() for name, each in models.learnt() if name != _CONTENT}


def models_of(model: LearntModel) -> Models:
    """The models, with their rows. Raises InputError for a language model that is not to be had, FormatError."""
    config = model.config
    models = build_models(
        load_backbone(config.backbone), len(model.users), len(model.items),
        id_std=config.id_std, seed=0, device=config.device, bfloat16=config.bfloat16,
    )  # fmt: skip
    _add_parts(models, model.learnt)
    parameters = dict(models.learnt())
    with torch.no_grad():
        for name, learnt in model.learnt.items():
            if name not in parameters or parameters[name].shape != learnt.shape:
                raise FormatError("does not fit the model's configuration", field=name, value=tuple(learnt.shape),
                                  remedy="train the model anew")  # fmt: skip
            parameters[name].copy_(learnt)
    models.content.table.data = models.collaborative.table.data
    return models


def _add_parts(models: Models, learnt: Mapping[str, Tensor]) -> None:
    """What some models have beside their embeddings."""
    if "bias" in learnt:
        models.bias = nn.Parameter(learnt["bias"].clone())
    if "path.given" in learnt:
        models.path = HistoryPath(learnt["path.given"].clone(), learnt["path.wanted"].clone())


def has_model(folder: Path) -> bool:
    """Whether a whole model lies there."""
    return (folder / _NAME / MANIFEST).exists()


def identity_of(folder: Path) -> str:
    """What tells one model from another: the checksum of its manifest. Raises NotFoundError where there is none."""
    if not has_model(folder):
        raise _absent(folder)
    return checksum(folder / _NAME / MANIFEST)


def write_model(folder: Path, model: LearntModel) -> None:
    """Puts the model into the folder. Raises ConflictError where one lies there, OSError where the disk refuses."""
    if has_model(folder):
        raise ConflictError("holds a model already", field="out", value=str(folder), remedy="give another folder")
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write_files(unfinished, Content(0, _tensors(model), _state(model)))
    unfinished.rename(folder / _NAME)
    sync(folder)


def read_model(folder: Path) -> LearntModel:
    """The model of the folder. Raises NotFoundError where there is none, FormatError where it is damaged."""
    if not has_model(folder):
        raise _absent(folder)
    content = read_files(folder / _NAME)
    try:
        return _model(content.tensors, content.state)
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise FormatError(f"is no recommender's model: {error!r}", field="from", value=str(folder),
                          remedy="train it anew") from error  # fmt: skip


def _absent(folder: Path) -> NotFoundError:
    return NotFoundError("holds no recommender's model", field="from", value=str(folder),
                         remedy="make one with `freshet recommender train --out DIR`")  # fmt: skip


def _tensors(model: LearntModel) -> dict[str, dict[str, Array]]:
    own = {name: tensor.numpy() for name, tensor in model.learnt.items()}
    backbone = {name: own.pop(name) for name in list(own) if name.startswith("backbone.")}
    lengths = np.array([len(items) for items in model.histories], dtype=np.int64)
    items = np.concatenate([np.zeros(0, dtype=np.int64), *model.histories])
    return {
        "ids": {**own, "counts": model.counts}, "backbone": backbone,
        "histories": {"items": items, "lengths": lengths},
    }  # fmt: skip


def _state(model: LearntModel) -> dict[str, Any]:
    return {
        "config": asdict(model.config), "users": list(model.users), "items": msgspec.to_builtins(model.items),
        "newest_time_ms": model.newest_time_ms, "half_life_days": model.half_life_days,
        "temperature": model.temperature,
        "validation": model.validation,
    }  # fmt: skip


def _model(tensors: Mapping[str, dict[str, Array]], state: Mapping[str, Any]) -> LearntModel:
    ids = dict(tensors["ids"])
    counts = ids.pop("counts")
    histories = np.split(tensors["histories"]["items"], np.cumsum(tensors["histories"]["lengths"])[:-1])
    return LearntModel(
        config=msgspec.convert(state["config"], Cllm4recConfig),
        users=tuple(state["users"]),
        items=tuple(msgspec.convert(state["items"], list[Item])),
        learnt={name: torch.from_numpy(np.array(each)) for name, each in (ids | tensors["backbone"]).items()},
        histories=histories if len(state["users"]) else [],
        counts=counts,
        newest_time_ms=state["newest_time_ms"],
        half_life_days=state["half_life_days"],
        temperature=state["temperature"],
        validation=dict(state["validation"]),
    )
