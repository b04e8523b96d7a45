"""One batch of each task: what gets a gradient, and that company and padding change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.batches import batch_of
from llm_rec.documents import Document, Writer
from llm_rec.models import Models, build_models
from llm_rec.scoring import score_prompts
from llm_rec.steps import collaborative_loss, content_loss, recommend_loss
from llm_rec.switches import Switches

CPU = torch.device("cpu")
BACKBONES = [BackboneConfig(kind="tiny"), BackboneConfig(kind="gpt2-small-shape", width=32, layers=2, heads=4)]


@pytest.fixture(params=BACKBONES, ids=lambda config: config.kind)
def models(request: pytest.FixtureRequest) -> Models:
    backbone = load_backbone(request.param)
    return build_models(backbone, 3, 9, id_std=None, seed=0, device="cpu", bfloat16=False)


@pytest.fixture
def writer(models: Models) -> Writer:
    return Writer(models.vocabulary, "code", 200)


def backward(loss: torch.Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def test_the_collaborative_step_moves_the_collaborative_set_alone(models: Models, writer: Writer) -> None:
    batch = batch_of(list(writer.interactions(1, np.array([4, 2]))), CPU)
    backward(collaborative_loss(models, batch, Switches()))
    assert models.collaborative.table.grad is not None
    assert float(models.collaborative.table.grad.abs().sum()) > 0
    assert models.content.table.grad is None


def test_the_content_step_moves_the_content_of_its_item_alone(models: Models, writer: Writer) -> None:
    batch = batch_of([writer.content(4, "a comedy")], CPU)
    backward(content_loss(models, batch, Switches(), regularised=True))
    assert models.collaborative.table.grad is None
    assert models.content.table.grad is not None
    assert models.content.table.grad.abs().sum(1).nonzero().flatten().tolist() == [3 + 4]


def test_the_warm_up_is_not_held_to_the_other_set(models: Models, writer: Writer) -> None:
    batch = batch_of([writer.content(4, "a comedy")], CPU)
    strong = Switches(lambda_c=1e6)
    assert float(content_loss(models, batch, strong, regularised=False).detach()) < 100
    assert float(content_loss(models, batch, strong, regularised=True).detach()) > 100


@pytest.mark.parametrize(("held", "rows"), [(False, 3), (True, 5)])
def test_fine_tuning_holds_targets_if_it_is_told_to(models: Models, writer: Writer, held: bool, rows: int) -> None:
    """User twice and one item in the prompt; two targets."""
    prompts, targets = [writer.prompt(1, np.array([4]))], [np.array([0, 2])]
    losses = [recommend_loss(models, prompts, targets, Switches(regularise_targets=held, lambda_c=weight,
                             regulariser="sum")) for weight in (0.0, 1.0)]  # fmt: skip
    gap = (models.collaborative.table - models.content.table).square().sum(1)
    counted = [1, 1, 3 + 4] + ([3 + 0, 3 + 2] if held else [])
    assert len(counted) == rows
    assert float((losses[1] - losses[0]).detach()) == pytest.approx(float(gap[counted].sum().detach()), rel=1e-4)


def test_scores_alone_are_the_scores_in_a_batch(models: Models, writer: Writer) -> None:
    prompts = [writer.prompt(user, np.arange(user * 3 + 1)) for user in range(3)]
    together = score_prompts(models, prompts)
    for row, prompt in enumerate(prompts):
        assert np.allclose(score_prompts(models, [prompt])[0], together[row], atol=1e-5)


def test_the_loss_of_a_padded_batch_is_that_of_its_rows(models: Models, writer: Writer) -> None:
    documents = [*writer.interactions(0, np.array([1, 2, 3, 4])), *writer.interactions(1, np.array([5]))]
    switches = Switches(lambda_c=0.0)

    def loss(rows: list[Document]) -> float:
        return float(collaborative_loss(models, batch_of(rows, CPU), switches).detach())

    assert loss(documents) == pytest.approx((4 * loss(documents[:1]) + loss(documents[1:])) / 5, abs=1e-5)


def test_bfloat16_scores_stay_near_those_of_float32(models: Models, writer: Writer) -> None:
    prompts = [writer.prompt(0, np.array([1, 2, 3]))]
    exact = score_prompts(models, prompts)
    models.bfloat16 = True
    rounded = score_prompts(models, prompts)
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, exact)
    assert np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()
