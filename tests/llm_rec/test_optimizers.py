"""What the optimizers of a run say they move is what a run changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Writer
from llm_rec.item_bias import add_item_bias
from llm_rec.material import Material
from llm_rec.models import build_models
from llm_rec.optimizers import moved
from llm_rec.schedule import Task
from llm_rec.switches import Switches
from llm_rec.training import Trainer
from tests.support.two_communities import NUM_ITEMS, NUM_USERS, SHORT, coloured, quiet, two_communities

LEARNING = BackboneConfig(kind="gpt2-small-shape", width=32, layers=1, heads=4, trainable=True)


WITHOUT_CONTENT = replace(SHORT, with_content=False, switches=Switches(lambda_c=0))


@pytest.mark.parametrize(
    ("config", "biased", "moves"),
    [
        (SHORT, False, {"collaborative", "content"}),
        (WITHOUT_CONTENT, True, {"collaborative", "bias"}),
        (replace(WITHOUT_CONTENT, backbone=LEARNING), False, {"collaborative", "backbone"}),
    ],
    ids=["both sets", "without content, with a bias", "without content, the language model learns"],
)
def test_a_run_changes_what_its_optimizers_move(config: Cllm4recConfig, biased: bool, moves: set[str]) -> None:
    split, backbone = two_communities(), load_backbone(config.backbone)
    models = build_models(backbone, NUM_USERS, NUM_ITEMS, id_std=0.02, seed=0, device="cpu", bfloat16=False)
    if biased:
        add_item_bias(models, split.train)
    before = models.snapshot()
    writer, material = Writer(models.vocabulary, "paper", 200), Material(split.train, coloured().texts)
    Trainer(models, writer, material, config, seed=0, validate=lambda: 0.0, tell=quiet).run()
    changed = {name for name, now in models.snapshot().items() if not torch.equal(now, before[name])}
    without_content: set[Task] = {"collaborative", "recommend"}
    groups = moved(models, {*without_content, "content"} if config.with_content else without_content)
    assert groups.keys() == moves - {"bias"}
    assert {name.partition(".")[0] for name in changed} == moves
    assert changed == {name for group in groups.values() for name in group}
