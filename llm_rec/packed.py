"""A learnt CLLM4Rec as the programs of a generation, and back (streams/contract/recommender.py).

The rows of users and items travel as rows; here is what a generation never changes: the recipe's
configuration, what the language model itself learnt, and the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from llm_rec.backbone import load_backbone
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Writer
from llm_rec.history_path import HistoryPath
from llm_rec.models import Models, build_models
from streams.contract.errors import FormatError
from streams.contract.recommender import BACKBONE, CATALOGUE, CONFIG, Item, pack_items, unpack_items

_ROWS = ("collaborative", "content", "bias")
"""What `Models.learnt` yields and a generation has as rows, or not at all."""
_REMEDY = "it was damaged or written by another release; start a new generation"


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A recommender without its rows, and its catalogue."""

    models: Models
    writer: Writer
    config: Cllm4recConfig
    items: list[Item]


def pack_programs(config: Cllm4recConfig, models: Models, items: Sequence[Item]) -> dict[str, bytes]:
    """The programs of a generation that begins with these items."""
    learnt = {name: held.detach().cpu().contiguous() for name, held in models.learnt() if name not in _ROWS}
    return {CONFIG: msgspec.json.encode(asdict(config)), BACKBONE: save(learnt), CATALOGUE: pack_items(items)}


def unpack_programs(programs: Mapping[str, bytes], *, user_places: int, item_places: int) -> Unpacked:
    """The recommender with room for so many users and items, all their rows zero.

    Raises FormatError where the programs are damaged, InputError where the language model cannot be had.
    """
    try:
        config = msgspec.json.decode(programs[CONFIG], type=Cllm4recConfig)
        learnt = load(programs[BACKBONE])
        items = unpack_items(programs[CATALOGUE])
    except (KeyError, msgspec.MsgspecError, SafetensorError) as error:
        raise FormatError(f"cannot be read: {error!r}", field="programs", remedy=_REMEDY) from error
    backbone = load_backbone(config.backbone)
    models = build_models(
        backbone, user_places, item_places,
        id_std=config.id_std, seed=0, device=config.device, bfloat16=config.bfloat16,
    )  # fmt: skip
    models.path = _empty_path(learnt, models.device)
    _fill(models, learnt)
    writer = Writer(models.vocabulary, config.switches.wording, min(config.max_tokens, backbone.max_tokens))
    return Unpacked(models, writer, config, items)


def _empty_path(learnt: Mapping[str, torch.Tensor], device: torch.device) -> HistoryPath | None:
    """The history's way beside the language model, of the shape that was learnt, where one was."""
    given, wanted = (learnt.get(f"path.{name}") for name in ("given", "wanted"))
    if given is None or wanted is None:
        return None
    if given.ndim != 2 or given.shape != wanted.shape or not len(given):
        raise FormatError("is no way from items to items", field="path", value=tuple(given.shape), remedy=_REMEDY)
    return HistoryPath(torch.zeros_like(given), torch.zeros_like(wanted)).to(device)


@torch.no_grad()
def _fill(models: Models, learnt: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in models.learnt():
        if name in _ROWS:
            parameter.zero_()
            continue
        found = learnt.get(name)
        if found is None or found.shape != parameter.shape:
            shape = None if found is None else tuple(found.shape)
            raise FormatError("does not fit its configuration", field=name, value=shape, remedy=_REMEDY)
        parameter.copy_(found)
