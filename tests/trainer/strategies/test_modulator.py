"""M by hand on one parameter, what it serves untrained, and what stands for rows that a checkpoint lacks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.round_batches import EXAMPLES_A_ROUND, round_batches, toy_strategy
from tests.support.toy_examples import toy_batch, toy_schema
from trainer.future.theta import GatheredRows
from trainer.prepare import Preparer
from trainer.strategies.asmg import ModulatedRounds
from trainer.strategies.config import ModulatorConfig
from trainer.strategies.modulator import GruCoordinates, LinearCoordinates, Modulator

X = [0.5, -0.2, 0.3]
HIDDEN = 2


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def by_hand(gates: list[list[list[float]]], outer: list[float], bias: float) -> float:
    """The recurrence as it is written, one scalar at a time; gates: r, z, c, each (h + 1, h)."""
    h = [0.0] * HIDDEN
    for x in X:
        r, z = ([sigmoid(_dot([*h, x], gate, at)) for at in range(HIDDEN)] for gate in gates[:2])
        gated = [a * b for a, b in zip(r, h, strict=True)]
        c = [math.tanh(_dot([*gated, x], gates[2], at)) for at in range(HIDDEN)]
        h = [(1 - z[at]) * h[at] + z[at] * c[at] for at in range(HIDDEN)]
    return X[-1] + sum(a * b for a, b in zip(outer, h, strict=True)) + bias


def _dot(values: list[float], gate: list[list[float]], column: int) -> float:
    return sum(value * row[column] for value, row in zip(values, gate, strict=True))


def test_gru_of_one_parameter_is_the_recurrence_by_hand() -> None:
    unit = GruCoordinates(1, HIDDEN, torch.Generator().manual_seed(5)).double()
    with torch.no_grad():
        unit.outer.copy_(torch.tensor([[0.7, -1.3]]))
        unit.bias.fill_(0.05)
    made = unit(torch.tensor(X).double().view(3, 1, 1))
    assert made.shape == (1, 1)
    assert made.item() == pytest.approx(by_hand(unit.gates[:, 0].tolist(), [0.7, -1.3], 0.05), rel=1e-6)


def test_each_coordinate_has_a_unit_of_its_own_that_all_rows_share() -> None:
    unit = GruCoordinates(3, 4, torch.Generator().manual_seed(1))
    with torch.no_grad():
        unit.outer.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(3))
    whole = unit(x)
    torch.testing.assert_close(whole[3:4], unit(x[:, 3:4]))
    turned = unit(x[:, :, [1, 0, 2]])
    torch.testing.assert_close(turned[:, 2], whole[:, 2])
    assert not torch.allclose(turned[:, 0], whole[:, 1])


def test_linear_is_the_softmax_of_its_weights_over_checkpoints() -> None:
    unit = LinearCoordinates(3, 1)
    with torch.no_grad():
        unit.logits.copy_(torch.tensor([0.0, 1.0, -1.0]).view(3, 1, 1))
    powers = np.exp([0.0, 1.0, -1.0])
    assert unit(torch.tensor(X).view(3, 1, 1)).item() == pytest.approx(float(powers @ X / powers.sum()))


def test_untrained_gru_gives_the_newest_checkpoint_and_linear_the_mean() -> None:
    x = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    for kind, due in (("gru", x[-1]), ("linear", x.mean(0))):
        modulator = Modulator({"a": 2}, 3, ModulatorConfig(kind=kind), seed=1)  # type: ignore[arg-type]
        torch.testing.assert_close(modulator("a", x), due)


@pytest.fixture
def played(tmp_path: Path) -> ModulatedRounds:
    rounds = ModulatedRounds(toy_schema(), toy_strategy("asmg-gru-3"), tmp_path)
    for batch in round_batches(7):
        rounds.take(batch)
    return rounds


def test_three_checkpoints_and_one_round_are_kept(played: ModulatedRounds, tmp_path: Path) -> None:
    assert [each.round for each in played._checkpoints] == [3, 4, 5]
    assert len(list(tmp_path.glob("round-*"))) == 1


def test_first_three_rounds_and_the_next_are_served_by_the_model_that_learns_and_then_by_what_is_made_of_it(
    tmp_path: Path,
) -> None:
    rounds = ModulatedRounds(toy_schema(), toy_strategy("asmg-gru-3"), tmp_path)
    same = []
    for batch in round_batches(6):
        before, t = rounds._learner.predict(Preparer(toy_schema())(batch)), rounds._t
        got = rounds.take(batch).logit
        if rounds._t == t:
            same.append((t, np.array_equal(got, before)))
    assert {t for t, equal in same if equal} == {0, 1, 2, 3}
    assert {t for t, equal in same if not equal} == {4, 5}


def test_row_that_is_younger_than_a_checkpoint_stands_there_as_in_the_next_and_old_rows_as_they_were(
    played: ModulatedRounds,
) -> None:
    learner = played._learner
    batch = learner.find(Preparer(toy_schema())(toy_batch(200, start=0)))
    rows = GatheredRows(learner, [batch])
    sequence, born = played._sequence(rows), learner.born[rows.slots]
    young, middle, old = born == 5, born == 4, born <= 3
    assert min(young.sum(), middle.sum(), old.sum()) > 3
    assert torch.equal(sequence[0][young], sequence[2][young])
    assert torch.equal(sequence[1][young], sequence[2][young])
    assert torch.equal(sequence[0][middle], sequence[1][middle])
    assert not torch.equal(sequence[1][middle], sequence[2][middle])
    for place, checkpoint in enumerate(played._checkpoints):
        then = rows.values(checkpoint.theta)
        assert torch.equal(sequence[place][old], then[old])
    assert not torch.equal(sequence[0][old], sequence[1][old])


@pytest.mark.parametrize(("name", "least"), [("asmg-linear-3", 0.0003), ("asmg-gru-3", 0.005)])
def test_training_lowers_the_loss_on_the_newest_round_that_its_checkpoints_have_not_learnt(
    name: str, least: float, tmp_path: Path
) -> None:
    config = toy_strategy(name)
    assert config.update is not None
    longer = replace(config.update, modulator=replace(config.update.modulator, epochs=30))
    rounds = ModulatedRounds(toy_schema(), replace(config, update=longer), tmp_path)
    for batch in round_batches(4):
        rounds.take(batch)
    assert [each.round for each in rounds._checkpoints] == [0, 1, 2]
    before = _loss(rounds)
    rounds._train_modulator()
    assert _loss(rounds) < before - least


def _loss(rounds: ModulatedRounds) -> float:
    """Of what is made of the checkpoints, on the present round."""
    [(learnable, _)] = rounds._round(3, EXAMPLES_A_ROUND)
    with torch.no_grad():
        logits = rounds._logits(rounds._learner.find(learnable), rounds._made_network())
    label = torch.tensor(learnable.examples.label)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, label).item()
