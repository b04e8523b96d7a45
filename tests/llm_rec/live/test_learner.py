"""Look, then learn: what turns of likes do to a small recommender."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llm_rec.baselines.popularity import DAY_MS
from llm_rec.live.learner import LiveLearner
from llm_rec.live.likes import likes_in
from streams.contract.errors import InputError
from tests.support.live_recommender import (
    CONFIG,
    START_MS,
    batches,
    fitted,
    learner,
    newcomers,
    probability_of,
    rank_of,
    shown,
)
from tests.support.two_communities import NUM_ITEMS, NUM_USERS

RED, OTHER_RED, BLUE = "u1", "u3", "u0"
NEW = NUM_ITEMS + 1


def test_progressive_figures_of_newcomers_beat_popularity_and_the_frozen_model() -> None:
    learns, frozen = learner(), learner(learning="histories")
    for seed in range(4):
        for batch in batches(newcomers(40, seed=seed)):
            learns.learn(batch)
            frozen.learn(batch)
    found = learns.progressive.recent()
    assert learns.progressive.num_likes == 640
    assert found["log_loss"] < found["base_log_loss"] - 0.2
    assert found["log_loss"] < frozen.progressive.recent()["log_loss"] - 0.2
    assert found["ndcg_at_100"] > frozen.progressive.recent()["ndcg_at_100"]
    assert found["recall_at_20"] == 1.0, "twelve items"


def test_a_turn_is_looked_at_before_it_is_learnt() -> None:
    """The first turn's figures are those of the model as it was fitted, whatever the rate."""
    pairs = newcomers(4)
    slow, fast = learner(rate=1e-6), learner(rate=0.5)
    for each in (slow, fast):
        each.learn(shown(pairs[:16]))
    assert slow.progressive.lifetime() == fast.progressive.lifetime()
    for each in (slow, fast):
        each.learn(shown(pairs[:16], start=16, unit_id=[f"later{n}" for n in range(16)]))
    assert slow.progressive.lifetime() != fast.progressive.lifetime()


def test_an_item_of_which_nothing_is_told_rises_for_the_group_whose_members_like_it() -> None:
    learns = learner()
    learns.learn(shown([(RED, NEW)], liked=[False], candidate={}))
    before = probability_of(learns, OTHER_RED, NEW)
    for turn in range(6):
        fans = [(f"fan{turn}-{n}", item) for n in range(3) for item in (1, 5, 7, NEW)]
        learns.learn(shown(fans, start=20 * turn, candidate={}))
    after = probability_of(learns, OTHER_RED, NEW)
    assert after > 2 * before
    assert after > 2 * probability_of(learns, BLUE, NEW)
    assert rank_of(learns, OTHER_RED, NEW) <= 2, "one of its own is left, too"


def test_a_new_item_has_an_embedding_of_its_text_at_once_liked_or_not() -> None:
    learns = learner()
    learns.learn(shown([(RED, NEW), (RED, NEW + 1)], liked=[False, False]))
    assert len(learns.items) == learns.tables.num_items == NUM_ITEMS + 2
    assert learns.items.items[NUM_ITEMS].text == f"colour: red, number: {NEW}"
    red, blue = learns.tables.item_rows(np.array([NUM_ITEMS, NUM_ITEMS + 1]))[:, :-1]
    assert np.linalg.norm(red) > 0
    fitted_rows = learns.tables.item_rows(np.arange(NUM_ITEMS))[:, :-1]
    towards = fitted_rows[1::2].mean(axis=0) - fitted_rows[0::2].mean(axis=0)
    assert red @ towards > blue @ towards, "the red one leans to the red ones"


def test_a_like_counts_once_and_corrections_to_1_count() -> None:
    learns = learner()
    [liked] = set(range(1, NUM_ITEMS, 2)) - set(fitted().histories[1].tolist())
    late = np.array([True])
    learns.learn(shown([(RED, liked)], liked=[False]))
    assert learns.progressive.num_likes == 0
    learns.learn(shown([(RED, liked)], correction=late, start=5))
    learns.learn(shown([(RED, liked), (RED, liked)], start=7))
    learns.learn(shown([(RED, liked)], liked=[False], correction=late, start=9))
    assert learns.progressive.num_likes == 1
    assert learns.users.history(RED)[-1] == liked
    assert learns.users.likes[1] == len(fitted().histories[1]) + 1


def test_likes_are_of_users_and_ads_by_name() -> None:
    [like] = likes_in(shown([("a", 3), ("b", 5)], liked=[False, True]))
    assert (like.user, like.item, like.ingest_ms) == ("b", "i5", START_MS + 1010)


