"""Recipes on a data set whose right answer is known, on identical examples in identical order."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streams.contract.errors import InputError, UnavailableError
from streams.contract.events import Feedback, Impression
from streams.datasets.observed import Observed
from tests.support.toy_examples import START_MS, toy_recipe, toy_schema
from trainer.calibration import CalibrationConfig
from trainer.evaluate import Evaluation, evaluate
from trainer.evaluate_report import markdown, write_report
from trainer.instant_join import labelled_batches
from trainer.paired import BlockSums, compare
from trainer.periods import FIVE_MINUTES_MS, Periods
from trainer.recipes import RecipeConfig, recipe, recipe_names
from trainer.tally import log_losses

ADS, RATES = [1, 2, 3], [0.1, 0.3, 0.6]


def observed(num_impressions: int, *, seed: int = 0) -> Iterator[Observed]:
    """Every impression shows three ads with click rates of their own, which is all there is to learn."""
    rng = np.random.default_rng(seed)
    for number in range(num_impressions):
        clicked = rng.random(3) < RATES
        impression = Impression(
            event_id=f"i{number}", event_time_ms=START_MS + 60_000 * number, session_id=str(number),
            unit_id="u", ad_ids=[str(ad) for ad in ADS], candidates={"ad": list(ADS)},
            true_probabilities=list(RATES), ingest_ms=START_MS,
        )  # fmt: skip
        yield Observed(impression, [
            Feedback(event_id=f"f{number}-{ad}", event_time_ms=impression.event_time_ms + 500,
                     session_id=str(number), impression_id=impression.event_id, ad_id=str(ad))
            for ad, click in zip(ADS, clicked, strict=True) if click
        ])  # fmt: skip


def named(name: str, **changes: object) -> RecipeConfig:
    return toy_recipe(name=name, **changes)


def run(*recipes: RecipeConfig, seeds: tuple[int, ...] = (1, 2), impressions: int = 800) -> Evaluation:
    return evaluate(lambda: observed(impressions), toy_schema(), recipes, seeds=seeds)


def frozen(name: str) -> RecipeConfig:
    base = toy_recipe()
    tables, optimizer = replace(base.tables, learning_rate=0.0), replace(base.optimizer, learning_rate=0.0)
    return named(name, tables=tables, optimizer=optimizer)


def test_labelled_batches_hold_every_candidate_once_in_order_with_its_label() -> None:
    data = list(observed(3000))
    batches = list(labelled_batches(data, kind="click", batch_size=256))
    assert [len(batch) for batch in batches] == [256] * 35 + [40]
    ids = [(b.impression_id[r], ad) for b in batches for r, ad in zip(b.request_index.tolist(), b.ad_id, strict=True)]
    assert ids == [(each.impression.event_id, ad) for each in data for ad in each.impression.ad_ids]
    clicked = {(f.impression_id, f.ad_id) for each in data for f in each.feedback}
    assert [label for b in batches for label in b.label.tolist()] == [float(key in clicked) for key in ids]
    assert {delay for b in batches for delay in b.delay_ms[b.label > 0].tolist()} == {500}


def test_feedback_of_another_kind_or_ad_is_no_label() -> None:
    each = next(iter(observed(1)))
    feedback = [
        Feedback(event_id="a", event_time_ms=START_MS, session_id="0", impression_id="i0", ad_id="1", kind="buy"),
        Feedback(event_id="b", event_time_ms=START_MS, session_id="0", impression_id="i0", ad_id="unknown"),
    ]
    (batch,) = labelled_batches([Observed(each.impression, feedback)], kind="click", batch_size=10)
    assert batch.label.tolist() == [0.0, 0.0, 0.0]


def test_recipe_that_learns_comes_near_the_true_probabilities_and_beats_one_that_does_not() -> None:
    evaluation = run(named("learns", batch_size=16), frozen("frozen"), impressions=2500)
    learns, still = evaluation.recipes
    assert evaluation.bayes_log_loss < learns.mean("log_loss") < 1.05 * evaluation.bayes_log_loss
    assert learns.mean("log_loss") < evaluation.base_rate_log_loss < still.mean("log_loss")
    (paired,) = evaluation.paired
    assert paired.delta_ne == pytest.approx(learns.mean("normalized_entropy") - still.mean("normalized_entropy"))
    assert paired.ci95[0] < paired.delta_ne < paired.ci95[1] < 0


def test_same_recipe_and_seed_give_the_same_scores_and_no_difference() -> None:
    evaluation = run(named("a"), named("b"), seeds=(5,))
    a, b = (result.seeds[0] for result in evaluation.recipes)
    assert a.scores == b.scores
    assert evaluation.paired[0].delta_ne == 0.0
    assert evaluation.paired[0].ci95 == (0.0, 0.0)


def test_recipes_of_different_batch_size_are_scored_on_the_same_examples() -> None:
    evaluation = run(named("small", batch_size=16), named("large", batch_size=500))
    assert {result.seeds[0].scores.examples for result in evaluation.recipes} == {2400}
    assert {result.seeds[0].scores.mean_label for result in evaluation.recipes} == {
        evaluation.recipes[0].mean("mean_label")
    }


def test_seeds_give_a_standard_error_and_one_seed_none() -> None:
    assert run(named("a"), seeds=(1, 2, 3), impressions=50).recipes[0].stderr > 0
    assert math.isnan(run(named("a"), seeds=(1,), impressions=50).recipes[0].stderr)


def test_periods_add_up_to_the_whole_and_stay_few() -> None:
    evaluation = run(named("a"), seeds=(1,), impressions=900)
    result = evaluation.recipes[0]
    rows = result.per_period()
    assert [row["end_ms"] - row["start_ms"] for row in rows] == [4 * FIVE_MINUTES_MS] * len(rows)
    assert sum(row["examples"] for row in rows) == 2700
    weighted = sum(row["examples"] * row["log_loss"] for row in rows) / 2700
    assert weighted == pytest.approx(result.mean("log_loss"))


def test_periods_widen_as_the_log_goes_on() -> None:
    periods, one = Periods(), np.ones(1)
    for hour in range(1000):
        loss = log_losses(np.zeros(1), one)
        periods.add(np.array([hour * 12 * FIVE_MINUTES_MS]), one * (hour % 2), np.zeros(1), one, loss, one)
    made = periods.periods()
    assert len(made) <= 64
    assert sum(period.scores.examples for period in made) == 1000
    assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(made))


def test_block_sums_stay_few_and_keep_their_totals() -> None:
    sums, rng = BlockSums(block=1), np.random.default_rng(0)
    losses = rng.random(30_000)
    for start in range(0, 30_000, 700):
        part = losses[start : start + 700]
        sums.add(part, np.zeros(len(part)), np.ones(len(part)))
    assert sums.sums().shape[1] <= 400
    assert sums.sums()[0].sum() == pytest.approx(losses.sum())
    assert sums.sums()[2].sum() == 30_000


def test_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(1), 0
    base = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    for trial in range(60):
        label = (rng.random(8000) < 0.3).astype(np.float64)
        loss = rng.random(8000)
        a, b = BlockSums(), BlockSums()
        a.add(loss + rng.normal(0.02, 0.3, 8000), label, np.ones(8000))
        b.add(loss, label, np.ones(8000))
        low, high = compare("a", "b", [a], [b], seed=trial).ci95
        covered += low <= 0.02 / base <= high
    assert 48 <= covered <= 60


def test_report_names_every_recipe_the_base_rate_and_the_best_possible(tmp_path: Path) -> None:
    evaluation = run(named("one"), named("two", batch_size=32), impressions=200)
    report = write_report(evaluation, tmp_path / "out", title="toy").read_text()
    for text in ("# toy", "| one |", "| two |", "(base rate)", "(true probabilities)", "one − two"):
        assert text in report
    assert all((tmp_path / "out" / f"{score}.png").stat().st_size > 1000 for score in ("normalized_entropy", "auc"))
    saved = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(saved["recipes"]["one"]) == {
        "auc", "log_loss", "normalized_entropy", "calibration", "examples", "examples_per_second", "per_period",
        "stderr", "calibration_error", "worst_decile", "deciles",
    }  # fmt: skip
    assert saved["settings"] == {} == saved["marks_ms"]
    assert markdown(evaluation, "toy", {}, {}) == report
    assert all(part.count("base rate") for part in report.split("\n\n") if part.startswith("|"))


def test_report_says_what_it_was_made_with_and_what_is_known_of_the_data(tmp_path: Path) -> None:
    evaluation = run(named("one", calibration=CalibrationConfig(refresh_examples=200)), impressions=300, seeds=(1,))
    written = write_report(
        evaluation, tmp_path, title="toy", settings={"arguments": {"limit": 300}},
        marks_ms={START_MS + 60_000 * 100: "weights jump"},
    )  # fmt: skip
    report = written.read_text()
    for text in ('"limit": 300', "weights jump", "one before its map", "calibration_curve.png"):
        assert text in report
    assert (tmp_path / "calibration_curve.png").stat().st_size > 1000


def test_difference_on_examples_of_one_label_is_not_a_number_and_none_in_json() -> None:
    a, b = BlockSums(), BlockSums()
    for sums, loss in ((a, 0.2), (b, 0.3)):
        sums.add(np.full(1000, loss), np.ones(1000), np.ones(1000))
    paired = compare("a", "b", [a], [b])
    assert math.isnan(paired.delta_ne)
    assert all(math.isnan(end) for end in paired.ci95)
    found = Evaluation(recipes=[], paired=[paired], base_rate_log_loss=0.0, bayes_log_loss=math.nan).as_dict()
    assert found["paired"] == [{"a": "a", "b": "b", "delta_ne": None, "ci95": [None, None]}]


def test_seeds_that_differ_widen_the_interval() -> None:
    rng, label = np.random.default_rng(0), np.tile([0.0, 1.0], 5000)
    loss = rng.random(10_000)
    near: list[BlockSums] = []
    far: list[BlockSums] = []
    base: list[BlockSums] = []
    for shift in (-0.3, 0.0, 0.3):
        for sums, change in ((near, 0.0), (far, shift), (base, None)):
            sums.append(BlockSums())
            sums[-1].add(loss if change is None else loss + 0.5 + change, label, np.ones(10_000))
    narrow, wide = compare("a", "b", near, base), compare("a", "b", far, base)
    assert narrow.delta_ne == pytest.approx(wide.delta_ne)
    assert wide.ci95[1] - wide.ci95[0] > 10 * (narrow.ci95[1] - narrow.ci95[0]) + 0.1


def test_report_into_a_file_raises_unavailable_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UnavailableError, match="report"):
        write_report(run(named("a"), impressions=20), tmp_path / "out", title="toy")


def test_data_without_examples_raises_input_error() -> None:
    with pytest.raises(InputError, match="no examples"):
        run(named("a"), impressions=0)


def test_recipe_named_twice_raises_input_error() -> None:
    with pytest.raises(InputError, match="each once"):
        run(named("a"), named("a"))


@pytest.mark.parametrize("wrong", [{"seeds": (-1,)}, {"seeds": (2**32,)}, {"threads": 0}, {"threads": 10**9}])
def test_seeds_and_threads_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be") as caught:
        evaluate(lambda: observed(20), toy_schema(), [named("a")], **wrong)
    assert caught.value.field in wrong


def test_unknown_recipe_raises_input_error_listing_the_names() -> None:
    with pytest.raises(InputError, match="defualt") as caught:
        recipe("defualt")
    assert all(name in (caught.value.remedy or "") for name in recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains_on_the_toy_schema(name: str) -> None:
    result = evaluate(lambda: observed(100), toy_schema(), [recipe(name)]).recipes[0]
    assert result.name == name
    assert result.seeds[0].scores.examples == 300
