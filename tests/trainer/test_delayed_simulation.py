"""Labels that come late: the rules are the join's, and no example is scored with its own label seen."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from streams.contract.errors import InputError
from streams.contract.events import Event, Feedback, Impression
from streams.contract.examples import ExampleBatch
from streams.datasets.observed import Observed
from streams.join.config import JoinConfig
from tests.support.joining import join_events, tick
from tests.support.toy_examples import START_MS, toy_recipe, toy_schema
from trainer.delayed.config import DelayedConfig, LabelsWanted, MethodName
from trainer.delayed.methods import method_names
from trainer.delayed.simulation import DelayedLabels, Simulation
from trainer.delayed.timeline import Heard, timeline
from trainer.evaluate import evaluate
from trainer.evaluate_run import labels_asked_for
from trainer.learner import Learner, Scored
from trainer.model.tables import TablesConfig
from trainer.recipes import RecipeConfig, recipe

STEP_MS, WINDOW_SECONDS = 1000, 20.0
WANTED: list[LabelsWanted] = ["window", "at-once", "final"]


def observed(number: int, *, seed: int = 0, ads: int = 40) -> list[Observed]:
    """An impression of three ads a second; a third of them clicked, after a second to minutes, some twice."""
    rng = np.random.default_rng(seed)
    return [_observed(rng, n, rng.choice(ads, 3, replace=False).tolist()) for n in range(number)]


def _observed(rng: np.random.Generator, number: int, ads: list[int]) -> Observed:
    shown = Impression(
        event_id=f"i{number}", event_time_ms=START_MS + STEP_MS * number, session_id=str(number), unit_id="u",
        ad_ids=[str(ad) for ad in ads], candidates={"ad": list(ads)}, user={"user": number % 7},
    )  # fmt: skip
    feedback = []
    for ad in shown.ad_ids:
        if rng.random() < 0.3:
            delay_ms = int(rng.choice([1_000, 19_999, 20_000, 90_000]))
            feedback += [_click(shown, ad, delay_ms + more) for more in (0, 5_000)[: 1 + (rng.random() < 0.3)]]
    return Observed(shown, feedback)


def _click(shown: Impression, ad: str, delay_ms: int) -> Feedback:
    return Feedback(
        event_id=f"{shown.event_id}-{ad}-{delay_ms}", event_time_ms=shown.event_time_ms + delay_ms,
        session_id=shown.session_id, impression_id=shown.event_id, ad_id=ad,
    )  # fmt: skip


def heard(data: list[Observed], labels: LabelsWanted, window_ms: int = 20_000) -> list[str]:
    """What is heard by the end: `i1/3=1`, `i1/3=1!` for a correction."""
    return [
        f"{event.emission.impression.event_id}/{event.emission.impression.ad_ids[row]}="
        f"{int(row in event.emission.given)}{'!' * event.emission.correction}"
        for event in timeline(data, kind="click", labels=labels, window_ms=window_ms)
        if isinstance(event, Heard)
        for row in event.emission.rows
    ]


@pytest.mark.parametrize(("labels", "window_ms"), [("window", 20_000), ("window", 1_000), ("at-once", 1)])
def test_what_is_heard_is_what_the_join_emits_from_the_same_events(labels: LabelsWanted, window_ms: int) -> None:
    data = observed(120)
    end_ms = data[-1].impression.event_time_ms
    events: list[Event] = [each.impression for each in data]
    events += [click for each in data for click in each.feedback if click.event_time_ms <= end_ms]
    events.sort(key=lambda event: (event.event_time_ms or 0, isinstance(event, Impression)))
    config = JoinConfig(windows_ms={"click": window_ms}, emit_positives_at_once=False)
    joined = [item for item in join_events([*events, tick("t", end_ms)], config).brief if item != "|"]
    # Until its window's end the join knows nothing of the last impression; at once, it is emitted with the next event.
    known = [item for item in heard(data, labels, window_ms) if not item.startswith("i119/")]
    assert sorted(known) == sorted(item for item in joined if not item.startswith("i119/"))


def test_final_labels_are_those_the_log_ends_with_and_have_no_corrections() -> None:
    data = observed(50)
    clicked = {f"{f.impression_id}/{f.ad_id}" for each in data for f in each.feedback}
    items = heard(data, "final")
    assert len(items) == 3 * 49
    assert {item.split("=")[0] for item in items if item.endswith("=1")} == {
        key for key in clicked if not key.startswith("i49/")
    }


def test_second_click_and_click_at_the_windows_end_make_one_correction_behind_the_emission() -> None:
    shown = observed(1)[0].impression
    ad = shown.ad_ids[0]
    data = [Observed(shown, [_click(shown, ad, 20_000), _click(shown, ad, 25_000)]), *observed(60)[40:]]
    items = [item for item in heard(data, "window") if item.startswith("i0/")]
    assert items == [*(f"i0/{each}=0" for each in shown.ad_ids), f"i0/{ad}=1!"]


def run(
    data: list[Observed], method: MethodName = "plain", labels: LabelsWanted = "window", **changes: object
) -> list[tuple[ExampleBatch, Scored]]:
    return list(predictions(data, toy_recipe(delayed=DelayedConfig(method=method, labels=labels), **changes)))


def predictions(data: list[Observed], config: RecipeConfig) -> Iterator[tuple[ExampleBatch, Scored]]:
    learner = Learner(toy_schema(), config)
    for examples, scored, _ in Simulation(learner, DelayedLabels(window_seconds=WINDOW_SECONDS)).run(data):
        yield examples, scored


def logits(steps: list[tuple[ExampleBatch, Scored]]) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate([scored.logit for _, scored in steps])


@pytest.mark.parametrize("labels", WANTED)
def test_every_example_is_scored_once_in_order_against_its_final_label(labels: LabelsWanted) -> None:
    data = observed(300)
    steps = run(data, labels=labels)
    keys = [(b.impression_id[r], ad) for b, _ in steps for r, ad in zip(b.request_index.tolist(), b.ad_id, strict=True)]
    assert keys == [(each.impression.event_id, ad) for each in data for ad in each.impression.ad_ids]
    clicked = {(f.impression_id, f.ad_id) for each in data for f in each.feedback}
    assert [label for batch, _ in steps for label in batch.label.tolist()] == [float(key in clicked) for key in keys]
    assert all(np.isfinite(scored.loss).all() for _, scored in steps)


@pytest.mark.parametrize("method", method_names())
@pytest.mark.parametrize("labels", WANTED)
def test_prediction_does_not_depend_on_any_label_heard_at_its_time_or_later(
    labels: LabelsWanted, method: MethodName
) -> None:
    data, turn = observed(110), 80
    other = [_relabelled(each) if number >= turn else each for number, each in enumerate(data)]
    turn_ms = data[turn].impression.event_time_ms
    other = [_poisoned(each, turn_ms, labels) for each in other]
    before, after = logits(run(data, method, labels)), logits(run(other, method, labels))
    assert np.array_equal(before[: 3 * (turn + 1)], after[: 3 * (turn + 1)])
    assert not np.array_equal(before, after)


def _relabelled(each: Observed) -> Observed:
    """Clicked where it was not, and the other way round."""
    clicked = {click.ad_id for click in each.feedback}
    return Observed(each.impression, [_click(each.impression, ad, 1) for ad in each.impression.ad_ids
                                      if ad not in clicked])  # fmt: skip


def _poisoned(each: Observed, turn_ms: int, labels: LabelsWanted) -> Observed:
    """Without the clicks that come later than the turn; final labels are known before, so they stay."""
    if labels == "final":
        return each
    heard_by = [click for click in each.feedback if click.event_time_ms <= turn_ms]
    return Observed(each.impression, heard_by if each.impression.event_time_ms < turn_ms else each.feedback)


@pytest.mark.parametrize("method", ["plain", "defer", "bi-defuse"])
def test_same_recipe_twice_predicts_the_same_to_the_last_bit(method: MethodName) -> None:
    assert np.array_equal(logits(run(observed(150), method)), logits(run(observed(150), method)))


@pytest.mark.parametrize("method", method_names())
def test_correction_for_ids_that_were_evicted_is_learnt_on_what_they_have_now(method: MethodName) -> None:
    tables = TablesConfig(capacity=5, learning_rate=0.02)
    steps = run(observed(120, ads=400), method, "at-once", tables=tables)
    assert np.isfinite(logits(steps)).all()


def test_oracle_scores_as_evaluation_with_instant_labels_does() -> None:
    """All but equal: here an id gets its row after it was predicted, as in a scorer, and there just before."""
    data = observed(400)
    config = toy_recipe(batch_size=60)
    instant = evaluate(lambda: data, toy_schema(), [config]).recipes[0]
    delayed = evaluate(
        lambda: data, toy_schema(), [replace(config, delayed=DelayedConfig(labels="final"))],
        labels=DelayedLabels(window_seconds=WINDOW_SECONDS),
    ).recipes[0]  # fmt: skip
    assert delayed.mean("log_loss") == pytest.approx(instant.mean("log_loss"), rel=2e-3)
    assert delayed.mean("auc") == pytest.approx(instant.mean("auc"), abs=5e-3)


def test_recipes_with_other_labels_are_scored_on_the_same_examples() -> None:
    recipes = [replace(toy_recipe(), name=name, delayed=recipe(name).delayed) for name in ("at-once", "oracle", "fnw")]
    data = observed(200)
    evaluation = evaluate(lambda: data, toy_schema(), recipes, labels=DelayedLabels(window_seconds=5))
    assert {result.seeds[0].scores.examples for result in evaluation.recipes} == {600}
    assert len({result.mean("mean_label") for result in evaluation.recipes}) == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_window_that_is_none_raises_input_error(seconds: float) -> None:
    with pytest.raises(InputError, match="duration"):
        DelayedLabels(window_seconds=seconds)


def test_window_without_delayed_labels_raises_input_error_with_the_remedy() -> None:
    assert labels_asked_for(Namespace(labels="instant", window_seconds=None)) is None
    assert labels_asked_for(Namespace(labels="delayed", window_seconds=5.0)) == DelayedLabels(window_seconds=5.0)
    with pytest.raises(InputError, match="delayed labels") as caught:
        labels_asked_for(Namespace(labels="instant", window_seconds=5.0))
    assert "--labels delayed" in (caught.value.remedy or "")
