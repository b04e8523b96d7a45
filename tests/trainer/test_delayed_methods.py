"""Every method learns the true probability where its heads are right; weights are constants, and gradients stay put."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from streams.contract.errors import InputError
from tests.support.toy_examples import toy_schema
from trainer.delayed.config import DelayedConfig, HeadsConfig, MethodName
from trainer.delayed.heads import Heads
from trainer.delayed.learning import DelayedLearning
from trainer.delayed.method import Arrived, Weights, weighted_loss
from trainer.delayed.methods import BiDefuse, Fnc, method_names, method_of

P, DP = 0.2, 0.05
RN = (1 - P) / (1 - P + DP)
UNBIASED: list[MethodName] = [name for name in method_names() if name != "plain"]


@dataclass
class Stream:
    """What one example in the mean brings: kinds of arrivals with their mass, all (K,)."""

    mass: Tensor
    label: Tensor
    correction: Tensor

    def arrived(self, f: Tensor, dp: float, rn: float) -> Arrived:
        ones = torch.ones_like(self.mass)
        return Arrived(f.detach() * ones, self.label, self.correction, dp * ones, rn * ones)


def stream(p: float = P, dp: float = DP) -> Stream:
    """Clicked in the window; not clicked in it; clicked behind it."""
    mass = torch.tensor([p - dp, 1 - p + dp, dp], dtype=torch.float64)
    label = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    return Stream(mass, label, torch.tensor([False, False, True]))


def learnt(name: MethodName, of: Stream, *, dp: float = DP, rn: float = RN, start: float = 0.0) -> float:
    """Where gradient descent of one logit on the mean loss ends."""
    method = method_of(name)
    s = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        weights = method.weigh(of.arrived(torch.sigmoid(s), dp, rn))
        loss = (of.mass * weighted_loss(s.expand(3), weights)).sum()
        (gradient,) = torch.autograd.grad(loss, s)
        with torch.no_grad():
            s -= 2.0 * gradient
    return torch.sigmoid(s).item()


@pytest.mark.parametrize("start", [-4.0, 0.0, 2.0])
@pytest.mark.parametrize("name", UNBIASED)
def test_exact_heads_lead_to_the_true_probability(name: MethodName, start: float) -> None:
    assert learnt(name, stream(), start=start) == pytest.approx(0.2000, abs=5e-5)


@pytest.mark.parametrize("name", UNBIASED)
def test_without_any_window_exact_heads_lead_to_the_true_probability(name: MethodName) -> None:
    assert learnt(name, stream(dp=P), dp=P, rn=1 - P) == pytest.approx(0.2000, abs=1e-4) or name == "bi-defuse"


@pytest.mark.parametrize("name", method_names())
def test_without_late_clicks_every_method_learns_what_it_sees(name: MethodName) -> None:
    assert learnt(name, stream(dp=0.0), dp=0.0, rn=1.0) == pytest.approx(0.2000, abs=5e-5)


@pytest.mark.parametrize(("dp", "expected"), [(DP, P / (1 + DP)), (P, P / (1 + P))])
def test_plain_learning_is_biased_by_the_negatives_that_became_clicks(dp: float, expected: float) -> None:
    assert learnt("plain", stream(dp=dp)) == pytest.approx(expected, abs=5e-5)


def test_fnc_is_cross_entropy_of_q_whose_odds_are_served() -> None:
    s = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    label = (torch.arange(25) % 3 == 0).double()
    f = torch.sigmoid(s)
    q = f / (1 + f)
    of_q = -(label * q.log() + (1 - label) * (1 - q).log()).sum()
    correction = label > 0.5
    zeros = torch.zeros_like(s)
    weights = Fnc().weigh(Arrived(f.detach(), label, correction, zeros, zeros))
    (expected,) = torch.autograd.grad(of_q, s)
    (got,) = torch.autograd.grad(weighted_loss(s, weights).sum(), s)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(q / (1 - q), f)
    assert (q < 0.5).all()


@pytest.mark.parametrize("start", [-4.0, 0.0])
def test_out_of_window_part_of_bi_defuse_learns_the_late_probability(start: float) -> None:
    s = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    correction, mass = torch.tensor([False, True]), torch.tensor([1.0, DP], dtype=torch.float64)
    for _ in range(1500):
        weights = BiDefuse().weigh_late(torch.sigmoid(s).detach().expand(2), correction)
        (gradient,) = torch.autograd.grad((mass * weighted_loss(s.expand(2), weights)).sum(), s)
        with torch.no_grad():
            s -= 2.0 * gradient
    assert torch.sigmoid(s).item() == pytest.approx(DP, abs=5e-5)


@pytest.mark.parametrize("name", method_names())
def test_weights_are_finite_wherever_model_and_heads_stand(name: MethodName) -> None:
    f, dp, rn = (x.flatten() for x in torch.meshgrid(*[torch.tensor([1e-6, 0.3, 1 - 1e-6])] * 3, indexing="ij"))
    for label, correction in ((0.0, False), (1.0, False), (1.0, True)):
        of = Arrived(f, torch.full_like(f, label), torch.full_like(f, correction, dtype=torch.bool), dp, rn)
        for weight in vars_of(method_of(name).weigh(of)):
            assert torch.isfinite(weight).all()
            assert weight.abs().max() <= 20.1


def vars_of(weights: Weights) -> tuple[Tensor, Tensor]:
    return weights.positive, weights.negative


@pytest.mark.parametrize("name", method_names())
def test_gradient_of_the_loss_reaches_the_logits_alone_and_that_of_the_heads_the_heads(name: MethodName) -> None:
    learning = delayed(name)
    embeddings = torch.randn(4, 6, requires_grad=True)
    learning._inputs = embeddings
    logits = torch.randn(4, requires_grad=True)
    before = [] if learning.heads is None else [p.detach().clone() for p in learning.heads.network.parameters()]
    label, correction = torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([False, False, True, False])
    loss = learning.loss(logits, label, torch.ones(4), correction)
    assert [given.grad for given in (embeddings, logits)] == [None, None]
    after = [] if learning.heads is None else [p.detach().clone() for p in learning.heads.network.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    loss.backward()  # type: ignore[no-untyped-call]
    assert [given.grad is None for given in (embeddings, logits)] == [True, False]
    left = [] if learning.heads is None else [p.detach() for p in learning.heads.network.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(after, left, strict=True))


def delayed(name: MethodName) -> DelayedLearning:
    learning = DelayedLearning(toy_schema(), DelayedConfig(method=name), seed=0, device=torch.device("cpu"))
    if learning.heads is not None:
        learning.heads = small_heads(6)
    return learning


def small_heads(num_inputs: int) -> Heads:
    heads = Heads(toy_schema(), HeadsConfig(), seed=1, device=torch.device("cpu"))
    heads.network.first = torch.nn.Linear(num_inputs, 32)
    heads.optimizer = torch.optim.Adam(heads.network.parameters(), lr=0.01)
    return heads


@pytest.mark.parametrize("name", ["es-dfm", "bi-defuse"])
def test_heads_learn_the_late_and_the_fake_probability_from_labels_that_are_not_final(name: MethodName) -> None:
    of, heads = stream(), small_heads(1)
    x, s = torch.ones(3, 1), torch.full((3,), torch.logit(torch.tensor(P)).item())
    for _ in range(1500):
        heads.learn(x, s, of.label.float(), of.mass.float(), of.correction, method_of(name))
    dp, rn = heads.estimate(x, s)
    assert dp[0].item() == pytest.approx(DP, abs=2e-4)
    assert rn[0].item() == pytest.approx(RN, abs=5e-4)


def test_unknown_method_raises_input_error_listing_the_names() -> None:
    with pytest.raises(InputError, match="no method") as caught:
        method_of("dfm")  # type: ignore[arg-type]
    assert all(name in (caught.value.remedy or "") for name in method_names())
