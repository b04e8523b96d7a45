from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.cllm4rec_recipes import cllm4rec_small
from llm_rec.config import Cllm4recConfig
from llm_rec.history_path import HistoryPath
from llm_rec.models import Models, build_models
from llm_rec.packed import pack_programs, unpack_programs
from streams.contract.errors import FormatError
from streams.contract.recommender import Item

ITEMS = [Item("a", "Heat (1995)", {"year": 1995}), Item("b")]


def _config() -> Cllm4recConfig:
    shape = BackboneConfig(kind="gpt2-small-shape", trainable=True, width=8, layers=1, heads=2, positions=64)
    return replace(cllm4rec_small(), backbone=shape)


def _models(config: Cllm4recConfig) -> Models:
    models = build_models(load_backbone(config.backbone), 3, len(ITEMS), id_std=0.02, seed=1, device="cpu",
                          bfloat16=False)  # fmt: skip
    with torch.no_grad():
        for _, parameter in models.learnt():
            parameter.add_(0.25)
    return models


def test_what_the_language_model_learnt_comes_back_and_rows_are_zero() -> None:
    config = _config()
    models = _models(config)
    back = unpack_programs(pack_programs(config, models, ITEMS), user_places=5, item_places=7)
    assert back.config == config
    assert back.items == ITEMS
    assert back.models.collaborative.table.shape == (12, 8)
    assert not back.models.collaborative.table.any()
    learnt = dict(models.learnt())
    for name, parameter in back.models.learnt():
        if name.startswith("backbone."):
            assert torch.equal(parameter, learnt[name]), name


def test_way_of_the_history_comes_back() -> None:
    models = _models(_config())
    models.path = HistoryPath(torch.randn(2, 3), torch.randn(2, 3), weight=4.0, decay=0.7)
    back = unpack_programs(pack_programs(_config(), models, ITEMS), user_places=1, item_places=5).models.path
    assert back is not None
    for name, parameter in models.path.named_parameters():
        assert torch.equal(back.get_parameter(name), parameter), name


@pytest.mark.parametrize("damage", [{"config": b"{"}, {"backbone": b"x"}, {"catalogue": b"\x01"}])
def test_a_damaged_program_is_refused(damage: dict[str, bytes]) -> None:
    programs = pack_programs(_config(), _models(_config()), ITEMS)
    with pytest.raises(FormatError):
        unpack_programs({**programs, **damage}, user_places=1, item_places=1)


def test_a_language_model_of_another_shape_is_refused() -> None:
    programs = pack_programs(_config(), _models(_config()), ITEMS)
    other = replace(_config(), backbone=replace(_config().backbone, width=16))
    with pytest.raises(FormatError, match="backbone"):
        unpack_programs({**programs, "config": pack_programs(other, _models(other), ITEMS)["config"]},
                        user_places=1, item_places=1)  # fmt: skip
