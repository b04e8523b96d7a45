"""A bias an item: where it begins, what it does to scores, and what new items get."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.item_bias import log_likes
from llm_rec.item_weights import words_of
from llm_rec.material import Material
from llm_rec.new_items import NewItems
from llm_rec.scoring import score_prompts
from llm_rec.splits import Split
from llm_rec.switches import Switches
from tests.support.two_communities import NUM_ITEMS, SHORT, coloured, quiet, two_communities

NEW = 11
BIASED = replace(SHORT, switches=Switches(item_bias="likes"))


@pytest.fixture(scope="module")
def fitted() -> CLLM4Rec:
    split = two_communities()
    train = [items[items != NEW] for items in split.train]
    model = CLLM4Rec(BIASED, tell=quiet)
    model.fit(Split(split.name, split.users, split.items, train, split.valid, split.test), coloured(), seed=0)
    return model


def test_it_begins_at_the_logarithm_of_the_likes() -> None:
    bias = log_likes([np.array([0, 1]), np.array([1]), np.array([], dtype=np.int64)], 3)
    assert (bias - bias[2]).tolist() == pytest.approx([math.log(2), math.log(3), 0])
    assert float(bias.mean()) == pytest.approx(0, abs=1e-6)


def test_it_is_learnt_and_added_to_the_scores(fitted: CLLM4Rec) -> None:
    models, prompt = fitted.models, fitted.writer.prompt(0, np.array([2, 4]))
    bias = models.bias
    assert bias is not None
    assert "bias" in models.snapshot()
    with_bias = score_prompts(models, [prompt])
    models.bias = None
    without = score_prompts(models, [prompt])
    models.bias = bias
    np.testing.assert_allclose(with_bias - without, bias.detach().numpy()[None], atol=1e-6)
    assert not torch.equal(bias.detach(), log_likes(two_communities().train, NUM_ITEMS))


def test_a_new_item_is_as_good_as_the_mean_of_the_others(fitted: CLLM4Rec) -> None:
    assert fitted.models.bias is not None
    bias = fitted.models.bias.detach()
    assert float(bias[NEW]) == pytest.approx(float(bias[:NEW].mean()), abs=1e-6)


def test_training_finds_its_own_biases_again_behind_validation() -> None:
    model = CLLM4Rec(BIASED, tell=quiet)
    model.fit(two_communities(), coloured(), seed=0)
    before = model.models.snapshot()
    material = Material([np.array([0, 1])], coloured().texts)
    with NewItems(material, "content", words_of(material.texts)).grafted(model.models):
        assert not torch.equal(model.models.snapshot()["bias"], before["bias"])
    assert torch.equal(model.models.snapshot()["bias"], before["bias"])
