"""What is put beside the language model, on two communities whose right answers are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from llm_rec import item_weights
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.config import Cllm4recConfig
from llm_rec.fusion import FusionConfig, largest_within
from llm_rec.history_path import path_of
from llm_rec.interactions import Catalogue
from llm_rec.splits import Split
from llm_rec.switches import Switches
from streams.contract.errors import InputError
from tests.support.two_communities import NUM_ITEMS, NUM_USERS, SHORT, coloured, quiet, two_communities

UNTRAINED = replace(SHORT, schedule=replace(SHORT.schedule, pretraining_epochs=0, finetuning_epochs=0))
FUSED = replace(UNTRAINED, fusion=FusionConfig(l2=(1.0, 10.0), decays=(1.0, 0.5)), switches=Switches(item_bias="likes"))


def fitted(config: Cllm4recConfig, split: Split | None = None, texts: Catalogue | None = None) -> CLLM4Rec:
    model = CLLM4Rec(config, tell=quiet)
    model.fit(two_communities() if split is None else split, texts or coloured(), seed=0)
    return model


def found(model: CLLM4Rec, split: Split) -> float:
    """For how many users the withheld item stands first."""
    scores = model.scores(np.arange(NUM_USERS), split.train)
    for row, items in enumerate(split.train):
        scores[row, items] = -np.inf
    return float(np.mean([best in items for best, items in zip(scores.argmax(1), split.test, strict=True)]))


def test_the_history_finds_what_an_untrained_language_model_does_not() -> None:
    split = two_communities()
    assert found(fitted(replace(FUSED, fusion=None)), split) < 0.5
    assert found(fitted(FUSED), split) == 1


def test_a_weight_of_0_leaves_the_language_model_alone() -> None:
    split, users = two_communities(), np.arange(NUM_USERS)
    silent = fitted(replace(FUSED, fusion=FusionConfig(weights=(0.0,), popularities=(0.0,), newness=(0.0,))))
    alone = fitted(replace(FUSED, fusion=None))
    assert silent.models.path is None
    assert np.array_equal(silent.scores(users, split.train), alone.scores(users, split.train))


def test_a_run_that_is_read_again_is_fused_alike(tmp_path: Any) -> None:
    users, histories = np.arange(NUM_USERS), two_communities().train
    config = replace(FUSED, schedule=SHORT.schedule)
    both = [CLLM4Rec(config, folder=tmp_path, tell=quiet) for _ in range(2)]
    for model in both:
        model.fit(two_communities(), coloured(), seed=0)
    assert np.array_equal(both[0].scores(users, histories), both[1].scores(users, histories))


@pytest.mark.parametrize("come_from", ["content", "texts"])
def test_validation_lifts_new_items_where_they_are_what_is_liked(come_from: Any) -> None:
    """Nobody liked the last two items in training, and everybody likes one of them behind it."""
    old = two_communities()
    train = [items[items < NUM_ITEMS - 2] for items in old.train]
    new = [np.array([NUM_ITEMS - 2 + user % 2]) for user in range(NUM_USERS)]
    split = Split(old.name, old.users, old.items, train, new, new)
    config = replace(FUSED, switches=Switches(item_bias="likes", new_items=come_from))
    for newness, first in ((0.0, False), (9.0, True)):
        fusion = FusionConfig(weights=(0.0,), popularities=(0.0,), newness=(0.0, newness))
        best = fitted(replace(config, fusion=fusion), split).scores(np.arange(NUM_USERS), train).argmax(1)
        assert (best >= NUM_ITEMS - 2).all() == first


def test_newness_is_the_largest_that_costs_little() -> None:
    found = {0.0: 0.500, 1.0: 0.502, 2.0: 0.500, 3.0: 0.400}
    assert [largest_within(found, cost) for cost in (0.0, 0.01, 0.5)] == [1, 2, 3]


def test_words_tell_what_embedding_a_new_item_has() -> None:
    split = two_communities()
    train = [items[items != NUM_ITEMS - 1] for items in split.train]
    texts = Catalogue(("blue", "red") * (NUM_ITEMS // 2))
    config = replace(UNTRAINED, switches=Switches(new_items="texts"))
    items = fitted(config, Split(split.name, split.users, split.items, train, split.valid, split.test), texts)
    embeddings = items.models.collaborative.items.detach()
    red, blue = embeddings[1:-1:2].mean(0), embeddings[0::2].mean(0)
    assert float((embeddings[-1] - red).norm()) < float((embeddings[-1] - blue).norm())


def test_a_way_of_a_lower_rank_is_the_nearest_one() -> None:
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=(60, 3)) @ rng.normal(size=(3, 60))).float()
    for rank in (3, 50):
        path = path_of(weights, rank)
        assert torch.allclose(path.given @ path.wanted.T, weights, atol=1e-3)


@pytest.mark.parametrize("change", [{"weights": ()}, {"decays": (0.0,)}, {"rank": 0}, {"newness_cost": 1.0}], ids=str)
def test_a_fusion_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        FusionConfig(**change)


@pytest.mark.parametrize("switches", [Switches(), Switches(item_bias="likes", eval_order="random")], ids=str)
def test_fusion_needs_a_bias_and_the_order_of_time(switches: Switches) -> None:
    with pytest.raises(InputError):
        replace(FUSED, switches=switches)


def test_more_items_than_a_dense_matrix_has_room_for_are_fused_with_the_most_liked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(item_weights, "MOST_ITEMS", NUM_ITEMS // 2)
    split = two_communities()
    train = [items[items != NUM_ITEMS - 1] for items in split.train]
    config = replace(FUSED, switches=Switches(item_bias="likes", new_items="texts"))
    model = fitted(config, Split(split.name, split.users, split.items, train, split.valid, split.test))
    path = model.models.path
    assert path is not None
    assert (path.given.abs().sum(1) > 0).sum() == NUM_ITEMS // 2
    assert np.isfinite(model.scores(np.arange(NUM_USERS), train)).all()
