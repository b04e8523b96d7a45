"""Low-rank adapters: they begin as nothing, they alone learn, and they travel with what was learnt."""

from __future__ import annotations

import pytest
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from streams.contract.errors import InputError

FROZEN = [
    BackboneConfig(kind="tiny"),
    BackboneConfig(kind="gpt2-small-shape", width=32, layers=2, heads=4, positions=64),
]


def _adapted(config: BackboneConfig) -> BackboneConfig:
    return BackboneConfig(kind=config.kind, width=config.width, layers=config.layers, heads=config.heads,
                          positions=config.positions, lora_rank=2)  # fmt: skip


@pytest.fixture(params=FROZEN, ids=lambda config: config.kind)
def frozen(request: pytest.FixtureRequest) -> BackboneConfig:
    config: BackboneConfig = request.param
    return config


def test_an_adapted_model_begins_as_the_frozen_one(frozen: BackboneConfig) -> None:
    plain, adapted = load_backbone(frozen), load_backbone(_adapted(frozen))
    embeddings = torch.randn(2, 5, plain.width)
    assert torch.allclose(plain.forward(embeddings), adapted.forward(embeddings), atol=1e-6)


def test_adapters_alone_learn_and_every_projection_has_one(frozen: BackboneConfig) -> None:
    adapted = load_backbone(_adapted(frozen))
    learnt = dict(adapted.parameters())
    assert {name.rsplit(".", 1)[1] for name in learnt} == {"up", "down"}
    words = adapted.words().detach().clone()
    rate = torch.optim.SGD(learnt.values(), lr=0.1)
    before = adapted.forward(torch.ones(1, 3, adapted.width)).detach()
    for _ in range(2):
        rate.zero_grad()
        adapted.forward(torch.ones(1, 3, adapted.width)).square().sum().backward()  # type: ignore[no-untyped-call]
        rate.step()
    assert all(held.grad is not None and held.grad.isfinite().all() for held in learnt.values())
    assert not torch.equal(adapted.forward(torch.ones(1, 3, adapted.width)), before)
    assert torch.equal(adapted.words(), words)


def test_a_frozen_adapted_model_answers_as_before_without_its_adapters(frozen: BackboneConfig) -> None:
    adapted = load_backbone(_adapted(frozen))
    with torch.no_grad():
        for name, held in adapted.parameters():
            held.add_(0.1 * torch.randn_like(held) if name.endswith("up") else 0)
    embeddings = torch.randn(2, 5, adapted.width)
    before = adapted.forward(embeddings).detach()
    plain = load_backbone(frozen).forward(embeddings)
    adapted.freeze()
    assert torch.allclose(adapted.forward(embeddings), before, atol=1e-5)
    assert not torch.allclose(before, plain, atol=1e-2)
    assert not list(adapted.parameters())
    assert adapted.forward(embeddings).grad_fn is None


def test_adapters_beside_learning_weights_or_of_a_negative_rank_are_refused() -> None:
    with pytest.raises(InputError, match="lora_rank"):
        BackboneConfig(trainable=True, lora_rank=4)
    with pytest.raises(InputError, match="lora_rank"):
        BackboneConfig(lora_rank=-1)
