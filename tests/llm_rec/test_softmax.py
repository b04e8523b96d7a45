"""The softmax in blocks: what it gives, and what it keeps in memory."""

from __future__ import annotations

import math

import torch

from llm_rec.softmax import log_partition, negative_log_likelihood


def test_a_softmax_by_hand() -> None:
    hidden, table = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 5.0], [0.0, 1.0], [-1.0, 0.0]])
    loss = negative_log_likelihood(hidden, table, torch.tensor([0, 0]), torch.tensor([0, 2]))
    whole = math.log(math.exp(2) + math.exp(0) + math.exp(-1))
    assert torch.allclose(loss, torch.tensor([whole - 2, whole + 1]))


def test_blocks_give_the_same_loss_and_gradients_as_one_table_of_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(17, 8, generator=generator), torch.randn(50, 8, generator=generator)
    targets = torch.randint(50, (17,), generator=generator)

    def run(block_bytes: int) -> list[torch.Tensor]:
        h, z = hidden.clone().requires_grad_(), table.clone().requires_grad_()
        loss = negative_log_likelihood(h, z, torch.arange(17), targets, block_bytes=block_bytes).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert h.grad is not None
        assert z.grad is not None
        return [loss.detach(), h.grad, z.grad]

    whole = torch.nn.functional.cross_entropy(hidden @ table.T, targets)
    for blocks in (1, 4 * 50 * 5, 1 << 20):
        assert torch.allclose(run(blocks)[0], whole, atol=1e-5)
        for ours, one in zip(run(blocks), run(1 << 30), strict=True):
            assert torch.allclose(ours, one, atol=1e-5)


def test_a_hundred_thousand_items_never_have_their_logits_whole() -> None:
    places, items, block_bytes = 64, 100_000, 1 << 20
    hidden = torch.randn(places, 4, requires_grad=True)
    table = torch.randn(items, 4, requires_grad=True)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = log_partition(hidden, table, block_bytes).sum()
        total.backward()  # type: ignore[no-untyped-call]
    assert max(kept) <= max(table.numel(), block_bytes // 4)
    assert max(kept) < places * items
