"""The join's rules, one by one."""

from __future__ import annotations

import pytest

from streams.contract.encoding import encode_event_json
from streams.contract.events import Event
from streams.join.config import JoinConfig
from streams.join.dead_letters import (
    BEYOND_HORIZON,
    HELD_OVERFLOW,
    TOO_LARGE,
    UNDECODABLE,
    UNKNOWN_AD,
    UNKNOWN_IMPRESSION,
    UNKNOWN_KIND,
)
from tests.support.joining import SHORT, MemoryJoin, click, impression, join_events, records_of, tick


def test_candidates_without_feedback_wait_for_the_window_and_get_label_0() -> None:
    join = join_events([impression("i", 0), impression("j", 9)])
    assert join.brief == []
    join.step(records_of([*[b""] * 2, impression("k", 10)])[2:])
    assert join.brief == ["i/a=0", "i/b=0"]


def test_feedback_within_the_window_is_emitted_at_once_and_the_rest_at_its_end() -> None:
    join = join_events([impression("i", 0), click("i", "b", 4), tick("t"), tick("u", 10)])
    assert join.brief == ["i/b=1", "|", "i/a=0", "|"]
    assert join.output[0]["delay_ms"] == "4"
    assert join.output[0]["decided_ingest_ms"] == "1004"
    assert [item["decided_time_ms"] for item in join.output if "key" in item] == ["4", "10"]
    assert join.stats.positives == 1


def test_positives_that_wait_for_the_window_come_in_the_order_of_candidates() -> None:
    config = JoinConfig(windows_ms={"click": 10}, correction_horizon_ms=30, emit_positives_at_once=False)
    join = join_events([impression("i", 0), click("i", "b", 4), click("i", "a", 12)], config)
    assert join.brief == ["i/a=0", "i/b=1", "i/a=1!"]
    assert join.output[1]["decided_ingest_ms"] == "1012"


def test_late_feedback_is_a_correction_with_its_delay() -> None:
    join = join_events([impression("i", 0), click("i", "a", 25)])
    assert join.brief == ["i/a=0", "i/b=0", "i/a=1!"]
    assert join.output[2]["delay_ms"] == "25"
    assert join.stats.corrections == 1


def test_late_feedback_in_a_later_step_is_found_on_disk() -> None:
    events = records_of([impression("i", 0), tick("t", 20), click("i", "a", 25), click("i", "a", 26)])
    join = MemoryJoin()
    for record in events:
        join.step([record])
    assert join.brief == ["i/a=0", "i/b=0", "|", "i/a=1!"]
    assert join.stats.repeated == 1


def test_feedback_beyond_the_horizon_is_a_dead_letter() -> None:
    join = join_events([impression("i", 0), tick("t", 20), click("i", "a", 40)])
    assert join.brief == ["i/a=0", "i/b=0", "|"]
    assert [letter.reason for letter in join.letters] == []
    # The ids are remembered as long as the impression: beyond, it is as unknown as one that never came.
    assert join.stats.held == 0
    assert join.state.num_held == 1


def test_feedback_beyond_the_horizon_is_told_from_unknown_while_ids_are_remembered() -> None:
    config = JoinConfig(windows_ms={"click": 10}, correction_horizon_ms=30, dedup_horizon_ms=100)
    join = join_events([impression("i", 0), click("i", "a", 40)], config)
    assert [letter.reason for letter in join.letters] == [BEYOND_HORIZON]
    assert join.letters[0].offset == 1


def test_feedback_before_its_impression_waits_for_it() -> None:
    join = join_events([click("i", "a", 3), click("i", "b", 2), impression("i", 1)])
    assert join.brief == ["i/a=1", "i/b=1"]
    assert join.state.num_held == 0


def test_feedback_before_an_impression_that_comes_after_its_window_counts_by_its_own_time() -> None:
    join = join_events([click("i", "a", 3), click("i", "b", 12), impression("i", 1)])
    assert join.brief == ["i/a=1", "i/b=0", "i/b=1!"]


