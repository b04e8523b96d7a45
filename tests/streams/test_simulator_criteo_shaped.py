"""Rows of Criteo's shape whose probability is known."""

from __future__ import annotations

import numpy as np
import pytest

from streams.contract.examples import ExampleBatch, concat_batches, decode_examples, encode_examples
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from streams.simulator.criteo_shaped import AD_CATEGORIES, AD_NUMBERS, CriteoShape, criteo_shaped

SMALL = CriteoShape(largest_vocabulary=2_000, chunk_size=1_000)


def log_loss(batch: ExampleBatch, predicted: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    y = batch.label.astype(np.float64)
    return float(-(y * np.log(predicted) + (1 - y) * np.log(1 - predicted)).mean())


def test_columns_are_18_and_9_of_the_request_and_8_and_4_of_the_ad() -> None:
    batch = next(criteo_shaped(100, 0, SMALL))
    assert len(batch) == 100
    kinds = [
        [sum(name[0] == kind for name in columns) for kind in "CI"] for columns in (batch.request, batch.candidate)
    ]
    assert kinds == [[18, 9], [8, 4]]
    assert set(batch.candidate) == {*AD_CATEGORIES, *AD_NUMBERS}


def test_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    def encoded(seed: int) -> list[bytes]:
        return [encode_examples(batch) for batch in criteo_shaped(2_500, seed, SMALL)]

    assert encoded(1) == encoded(1)
    assert encoded(1) != encoded(2)


def test_batches_hold_as_many_examples_as_asked_for_and_keep_requests_whole() -> None:
    shape = CriteoShape(largest_vocabulary=2_000, chunk_size=100, candidates_per_request=32)
    batches = list(criteo_shaped(250, 0, shape))
    assert [len(batch) for batch in batches] == [96, 96, 58]
    assert [batch.num_requests for batch in batches] == [3, 3, 2]
    ids = [name for batch in batches for name in batch.impression_id]
    assert len(set(ids)) == len(ids) == 8


def test_batch_survives_encoding() -> None:
    batch = next(criteo_shaped(500, 0, SMALL))
    decoded = decode_examples(encode_examples(batch))
    assert isinstance(decoded, ExampleBatch)
    assert decoded.true_probability.tolist() == batch.true_probability.tolist()
    assert decoded.ad_id == batch.ad_id


def test_click_rate_is_near_a_tenth_and_the_truth_beats_the_base_rate_by_far() -> None:
    batch = concat_batches(list(criteo_shaped(100_000, 0)))
    truth = batch.true_probability.astype(np.float64)
    assert batch.label.mean() == pytest.approx(truth.mean(), abs=0.004)
    assert truth.mean() == pytest.approx(0.1, abs=0.02)
    base_rate = np.full_like(truth, batch.label.mean())
    assert 0.7 < log_loss(batch, truth) / log_loss(batch, base_rate) < 0.82


def test_weights_turn_so_that_the_same_value_comes_to_mean_something_else() -> None:
    shape = CriteoShape(
        largest_vocabulary=20, latent_scale=1e-9, category_scale=0.5, examples_per_quarter_turn=40_000, chunk_size=1_000
    )
    batches = list(criteo_shaped(41_000, 0, shape))

    def effects(batch: ExampleBatch) -> list[float]:
        logit = np.log(batch.true_probability / (1 - batch.true_probability))
        columns = {**batch.request, **batch.candidate}
        return [float(logit[np.asarray(columns[f"C{i}"]) == 0].mean() - logit.mean()) for i in range(1, 27)]

    start, soon, later = effects(batches[0]), effects(batches[2]), effects(batches[40])
    assert np.corrcoef(start, soon)[0, 1] > 0.8
    assert np.corrcoef(start, later)[0, 1] < 0.6


def test_preset_gives_the_same_rows_as_impressions() -> None:
    batch = next(criteo_shaped(200, 3))
    observed = list(open_dataset("simulator:criteo", DatasetOptions(seed=3, max_impressions=200)))
    assert [float(bool(o.feedback)) for o in observed] == batch.label.tolist()
    assert [o.impression.candidates["C20"][0] for o in observed] == list(batch.candidate["C20"])  # type: ignore[arg-type]
