from __future__ import annotations

import torch

from trainer.model.pairs import Pairs


def some_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([0, 3, 1]), torch.tensor([2, 1, 4])


def test_products_are_those_of_the_chosen_pairs_with_and_without_gradients() -> None:
    first, second = some_pairs()
    vectors = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = (vectors[:, first] * vectors[:, second]).sum(-1)
    pairs = Pairs(5, first, second)
    torch.testing.assert_close(pairs(vectors), expected)
    with torch.no_grad():
        assert torch.equal(pairs(vectors), pairs(vectors.requires_grad_()))


def test_gradient_equals_numerical_one() -> None:
    vectors = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(Pairs(5, *some_pairs()), (vectors,))


def test_gradient_under_autocast_has_the_type_of_the_vectors() -> None:
    vectors = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        products = Pairs(5, *some_pairs())(vectors)
    assert products.dtype == torch.bfloat16
    products.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.dtype == torch.float32
