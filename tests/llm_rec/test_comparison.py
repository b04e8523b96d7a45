"""Means, intervals and the table."""

from __future__ import annotations

import numpy as np
import pytest

from llm_rec.comparison import compare, render
from llm_rec.ranking_metrics import METRICS, UserMetrics
from streams.contract.errors import InputError


def outcome(values: list[float]) -> UserMetrics:
    return UserMetrics(np.arange(len(values)), {metric: np.array(values) for metric in METRICS})


def drawn(mean: float, num_users: int, seed: int) -> UserMetrics:
    return outcome(np.clip(np.random.default_rng(seed).normal(mean, 0.1, num_users), 0, 1).tolist())


def test_mean_is_over_users_and_seeds() -> None:
    found = compare({"base": [outcome([0, 1])], "other": [outcome([1, 1]), outcome([0, 1])]}, base="base")
    assert found.results["base"]["recall_at_20"] == 0.5
    assert found.results["other"]["recall_at_20"] == 0.75
    assert found.results["other"]["seeds"] == 2
    assert found.paired["other"]["recall_at_20"]["delta"] == 0.25


def test_standard_error_is_that_of_a_mean() -> None:
    found = compare({"base": [drawn(0.5, 400, seed=1)]}, base="base")
    assert found.results["base"]["ndcg_at_100_stderr"] == pytest.approx(0.1 / 20, rel=0.15)
    low, high = found.results["base"]["ndcg_at_100_ci95"]
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)


def test_same_users_are_drawn_for_both_so_a_constant_gain_has_no_interval() -> None:
    base = drawn(0.5, 100, seed=1)
    better = outcome((base.values["recall_at_20"] + 0.01).tolist())
    found = compare({"base": [base], "better": [better]}, base="base").paired["better"]["recall_at_20"]
    assert found["ci95"] == pytest.approx([0.01, 0.01])


def test_seeds_that_differ_widen_the_interval() -> None:
    base = outcome([0.5] * 50)
    steady, shaky = [outcome([0.6] * 50)] * 2, [outcome([0.5] * 50), outcome([0.7] * 50)]
    found = compare({"base": [base], "steady": steady, "shaky": shaky}, base="base").paired
    assert found["steady"]["recall_at_20"]["ci95"] == pytest.approx([0.1, 0.1])
    assert found["shaky"]["recall_at_20"]["ci95"] == pytest.approx([0.0, 0.2])


def test_seeds_of_the_same_fits_are_drawn_together_so_a_constant_gain_has_no_interval() -> None:
    base, better = ([outcome([mean] * 50) for mean in means] for means in ((0.5, 0.7), (0.6, 0.8)))
    apart, together = (compare({"base": base, "better": better}, base="base", same_fits=same) for same in (False, True))
    assert together.paired["better"]["recall_at_20"]["ci95"] == pytest.approx([0.1, 0.1])
    assert apart.paired["better"]["recall_at_20"]["ci95"] == pytest.approx([-0.1, 0.3])
    assert together.results["better"]["recall_at_20_ci95"] == pytest.approx([0.6, 0.8])


def test_other_metrics_are_compared_alone_and_shown() -> None:
    values = {name: [UserMetrics(np.arange(2), {"auc": np.array(of)})] for name, of in
              {"base": [0.5, 0.7], "other": [0.6, 0.8]}.items()}  # fmt: skip
    found = compare(values, base="base", metrics=("auc",))
    assert set(found.paired["other"]) == {"auc"}
    assert "auc - base" in render(found)
    assert "+0.1000" in render(found)


def test_same_call_gives_the_same_intervals() -> None:
    outcomes = {"base": [drawn(0.5, 30, seed=1)], "other": [drawn(0.5, 30, seed=2)]}
    assert compare(outcomes, base="base") == compare(outcomes, base="base")


def test_differences_to_several_bases_are_those_of_one_base_at_a_time() -> None:
    outcomes = {name: [drawn(0.5, 30, seed=3 * number + fit) for fit in range(number + 1)] for number, name in
                enumerate(("popularity", "ours", "other"))}  # fmt: skip
    found = compare(outcomes, base="popularity", further_bases=["ours"])
    assert found.paired_with == {base: compare(outcomes, base=base).paired for base in ("popularity", "ours")}
    assert found.paired == found.paired_with["popularity"]
    assert found.results == compare(outcomes, base="ours").results
    assert render(found) == render(compare(outcomes, base="popularity"))


def test_nobody_asked_is_refused() -> None:
    with pytest.raises(InputError, match="no user has test likes"):
        compare({"base": [outcome([])]}, base="base")


def test_table_marks_the_base_and_tells_the_gain_of_the_rest() -> None:
    found = compare({"popularity": [outcome([0, 1])], "other": [outcome([1, 1])]}, base="popularity")
    base, other = render(found).splitlines()[1:]
    assert base.split()[0] == "popularity"
    assert base.endswith("base")
    assert "+0.5000 [" in other
