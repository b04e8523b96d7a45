"""The reservoir is a uniform sample; what is replayed follows the ranks; the mean label stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streams.contract.columns import Array
from tests.support.round_batches import EXAMPLES_A_ROUND, round_batches, toy_strategy
from tests.support.toy_examples import toy_batch, toy_schema
from trainer.prepare import Learnable
from trainer.strategies.reservoir import Reservoir, drawn, places_kept, rank_weights
from trainer.strategies.spmf import ReservoirLearner, ReservoirRounds

CAPACITY, CHUNK, CHUNKS, TRIALS = 8, 7, 6, 4000


def sample(random: np.random.Generator) -> Array:
    """The items in the reservoir after all chunks."""
    held = np.zeros(0, dtype=np.int64)
    for chunk in range(CHUNKS):
        items = np.concatenate([held, chunk * CHUNK + np.arange(CHUNK)])
        held = items[places_kept(len(held), CAPACITY, chunk * CHUNK, CHUNK, random)]
    return held


def test_every_item_is_in_the_reservoir_with_the_same_probability() -> None:
    random, counts = np.random.default_rng(0), np.zeros(CHUNK * CHUNKS)
    for _ in range(TRIALS):
        held = sample(random)
        assert len(set(held.tolist())) == CAPACITY
        counts[held] += 1
    due = CAPACITY / len(counts)
    deviation = np.sqrt(due * (1 - due) / TRIALS)
    np.testing.assert_allclose(counts / TRIALS, due, atol=4.5 * deviation)


def test_reservoir_that_is_not_full_holds_everything_in_order() -> None:
    reservoir = Reservoir(100, seed=0)
    reservoir.offer(toy_batch(10))
    reservoir.offer(toy_batch(10, start=10))
    assert reservoir.examples is not None
    assert reservoir.seen == len(reservoir.examples) == 80
    requests = [reservoir.examples.impression_id[r] for r in reservoir.examples.request_index.tolist()]
    assert requests == [f"i0-{n}" for n in range(20) for _ in range(4)]


def test_examples_in_the_reservoir_are_those_that_came_with_their_own_request() -> None:
    reservoir, came = Reservoir(30, seed=1), {}
    for start in range(0, 100, 10):
        batch = toy_batch(10, start=start)
        for row, request in enumerate(batch.request_index.tolist()):
            key = (batch.impression_id[request], int(batch.position[row]))
            came[key] = (batch.ad_id[row], batch.label[row], batch.request["user"][request])  # type: ignore[index]
        reservoir.offer(batch)
    held = reservoir.examples
    assert held is not None
    for row, request in enumerate(held.request_index.tolist()):
        key = (held.impression_id[request], int(held.position[row]))
        assert came[key] == (held.ad_id[row], held.label[row], held.request["user"][request])  # type: ignore[index]


def test_rank_weighs_the_lowest_score_most() -> None:
    np.testing.assert_allclose(rank_weights(np.array([3.0, 1.0, 2.0])), np.exp([0, 2 / 3, 1 / 3]))


def test_positives_are_drawn_in_proportion_to_their_weights() -> None:
    random, label = np.random.default_rng(2), np.array([1.0, 1, 1, 0, 0, 0])
    score, counts, trials = np.array([0.2, -1.0, 3.0, 9.0, 9.0, 9.0]), np.zeros(6), 6000
    for _ in range(trials):
        counts[drawn(label, score, 2, random)] += 1
    due = np.exp([1 / 3, 2 / 3, 0])
    np.testing.assert_allclose(counts[:3] / trials, due / due.sum(), atol=0.03)
    np.testing.assert_allclose(counts[3:] / trials, 1 / 3, atol=0.03)


def test_replay_has_the_mean_label_of_the_reservoir_and_nothing_twice() -> None:
    random = np.random.default_rng(3)
    label = (np.arange(400) % 5 == 0).astype(np.float32)
    rows = drawn(label, random.normal(size=400), 100, random)
    assert len(set(rows.tolist())) == 100
    assert label[rows].mean() == pytest.approx(0.2)
    assert len(drawn(label, random.normal(size=400), 999, random)) == 400


def test_round_learns_its_own_examples_and_a_tenth_of_its_size_from_the_reservoir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    step = ReservoirLearner.learn_with

    def counted(learner: ReservoirLearner, newest: Learnable, replayed: list[Learnable]) -> None:
        sizes.append((len(newest.examples), sum(len(each.examples) for each in replayed)))
        step(learner, newest, replayed)

    monkeypatch.setattr(ReservoirLearner, "learn_with", counted)
    rounds = ReservoirRounds(toy_schema(), toy_strategy("spmf-3"), tmp_path)
    for batch in round_batches(7):
        rounds.take(batch)
    steps = -(-EXAMPLES_A_ROUND // 64)
    of_round = np.array(sizes).reshape(-1, steps, 2).sum(axis=1)
    assert of_round.tolist() == [[EXAMPLES_A_ROUND, 0]] * 3 + [[EXAMPLES_A_ROUND, EXAMPLES_A_ROUND // 10]] * 3
    assert rounds.reservoir is not None
    assert rounds.reservoir.examples is not None
    assert len(rounds.reservoir.examples) == int(0.3 * 3 * EXAMPLES_A_ROUND)
    assert rounds.reservoir.seen == 6 * EXAMPLES_A_ROUND
    assert len(list(tmp_path.glob("round-*"))) == 1


def test_replayed_ids_are_not_counted_for_admission(tmp_path: Path) -> None:
    with_replay, without = (
        ReservoirRounds(toy_schema(), toy_strategy(name), tmp_path / name) for name in ("spmf-1", "spmf-9")
    )
    for batch in round_batches(6):
        with_replay.take(batch)
        without.take(batch)
    assert with_replay.reservoir is not None
    assert without.reservoir is None
    np.testing.assert_array_equal(
        with_replay._learner.vocabulary.state()["ids"], without._learner.vocabulary.state()["ids"]
    )