def test_feedback_that_waits_in_vain_is_a_dead_letter_with_its_bytes() -> None:
    lost = click("never", "a", 5)
    join = MemoryJoin()
    *before, last = records_of([lost, tick("t", 34), tick("u", 35)])
    join.step(before)
    assert join.letters == []
    join.step([last])
    assert [letter.reason for letter in join.letters] == [UNKNOWN_IMPRESSION]
    assert join.letters[0].value == records_of([lost])[0].value
    assert join.letters[0].offset == 0


def test_more_held_feedback_than_allowed_gives_up_the_oldest() -> None:
    config = JoinConfig(windows_ms={"click": 10}, correction_horizon_ms=30, max_held=1)
    join = join_events([click("i", "a", 0), click("j", "a", 0), impression("j", 0)], config)
    assert [letter.reason for letter in join.letters] == [HELD_OVERFLOW]
    assert join.brief == ["j/a=1"]


def test_feedback_of_unknown_kind_or_ad_is_a_dead_letter() -> None:
    join = join_events([impression("i", 0), click("i", "z", 1), click("i", "a", 2, kind="like")])
    assert [letter.reason for letter in join.letters] == [UNKNOWN_AD, UNKNOWN_KIND]


def test_duplicate_events_are_dropped_and_counted() -> None:
    twice: list[Event] = [impression("i", 0), click("i", "a", 1), tick("t")]
    join = join_events([event for event in twice for _ in range(2)])
    assert join.brief == ["i/a=1", "|"]
    assert join.stats.duplicates == 3


def test_duplicate_in_a_later_step_after_a_restart_is_dropped() -> None:
    records = records_of([impression("i", 0), impression("i", 0), tick("t", final=True)])
    join = MemoryJoin()
    join.step(records[:1])
    join.restart()
    join.step(records[1:])
    assert join.brief == ["i/a=0", "i/b=0", "||"]


def test_impression_and_feedback_of_one_id_are_two_events() -> None:
    join = join_events([impression("1", 0), click("1", "a", 1, event_id="1")])
    assert join.brief == ["1/a=1"]


def test_repeated_feedback_on_one_candidate_counts_once() -> None:
    join = join_events([impression("i", 0), click("i", "a", 1), click("i", "a", 2), click("i", "a", 12)])
    assert join.brief == ["i/a=1", "i/b=0"]
    assert join.stats.repeated == 2


def test_each_kind_has_its_own_window_and_examples() -> None:
    config = JoinConfig(windows_ms={"click": 10, "conversion": 20}, correction_horizon_ms=30)
    events: list[Event] = [impression("i", 0, "a"), click("i", "a", 15, kind="conversion", value=9.5), tick("t", 20)]
    join = join_events(events, config)
    assert join.brief == ["i/a=0", "i/a:conversion=1", "|"]
    assert join.output[1]["value"] == "9.5"


def test_windows_close_by_deadline_then_arrival() -> None:
    join = join_events(
        [impression("late", 5, "a"), impression("early", 3, "a"), impression("next", 5, "a"), tick("t", 15)]
    )
    assert join.brief == ["early/a=0", "late/a=0", "next/a=0", "|"]


def test_impression_that_comes_after_its_window_is_decided_at_once_and_can_be_corrected() -> None:
    join = join_events([tick("t", 15), impression("i", 2), click("i", "a", 16)])
    assert join.brief == ["|", "i/a=0", "i/b=0", "i/a=1!"]


def test_impression_older_than_the_horizon_is_still_emitted_once() -> None:
    join = join_events([tick("t", 100), impression("i", 2), impression("i", 2)])
    assert join.brief == ["|", "i/a=0", "i/b=0"]
    assert join.stats.duplicates == 1


def test_final_tick_closes_every_window_before_its_mark() -> None:
    join = join_events([impression("i", 0), click("other", "a", 0), tick("t", final=True)])
    assert join.brief == ["i/a=0", "i/b=0", "||"]
    assert [letter.reason for letter in join.letters] == [UNKNOWN_IMPRESSION]


def test_events_after_a_final_tick_are_joined_as_before() -> None:
    before: list[Event] = [impression("i", 0, "a"), tick("t", 2**62, final=True)]
    after: list[Event] = [impression("j", 5, "ab"), click("j", "a", 6), click("i", "a", 7), tick("u", final=True)]
    assert join_events(before + after).brief == ["i/a=0", "||", "j/a=1", "i/a=1!", "j/b=0", "||"]


