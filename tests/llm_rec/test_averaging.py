"""The running mean of the weights: its values by hand, and what is kept of a run that has one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llm_rec.averaging import Average
from llm_rec.backbone import load_backbone
from llm_rec.models import Models, build_models
from streams.contract.errors import InputError
from tests.support.two_communities import SHORT


def models() -> Models:
    found = build_models(load_backbone(SHORT.backbone), 2, 3, id_std=0.02, seed=0, device="cpu", bfloat16=False)
    set_to(found, 0.0)
    return found


@torch.no_grad()
def set_to(of: Models, value: float) -> None:
    for _, weights in of.learnt():
        weights.fill_(value)


def mean_of(of: Models, decay: float) -> Average:
    return Average(dict(of.learnt()), decay)


def first_of(of: Models) -> float:
    return float(of.collaborative.table.detach()[0, 0])


def test_each_step_moves_the_mean_by_its_share() -> None:
    """The first step keeps 2 / 11 of the mean, the second would keep 3 / 12 and keeps no more than the decay, 0.2."""
    held = models()
    average = mean_of(held, 0.2)
    for value in (1.0, 2.0):
        set_to(held, value)
        average.take()
    first = 1 - 2 / 11
    with average.shown():
        assert first_of(held) == pytest.approx(0.2 * first + 0.8 * 2)
    assert first_of(held) == 2
    average.keep()
    assert first_of(held) == pytest.approx(0.2 * first + 0.8 * 2)


def test_without_decay_the_weights_are_shown_and_kept() -> None:
    held = models()
    average = mean_of(held, 0.0)
    set_to(held, 1.0)
    average.take()
    with average.shown():
        assert first_of(held) == 1
    average.keep()
    assert first_of(held) == 1
    assert average.tensors() == {}


def test_another_goes_on_from_what_one_held() -> None:
    one, other = models(), models()
    average = mean_of(one, 0.9)
    set_to(one, 1.0)
    average.take()
    on = mean_of(other, 0.9)
    on.restore(average.tensors(), average.steps)
    for each, held in ((average, one), (on, other)):
        set_to(held, 3.0)
        each.take()
        each.keep()
    assert torch.equal(one.collaborative.table, other.collaborative.table)


def test_a_mean_of_what_moves_alone_ends_as_one_of_all() -> None:
    of_all, of_moved = models(), models()
    table = of_moved.collaborative.table
    averages = (of_all, mean_of(of_all, 0.9)), (of_moved, Average({"collaborative": table}, 0.9))
    for held, average in averages:
        for step in range(20):
            with torch.no_grad():
                held.collaborative.table.normal_(generator=torch.Generator().manual_seed(step))
            average.take()
        average.keep()
    assert set(averages[1][1].tensors()) == {"collaborative"}
    assert all(torch.equal(each, of_moved.snapshot()[name]) for name, each in of_all.snapshot().items())


def test_the_schedule_refuses_a_mean_that_never_moves() -> None:
    with pytest.raises(InputError, match="average"):
        replace(SHORT.schedule, average=1.0)