def test_counts_halve_with_the_half_life_and_biases_follow_their_shares() -> None:
    learns = learner(rate=1e-9, bias_rate=1e-9)
    counts, bias = learns.counts.counts.copy(), learns.tables.item_rows(np.arange(NUM_ITEMS))[:, -1]
    shares = learns.counts.log_shares()
    half_life_ms = round(fitted().half_life_days * DAY_MS)
    times_ms = np.full(1, START_MS + half_life_ms, dtype=np.int64)
    learns.learn(shown([("a", 3)], event_time_ms=times_ms))
    expected = counts / 2
    expected[3] += 1
    assert np.allclose(learns.counts.counts, expected)
    moved = learns.tables.item_rows(np.arange(NUM_ITEMS))[:, -1] - bias
    assert np.allclose(moved, learns.counts.log_shares() - shares, atol=1e-5)
    assert moved.argmax() == 3


def test_a_recipe_that_never_names_users_reads_histories_alone() -> None:
    schedule = replace(fitted().config.schedule, anonymous_share=1.0)
    nameless = LiveLearner(replace(fitted(), config=replace(fitted().config, schedule=schedule)), CONFIG)
    before = nameless.tables.table.clone()
    for batch in batches(newcomers(8)):
        nameless.learn(batch)
    moved = (nameless.tables.table[:NUM_USERS] != before[:NUM_USERS]).any(dim=1)
    assert not moved.any()
    assert nameless.users.history("new0-0").tolist() != []


def test_scores_that_are_too_sure_are_put_right_by_the_temperature() -> None:
    too_sure = LiveLearner(replace(fitted(), temperature=0.1), CONFIG)
    for seed in range(4):
        for batch in batches(newcomers(40, seed=seed)):
            too_sure.learn(batch)
    assert too_sure.temperature.value > 0.1
    still = LiveLearner(replace(fitted(), temperature=0.1), replace(CONFIG, learning="nothing"))
    still.learn(shown(newcomers(4)))
    assert still.temperature.value == pytest.approx(0.1)


def test_only_looking_changes_nothing_but_the_catalogue() -> None:
    looks = learner(learning="nothing")
    before = looks.tables.table.clone(), looks.counts.counts.copy(), looks.users.history(RED).tolist()
    for batch in batches(newcomers(8)):
        looks.learn(batch)
    assert looks.progressive.num_likes > 0
    assert looks.tables.table.equal(before[0])
    assert (looks.counts.counts.tolist(), looks.users.history(RED).tolist()) == (before[1].tolist(), before[2])
    assert len(looks.users) == NUM_USERS


def test_histories_alone_leave_rows_as_they_are() -> None:
    histories = learner(learning="histories")
    [liked] = set(range(1, NUM_ITEMS, 2)) - set(fitted().histories[1].tolist())
    rows = histories.tables.item_rows(np.arange(NUM_ITEMS))
    histories.learn(shown([(RED, liked)]))
    assert histories.users.history(RED)[-1] == liked
    assert np.array_equal(histories.tables.item_rows(np.arange(NUM_ITEMS)), rows)


def test_users_beyond_the_room_evict_the_one_idle_for_longest() -> None:
    learns = learner(most_users=NUM_USERS + 4)
    pairs = [(f"v{n}", n % NUM_ITEMS) for n in range(6)]
    learns.learn(shown(pairs))
    assert len(learns.users) == NUM_USERS + 4
    assert learns.users.place("u0") is None
    assert learns.users.place("u1") is None
    assert learns.users.place("v5") is not None
    gone, forgotten = learns.users.gone_since(0)
    assert len(gone) == 2
    assert not forgotten
    assert len(learns.users.gone_since(1)[0]) == 0


def test_items_beyond_the_room_are_left_out_and_counted() -> None:
    learns = learner(most_items=NUM_ITEMS + 1)
    learns.learn(shown([("a", NEW), ("a", NEW + 1), ("a", NEW + 2)]))
    assert (len(learns.items), learns.items.num_left_out) == (NUM_ITEMS + 1, 2)
    assert learns.progressive.num_likes == 1


def test_a_history_keeps_the_newest_items_of_a_row() -> None:
    learns = learner()
    for start in range(0, 48, 16):
        learns.learn(shown([("a", item) for item in range(start, start + 16)], start=start))
    assert len(learns.users.history("a")) == learns.dim
    assert learns.users.history("a")[-1] == 47
    assert learns.users.likes[learns.users.places["a"]] == 48


@pytest.mark.parametrize(("name", "value"), [
    ("learning", "some"), ("rate", 0.0), ("batch_size", 0), ("most_users", 3), ("most_items", 0), ("window", 0),
])  # fmt: skip
def test_config_that_cannot_be_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        replace(CONFIG, **{name: value})
    assert refused.value.field == name


def test_fewer_places_than_the_model_has_users_are_refused() -> None:
    with pytest.raises(InputError, match="fewer than the users"):
        learner(most_users=NUM_USERS - 1, batch_size=2)
