"""Whatever comes, however it is cut and wherever it breaks off: the same output, everything once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract.encoding import decode_event, encode_event, encode_event_json
from streams.contract.events import Event, Impression
from streams.join.config import JoinConfig
from streams.join.output import DiscardedOutput, JoinOutput
from streams.log.event_log import Record
from tests.support.joining import MemoryJoin, click, impression, records_of, tick

_CONFIGS = st.builds(
    JoinConfig,
    windows_ms=st.sampled_from([{"click": 10}, {"click": 10, "conversion": 25}, {"click": 3, "view": 3}]),
    emit_positives_at_once=st.booleans(),
    correction_horizon_ms=st.sampled_from([0, 5, 30]),
    dedup_horizon_ms=st.sampled_from([55, 1000]),
    max_held=st.sampled_from([1, 1000]),
    cached_bytes=st.sampled_from([0, 200, 1 << 20]),
)


@st.composite
def _events(draw: st.DrawFn) -> list[bytes]:
    """Impressions, feedback, ticks and poison around a clock that mostly goes forward; few ids, so that they meet."""
    events: list[bytes] = []
    clock_ms = 0
    for number in range(draw(st.integers(0, 40))):
        clock_ms += draw(st.sampled_from([0, 1, 1, 2, 3, 8, 30]))
        time_ms = clock_ms - draw(st.sampled_from([0, 0, 0, 4, 20]))
        name = f"i{draw(st.integers(0, 5))}"
        ads = draw(st.sampled_from(["a", "ab", "abc"]))
        kind = draw(st.sampled_from(["click", "click", "conversion", "view"]))
        choices: list[Event] = [
            impression(name, time_ms, ads, user={"n": number}, candidates={"x": list(ads)}),
            click(name, draw(st.sampled_from("abz")), time_ms, kind=kind),
            click(name, "a", time_ms, event_id=f"f{draw(st.integers(0, 3))}"),
            tick(f"t{number}", draw(st.sampled_from([None, time_ms]))),
            tick(f"t{number}", final=draw(st.integers(0, 9)) == 0),
        ]
        event = draw(st.sampled_from(choices))
        encode = encode_event_json if draw(st.booleans()) else encode_event
        events.append(draw(st.sampled_from([encode(event)] * 12 + [b"poison"])))
    return [*events, encode_event(tick("end", final=True))]


def _cut(records: Sequence[Record], cuts: Sequence[int]) -> list[Sequence[Record]]:
    parts, start = [], 0
    for cut in cuts:
        if start >= len(records):
            break
        parts.append(records[start : start + cut])
        start += cut
    return [*parts, records[start:]]


def _letters(join: MemoryJoin) -> list[tuple[str, int, bytes]]:
    return [(letter.reason, letter.offset, letter.value) for letter in join.letters]


@settings(max_examples=150, deadline=None)
@given(_CONFIGS, _events(), st.lists(st.integers(1, 7), max_size=40), st.integers(1, 2000))
def test_output_does_not_depend_on_how_the_records_are_cut_into_steps(
    config: JoinConfig, events: list[bytes], cuts: list[int], record_bytes: int
) -> None:
    records = records_of(events)
    whole, cut = MemoryJoin(config), MemoryJoin(config, record_bytes=record_bytes)
    whole.step(records)
    for part in _cut(records, cuts):
        cut.step(part)
    assert cut.output == whole.output
    assert _letters(cut) == _letters(whole)


@settings(max_examples=150, deadline=None)
@given(_CONFIGS, _events(), st.lists(st.tuples(st.integers(1, 7), st.sampled_from("-bad")), max_size=40))
def test_output_does_not_depend_on_crashes_and_restarts(
    config: JoinConfig, events: list[bytes], steps: list[tuple[int, str]]
) -> None:
    """b: killed before the log's commit; a: after it, before the state's; d: the state's file is lost as well."""
    records = records_of(events)
    whole, broken = MemoryJoin(config), MemoryJoin(config)
    whole.step(records)
    parts = _cut(records, [size for size, _ in steps])
    for part, (_, crash) in zip(parts, [*steps, (0, "-")], strict=False):
        if crash == "b":
            broken.apply(part, DiscardedOutput())
            broken.restart()
        if crash in "-b":
            broken.step(part)
            continue
        broken.apply(part, JoinOutput())
        if crash == "a":
            broken.restart()
            broken.apply(part, DiscardedOutput())
        elif part:
            fresh = MemoryJoin(config)
            fresh.apply(records[: part[-1].offset + 1], DiscardedOutput())
            fresh.records, fresh.letters = broken.records, broken.letters
            broken = fresh
        broken.commit(part)
    assert broken.output == whole.output
    assert _letters(broken) == _letters(whole)


@settings(max_examples=150, deadline=None)
@given(_CONFIGS, _events())
def test_every_impression_candidate_and_kind_is_emitted_once_and_corrected_at_most_once(
    config: JoinConfig, events: list[bytes]
) -> None:
    config = replace(config, dedup_horizon_ms=1_000_000)
    join = MemoryJoin(config)
    join.step(records_of(events))
    decided = Counter(item["key"] for item in join.output if "mark" not in item and item["correction"] == "False")
    corrected = Counter(item["key"] for item in join.output if "mark" not in item and item["correction"] == "True")
    assert decided == Counter(_due(events, config))
    assert set(corrected.values()) <= {1}
    assert corrected.keys() <= decided.keys()
    assert join.state.num_open_windows == 0


@settings(max_examples=150, deadline=None)
@given(_CONFIGS, _events())
def test_every_feedback_is_emitted_repeated_or_buried(config: JoinConfig, events: list[bytes]) -> None:
    join = MemoryJoin(config)
    join.step(records_of(events))
    stats = join.stats
    buried = sum(count for reason, count in stats.dead_letters.items() if reason != "undecodable")
    assert stats.feedback == stats.positives + stats.corrections + stats.repeated + buried
    assert join.state.num_held == 0


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60), st.integers(0, 2), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4)
)
def test_no_bytes_stop_the_join(noise: bytes, form: int, flips: list[tuple[int, int]]) -> None:
    shown = impression("i", 0, "ab", user={"n": [1, 2]}, positions=[0, 1], probabilities=[0.5, 0.25])
    good = (encode_event(shown), encode_event_json(shown), noise)[form]
    damaged = bytearray(good)
    for at, value in flips:
        if damaged:
            damaged[at % len(damaged)] = value
    join = MemoryJoin()
    join.step(records_of([bytes(damaged), tick("t", final=True)]))
    assert join.brief[-1] == "||"
    assert len(join.letters) + join.stats.impressions + join.stats.feedback + join.stats.ticks == 2


def _due(events: list[bytes], config: JoinConfig) -> Iterator[tuple[str, str, str]]:
    """(impression, ad, kind) of the first impression of every id."""
    seen = set()
    for data in events:
        event = None if data == b"poison" else decode_event(data)
        if isinstance(event, Impression) and event.event_id not in seen:
            seen.add(event.event_id)
            yield from ((event.event_id, ad, kind) for ad in event.ad_ids for kind in config.kinds)
