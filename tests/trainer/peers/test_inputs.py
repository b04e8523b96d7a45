"""What peers are given: examples on their own, names, numbers in other forms, past rates of ids."""

from __future__ import annotations

import numpy as np
import pytest

from streams.contract.features import FeatureTransform
from tests.support.toy_examples import toy_batch, toy_schema
from trainer.peers.config import NumberForm
from trainer.peers.flat import Flat, flattened, with_newest, words_of
from trainer.peers.number_forms import NumberForms
from trainer.peers.past_rates import PastRates
from trainer.prepare import transform


def bags(flat: Flat) -> list[list[list[int]]]:
    """The ids of each key of each example."""
    ends = np.cumsum(flat.lengths.ravel()).tolist()
    each = [flat.ids[start:end].tolist() for start, end in zip([0, *ends], ends, strict=False)]
    num_examples = len(flat)
    return [each[key * num_examples : (key + 1) * num_examples] for key in range(len(flat.lengths))]


def flat_of(ids: list[list[list[int]]], dense: list[list[float]] | None = None) -> Flat:
    """ids[key][example]: a bag."""
    lengths = np.array([[len(bag) for bag in key] for key in ids], dtype=np.int32)
    values = np.array([value for key in ids for bag in key for value in bag], dtype=np.int64)
    num_examples = lengths.shape[1]
    numbers = np.array(dense if dense is not None else [[]] * num_examples, dtype=np.float32)
    return Flat(numbers.reshape(num_examples, -1), values, lengths, np.arange(num_examples, dtype=np.int32))


def test_flattened_batch_repeats_what_belongs_to_the_request() -> None:
    batch, schema = toy_batch(7, candidates=3), toy_schema()
    features = transform(batch, FeatureTransform(schema))
    flat, index = flattened(features), batch.request_index
    request = Flat(features.request.dense, features.request.ids, features.request.lengths, np.arange(7))
    candidate = Flat(features.candidate.dense, features.candidate.ids, features.candidate.lengths, index)
    assert bags(flat) == [*([key[r] for r in index] for key in bags(request)), *bags(candidate)]
    assert flat.dense.tolist() == [
        [*features.request.dense[r].tolist(), *row]
        for r, row in zip(index, features.candidate.dense.tolist(), strict=True)
    ]


def test_words_stand_example_by_example_and_a_bag_weighs_one() -> None:
    words = words_of(flat_of([[[1], [2]], [[5, 6], []], [[1], [1]]]))
    assert words.ends.tolist() == [4, 6]
    assert words.keys.tolist() == [0, 1, 1, 2, 0, 2]
    assert words.weights.tolist() == [1.0, 0.5, 0.5, 1.0, 1.0, 1.0]
    names = words.names.tolist()
    assert names[3] == names[5]
    assert len(set(names)) == 5
    assert max(names) < 2**31


def test_of_a_bag_the_last_ids_are_kept() -> None:
    cut = with_newest(flat_of([[[1, 2, 3], [4]], [[], [5, 6, 7, 8]]]), 2)
    assert bags(cut) == [[[2, 3], [4]], [[], [7, 8]]]


@pytest.mark.parametrize(("form", "num_numbers", "num_keys"), [("values", 3, 1), ("buckets", 0, 4), ("both", 3, 4)])
def test_numbers_take_the_form_asked_for(form: NumberForm, num_numbers: int, num_keys: int) -> None:
    dense = np.random.default_rng(0).normal([5, -3, 0], [2, 0.1, 0], (400, 3)).astype(np.float32)
    forms = NumberForms(3, form)
    for start in range(0, 400, 100):
        shaped = forms(flat_of([[[1]] * 100], dense[start : start + 100].tolist()))
    assert shaped.dense.shape == (100, num_numbers)
    assert len(shaped.lengths) == num_keys
    expected = (dense[300:] - dense.mean(axis=0)) / np.where(dense.std(axis=0) > 0, dense.std(axis=0), 1)
    if num_numbers:
        assert shaped.dense == pytest.approx(expected, abs=1e-4)
    if num_keys > 1:
        assert [bag[0] for bag in bags(shaped)[1]] == np.floor(2 * expected[:, 0] + 1e-9).astype(int).tolist()


def test_past_rates_are_those_of_earlier_batches_by_key_and_id() -> None:
    rates = PastRates(smoothing=2.0)
    first, second = flat_of([[[1], [1], [2]], [[1], [], [1, 2]]]), flat_of([[[1], [3]], [[1, 2], []]])
    assert rates(first)[:, :2].tolist() == [[0, 0], [0, 0], [0, 0]]
    rates.learn(first, np.array([1, 0, 1], np.float32), np.array([1, 1, 2], np.float32))
    prior = (3 + 1) / (4 + 10)
    (shows_a, shows_b, rate_a, rate_b), unseen = rates(second).tolist()

    def logit(clicks: float, shows: float) -> float:
        rate = (clicks + 2 * prior) / (shows + 2)
        return float(np.log(rate / (1 - rate)))

    assert shows_a == pytest.approx(np.log(3))
    assert rate_a == pytest.approx(logit(1, 2), rel=1e-5)
    assert shows_b == pytest.approx((np.log(4) + np.log(3)) / 2)
    assert rate_b == pytest.approx((logit(3, 3) + logit(2, 2)) / 2, rel=1e-5)
    assert unseen == pytest.approx([0, 0, logit(0, 0), 0], rel=1e-5)


def test_past_rates_of_many_ids_grow_and_keep_what_was_counted() -> None:
    rates = PastRates(smoothing=1.0)
    for start in range(0, 5000, 500):
        batch = flat_of([[[start + n] for n in range(500)]])
        rates.learn(batch, np.ones(500, np.float32), np.ones(500, np.float32))
    seen = rates(flat_of([[[0], [4999], [5000]]]))
    assert np.expm1(seen[:, 0]).tolist() == pytest.approx([1, 1, 0])
