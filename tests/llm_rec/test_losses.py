"""Losses, their gradients and the regularisation against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm_rec.batches import Batch, batch_of
from llm_rec.documents import Document
from llm_rec.losses import language_loss, multinomial_loss, mutual_regularisation, prior
from llm_rec.switches import Switches

FIRST = 10
HEAD = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def two_rows() -> Batch:
    """Main texts: item 0, item 1 behind one prompt token; item 1 behind two."""
    documents = [Document(np.array([5]), np.array([FIRST, FIRST + 1])),
                 Document(np.array([5, 6]), np.array([FIRST + 1]))]  # fmt: skip
    return batch_of(documents, torch.device("cpu"))


def nll(hidden: list[float], target: int) -> float:
    return math.log(sum(math.exp(h) for h in hidden)) - hidden[target]


STATES = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [9.0, 9.0]], [[7.0, 7.0], [0.5, 0.0], [8.0, 8.0]]])


def test_every_main_token_is_predicted_from_the_state_left_of_it() -> None:
    loss = language_loss(STATES, two_rows(), HEAD, FIRST, skip_first=False)
    by_hand = (nll([1, 2], 0) + nll([3, 0], 1) + nll([0.5, 0], 1)) / 3
    assert float(loss) == pytest.approx(by_hand)


def test_skipping_the_first_main_token_leaves_the_others() -> None:
    loss = language_loss(STATES, two_rows(), HEAD, FIRST, skip_first=True)
    assert float(loss) == pytest.approx(nll([3, 0], 1))


def test_no_token_left_is_no_loss_and_no_gradient() -> None:
    states = torch.randn(1, 3, 2, requires_grad=True)
    batch = batch_of([Document(np.array([5, 6]), np.array([FIRST]))], torch.device("cpu"))
    loss = language_loss(states, batch, HEAD, FIRST, skip_first=True)
    loss.backward()  # type: ignore[no-untyped-call]
    assert states.grad is not None
    assert float(loss.detach()) == 0 == float(states.grad.abs().sum())


def test_the_head_learns_the_softmax_gradient() -> None:
    head = HEAD.clone().requires_grad_()
    batch = batch_of([Document(np.array([5]), np.array([FIRST]))], torch.device("cpu"))
    language_loss(torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), batch, head, FIRST, skip_first=False).backward()  # type: ignore[no-untyped-call]
    p = math.exp(1) / (math.exp(1) + math.exp(2))
    assert head.grad is not None
    assert torch.allclose(head.grad, torch.tensor([[p - 1, 2 * (p - 1)], [1 - p, 2 * (1 - p)]]))


def test_the_multinomial_loss_sums_over_targets_and_averages_over_users() -> None:
    hidden = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    loss = multinomial_loss(hidden, HEAD, [np.array([0, 1]), np.array([1])])
    assert float(loss) == pytest.approx((nll([1, 2], 0) + nll([1, 2], 1) + nll([0.5, 0], 1)) / 2)


OWN = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
OTHER = torch.tensor([[0.0, 0.0], [5.0, 5.0], [0.0, 2.0]])
ROWS = torch.tensor([0, 2, 2])


@pytest.mark.parametrize(("regulariser", "by_hand"), [("sum", 1 + 4 + 4), ("half_l2_mean", (1 + 4 + 4) / 2 / 3)])
def test_regularisation_counts_each_token_where_it_stands(regulariser: str, by_hand: float) -> None:
    switches = Switches(regulariser=regulariser, lambda_c=0.5)  # type: ignore[arg-type]
    assert float(mutual_regularisation(OWN, OTHER, ROWS, switches)) == pytest.approx(0.5 * by_hand)


def test_regularisation_pulls_one_set_and_holds_the_other() -> None:
    own, other = OWN.clone().requires_grad_(), OTHER.clone().requires_grad_()
    mutual_regularisation(own, other, ROWS, Switches()).backward()  # type: ignore[no-untyped-call]
    assert other.grad is None
    assert own.grad is not None
    assert torch.allclose(own.grad, torch.tensor([[1.0, 0.0], [0.0, 0.0], [4.0, 0.0]]) / 3)


def test_the_prior_pulls_to_zero() -> None:
    assert float(prior(OWN, ROWS, Switches(lambda_l=2.0))) == pytest.approx(2 * (1 + 8 + 8) / 6)
