"""What is particular to one baseline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llm_rec import item_weights
from llm_rec.baselines import item_knn
from llm_rec.baselines.early_stop import StopConfig, fit_until_best
from llm_rec.baselines.ease import Ease, EaseConfig
from llm_rec.baselines.item_knn import ItemKnn, ItemKnnConfig
from llm_rec.baselines.multi_vae import MultiVae, MultiVaeConfig
from llm_rec.baselines.popularity import DAY_MS, Popularity, PopularityConfig
from llm_rec.baselines.sasrec import SasRec, SasRecConfig, sequences
from llm_rec.interactions import Catalogue
from llm_rec.packages import imported
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.errors import InputError, TooLargeError
from tests.support.communities import CATALOGUE, communities


def split_of(train: list[list[int]], num_items: int, times_days: list[list[int]] | None = None) -> Split:
    none: list[Array] = [np.zeros(0, dtype=np.int64) for _ in train]
    times = [DAY_MS * np.array(each) for each in times_days] if times_days else None
    names = tuple(map(str, range(len(train)))), tuple(map(str, range(num_items)))
    return Split("time", *names, [np.array(each, dtype=np.int64) for each in train], none, none, times)


def test_popularity_counts_likes() -> None:
    popularity = Popularity(PopularityConfig())
    popularity.fit(split_of([[0, 1], [1], []], 3), Catalogue(("", "", "")), seed=0)
    assert popularity.scores(np.array([0, 2]), []).tolist() == [[1, 2, 0], [1, 2, 0]]


def test_like_of_one_half_life_before_the_newest_counts_half() -> None:
    popularity = Popularity(PopularityConfig(half_life_days=10))
    split = split_of([[0, 1], [1]], 2, times_days=[[0, 10], [20]])
    popularity.fit(split, Catalogue(("", "")), seed=0)
    assert popularity.scores(np.array([0]), [])[0].tolist() == [0.25, 1.5]


def test_half_life_without_times_is_refused() -> None:
    with pytest.raises(InputError, match="an order alone"):
        Popularity(PopularityConfig(half_life_days=10)).fit(split_of([[0]], 1), Catalogue(("",)), seed=0)


def test_ease_has_the_weights_of_the_constrained_ridge_regression() -> None:
    split, l2 = split_of([[0, 1], [0, 1, 2], [2, 3], [1]], 4), 0.7
    model = Ease(EaseConfig(l2=l2))
    model.fit(split, Catalogue(("",) * 4), seed=0)
    weights = model.scores(np.arange(4), [np.array([item]) for item in range(4)])
    likes = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [0, 1, 0, 0]], dtype=np.float64)
    for item in range(4):
        others = [other for other in range(4) if other != item]
        x = likes[:, others]
        expected = np.linalg.solve(x.T @ x + l2 * np.eye(3), x.T @ likes[:, item])
        np.testing.assert_allclose(weights[others, item], expected, rtol=1e-5)
        assert weights[item, item] == 0


def test_ease_refuses_a_catalogue_whose_inverse_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_weights, "MOST_ITEMS", 3)
    with pytest.raises(TooLargeError, match="at most 3 items"):
        Ease(EaseConfig()).fit(split_of([[0]], 4), Catalogue(("",) * 4), seed=0)


def test_item_knn_sums_cosines_over_the_history() -> None:
    pytest.importorskip("implicit", reason="the baseline item-knn needs the package implicit")
    model = ItemKnn(ItemKnnConfig(neighbours=3))
    model.fit(split_of([[0, 1], [0, 1, 2], [2]], 3), Catalogue(("",) * 3), seed=0)
    scores = model.scores(np.array([0]), [np.array([0, 1])])
    assert scores[0].tolist() == pytest.approx([2, 2, 1], rel=1e-6)


def test_item_knn_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_knn, "imported", lambda _, package: imported("no_such_module", package=package))
    with pytest.raises(InputError, match=r"implicit.*requirements/bench\.lock"):
        ItemKnn(ItemKnnConfig()).fit(communities(), CATALOGUE, seed=0)


def test_sequences_begin_with_the_start_token_and_keep_the_newest() -> None:
    tokens, lengths = sequences([np.array([1, 2, 3]), np.array([], dtype=np.int64), np.array([4])], 9, 2)
    assert tokens.tolist() == [[9, 2, 3], [9, 9, 9], [9, 4, 9]]
    assert lengths.tolist() == [3, 1, 2]


def test_sasrec_tells_the_next_item_of_a_fixed_order() -> None:
    """Item j is always followed by j + 1, wherever a sequence begins: only the order tells."""
    train = [[(first + step) % 12 for step in range(6)] for first in range(12)] * 2
    model = SasRec(SasRecConfig(stop=StopConfig(epochs=150)))
    model.fit(split_of(train, 12), Catalogue(("",) * 12), seed=0)
    scores = model.scores(np.arange(12), [np.array([(item - 1) % 12, item]) for item in range(12)])
    assert scores.argmax(axis=1).tolist() == [(item + 1) % 12 for item in range(12)]


def test_epochs_end_where_validation_gains_no_more_and_the_best_weights_come_back() -> None:
    split = replace(communities(), valid=communities().test)
    model = MultiVae(MultiVaeConfig())
    model.fit(split, CATALOGUE, seed=0)
    network = model._network
    assert network is not None
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    epochs: list[int] = []

    def spoil_behind_the_first() -> None:
        epochs.append(len(epochs))
        for parameter in network.parameters() if len(epochs) > 1 else ():
            parameter.data.zero_()

    best = fit_until_best(model, network, spoil_behind_the_first, split, StopConfig(look_every=1, patience=3))
    assert (best, len(epochs)) == (1, 4)
    assert all(value.equal(kept[name]) for name, value in network.state_dict().items())
