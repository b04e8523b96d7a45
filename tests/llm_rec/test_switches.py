"""Each switch does something, and nothing else tells reference from paper."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from llm_rec.backbone import BackboneConfig
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.switches import Switches, paper, reference
from streams.contract.errors import InputError
from streams.contract.values import Floats
from tests.support.two_communities import NUM_USERS, SHORT, coloured, quiet, two_communities

BACKBONE = BackboneConfig(kind="gpt2-small-shape", width=32, layers=1, heads=4)
DIFFERING = [f.name for f in fields(Switches) if getattr(paper(), f.name) != getattr(reference(), f.name)]


@cache
def scores_with(switches: Switches) -> Floats:
    """Scores for shuffled histories after a short run with dropout and batches of several rows."""
    model = CLLM4Rec(replace(SHORT, backbone=BACKBONE, switches=switches), tell=quiet)
    split = two_communities()
    model.fit(split, coloured(), seed=0)
    rng = np.random.default_rng(0)
    return model.scores(np.arange(NUM_USERS), [rng.permutation(items) for items in split.train])


def test_the_reference_differs_in_what_the_table_of_switches_says() -> None:
    assert set(DIFFERING) == {
        "wording", "pretrain_order", "eval_order", "first_main_token", "regulariser", "regularise_targets",
        "target", "content_dropout", "batches",
    }  # fmt: skip


@pytest.mark.parametrize("name", DIFFERING)
def test_a_switch_of_the_reference_changes_what_comes_out(name: str) -> None:
    alone = replace(paper(), **{name: getattr(reference(), name)})
    assert not np.array_equal(scores_with(alone), scores_with(paper()))


@pytest.mark.parametrize("change", [
    {"finetune_order": "chrono"}, {"lambda_c": 0.0}, {"lambda_l": 1.0}, {"eval_order": "id"}, {"item_bias": "likes"},
], ids=str)  # fmt: skip
def test_a_switch_beside_them_changes_what_comes_out(change: dict[str, Any]) -> None:
    assert not np.array_equal(scores_with(replace(paper(), **change)), scores_with(paper()))


def test_the_reference_with_all_its_switches_turned_is_the_paper() -> None:
    turned = replace(reference(), **{name: getattr(paper(), name) for name in DIFFERING})
    assert np.array_equal(scores_with(turned), scores_with(paper()))


def test_a_random_history_is_drawn_from_its_seed() -> None:
    first, other = (scores_with(replace(paper(), eval_order="random", eval_seed=seed)) for seed in (1, 2))
    assert not np.array_equal(first, other)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InputError, match="must not be negative"):
        Switches(lambda_c=-1.0)


def test_histories_are_not_shown_in_two_orders() -> None:
    with pytest.raises(InputError, match=r"switches\.eval_order"):
        replace(paper(), eval_order="mixed")