def test_closed_windows_stay_closed_when_restarted_after_a_final_tick() -> None:
    records = records_of([impression("i", 0, "a"), tick("t", final=True), tick("u", final=True)])
    join = MemoryJoin()
    for record in records:
        join.step([record])
        join.restart()
    assert join.brief == ["i/a=0", "||", "||"]


def test_json_events_are_joined_like_binary_ones() -> None:
    events: list[Event] = [impression("i", 0), click("i", "b", 4), tick("t", final=True)]
    join = join_events([encode_event_json(event) for event in events])
    assert join.output == join_events(events).output


def test_json_impression_survives_a_restart() -> None:
    records = records_of([encode_event_json(impression("i", 0)), tick("t", final=True)])
    join = MemoryJoin()
    join.step(records[:1])
    join.restart()
    join.step(records[1:])
    assert join.brief == ["i/a=0", "i/b=0", "||"]


@pytest.mark.parametrize("poison", [b"", b"nonsense", b"\xf5I\x02", b'{"type": "impression"}', b"\xf5E\x02\x80"])
def test_undecodable_record_is_a_dead_letter_and_the_join_goes_on(poison: bytes) -> None:
    join = join_events([impression("i", 0), poison, tick("t", final=True)])
    assert join.brief == ["i/a=0", "i/b=0", "||"]
    assert [(letter.reason, letter.offset, letter.value) for letter in join.letters] == [(UNDECODABLE, 1, poison)]
    assert (join.letters[0].topic, join.letters[0].partition) == ("events", 0)


def test_impression_whose_example_fits_no_record_is_a_dead_letter() -> None:
    history = [1] * 400_000
    join = join_events([impression("i", 0, user={"history": history}), impression("j", 1, "a"), tick("t", final=True)])
    assert [letter.reason for letter in join.letters] == [TOO_LARGE]
    assert join.brief == ["j/a=0", "||"]


def test_what_was_known_of_the_ranking_and_the_features_is_carried() -> None:
    shown = impression("i", 0, "a", user={"age": 3}, context={"hour": 4}, candidates={"bid": [0.5]}, arm="x", version=7,
                       generation=2, positions=[4], probabilities=[0.25], propensities=[0.5],
                       true_probabilities=[0.125])  # fmt: skip
    example = join_events([shown, tick("t", final=True)]).output[0]
    assert {name: example[name] for name in ("request.age", "request.hour", "candidate.bid", "arm", "version")} == {
        "request.age": "3", "request.hour": "4", "candidate.bid": "0.5", "arm": "'x'", "version": "7"}  # fmt: skip
    assert (example["generation"], example["position"], example["predicted"]) == ("2", "4", "0.25")
    assert (example["propensity"], example["true_probability"], example["unit_id"]) == ("0.5", "0.125", "'u'")


def test_what_was_not_known_of_the_ranking_is_nan_or_minus_1() -> None:
    example = join_events([impression("i", 0, "a"), tick("t", final=True)]).output[0]
    assert (example["position"], example["predicted"], example["delay_ms"]) == ("-1", "nan", "-1")


def test_feedback_without_delay_of_an_earlier_clock_has_delay_0() -> None:
    join = join_events([impression("i", 5), click("i", "a", 3), click("i", "b", 6, delay_ms=77)])
    assert [example["delay_ms"] for example in join.output] == ["0", "77"]


def test_impressions_beyond_the_cache_are_read_from_disk() -> None:
    config = JoinConfig(windows_ms={"click": 10}, correction_horizon_ms=30, cached_bytes=0)
    events: list[Event] = [
        impression("i", 0),
        click("i", "a", 1),
        impression("j", 2),
        click("j", "b", 3),
        tick("t", 30),
    ]
    small, large = MemoryJoin(config), MemoryJoin(SHORT)
    for record in records_of(events):
        small.step([record])
        large.step([record])
    assert small.output == large.output
    assert small.brief == ["i/a=1", "j/b=1", "i/b=0", "j/a=0", "|"]
