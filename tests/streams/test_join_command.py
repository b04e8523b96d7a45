"""`freshet join` as it is run: windows for each kind of feedback, horizons, groups, and its metrics page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.cli import main
from streams.contract.encoding import encode_event
from streams.contract.events import Event
from streams.join.dead_letters import decode_dead_letter
from streams.log.event_log import DEAD_LETTERS, EVENTS, EXAMPLES, Append, EventLog, open_log
from tests.support.joining import click, flatten, impression, tick
from tests.support.valkey import wait_until
from tests.support.workers import Worker, worker

DAY_MS = 86_400_000


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    opened.create_topic(EVENTS, 1)
    yield opened
    opened.close()


def write(log: EventLog, *events: Event | bytes) -> None:
    values = [event if isinstance(event, bytes) else encode_event(event) for event in events]
    log.append([Append(log.partitions(EVENTS)[0], value) for value in values])


def examples(log: EventLog, topic: str = EXAMPLES) -> set[tuple[str, ...]]:
    """(kind, impression/ad, label, with `late` for a correction) of all examples."""
    records = log.read(log.begin_offsets(log.partitions(topic)), max_records=10_000)
    items = [item for item in flatten(record.value for record in records) if "mark" not in item]
    return {
        (item["kind"], "/".join(item["key"][:2]), item["label"][0] + ("late" if item["correction"] == "True" else ""))
        for item in items
    }


def wait_until_joined(joiner: Worker, num_impressions: int) -> None:
    joined = ("freshet_join_events_total", "impression")
    wait_until(lambda: joiner.scrape().get(joined, 0) >= num_impressions, "it does not join", 30)


def test_each_kind_waits_its_own_window_and_another_kind_is_a_dead_letter(log: EventLog, tmp_path: Path) -> None:
    write(
        log,
        impression("i1", 0),
        click("i1", "a", 1_000),
        click("i1", "b", 6 * DAY_MS, kind="conversion"),
        click("i1", "a", 6 * DAY_MS + 1, kind="share"),
        tick("t", 8 * DAY_MS),
    )
    arguments = (
        "--log",
        log.address,
        "--state",
        tmp_path,
        "--window",
        "click=1800",
        "--window",
        f"conversion={7 * 86_400}",
    )
    with worker(tmp_path, "join", *arguments) as joiner:
        wait_until_joined(joiner, 1)
        stats = joiner.stop()
    assert examples(log) == {
        ("click", "i1/a", "1"), ("click", "i1/b", "0"), ("conversion", "i1/a", "0"), ("conversion", "i1/b", "1"),
    }  # fmt: skip
    assert stats["examples"] == {"click": 2, "conversion": 2}
    assert stats["dead_letters"] == {"unknown-kind": 1}


def test_horizon_says_how_late_feedback_is_still_a_correction(log: EventLog, tmp_path: Path) -> None:
    write(
        log, impression("i1", 0), impression("i2", 0), tick("t1", 10_000), click("i1", "a", 14_000), tick("t2", 40_000),
        click("i2", "a", 41_000), tick("t3", 50_000),
    )  # fmt: skip
    with worker(tmp_path, "join", "--log", log.address, "--window-seconds", 10, "--correction-seconds", 5,
                "--dedup-seconds", 3600, "--max-records", 1) as joiner:  # fmt: skip
        wait_until_joined(joiner, 2)
        wait_until(lambda: joiner.scrape()["freshet_join_lag_events", "0"] == 0, "it does not join all", 30)
        assert joiner.stop()["dead_letters"] == {"beyond-horizon": 1}
    assert ("click", "i1/a", "1late") in examples(log)
    assert ("click", "i2/a", "1late") not in examples(log)


def test_another_group_joins_anew_with_other_windows_into_its_own_topic(log: EventLog, tmp_path: Path) -> None:
    write(log, impression("i1", 0), click("i1", "a", 20_000), tick("t", 90_000))
    common = ("join", "--log", log.address, "--state", tmp_path)
    with worker(tmp_path, *common, "--window-seconds", 10) as joiner:
        wait_until_joined(joiner, 1)
        joiner.stop()
    with worker(tmp_path, *common, "--window-seconds", 30, "--group", "slow", "--examples", "slow-examples") as joiner:
        wait_until_joined(joiner, 1)
        joiner.stop()
    assert ("click", "i1/a", "1late") in examples(log)
    assert examples(log, "slow-examples") == {("click", "i1/a", "1"), ("click", "i1/b", "0")}


def test_page_shows_what_waits_what_is_dead_and_how_far_the_join_is(log: EventLog, tmp_path: Path) -> None:
    write(log, impression("i1", 1_000), impression("i2", 2_000), impression("i2", 2_000), b"no event",
          click("i9", "a", 2_500), click("i1", "a", 3_000))  # fmt: skip
    with worker(tmp_path, "join", "--log", log.address, "--window-seconds", 10) as joiner:
        wait_until_joined(joiner, 2)
        shown = joiner.scrape()
        assert joiner.degraded() == []
        letters = log.read(log.begin_offsets(log.partitions(DEAD_LETTERS)))
    assert {name: shown[name] for name in shown if name[0] != "freshet_join_events_total"} == {
        ("freshet_dead_letters_total", "undecodable"): 1,
        ("freshet_join_corrections_total",): 0,
        ("freshet_join_duplicates_total",): 1,
        ("freshet_join_repeated_total",): 0,
        ("freshet_join_waiting_impressions",): 2,
        ("freshet_join_held_feedback",): 1,
        ("freshet_join_lag_events", "0"): 0,
        ("freshet_join_watermark_seconds", "0"): 3.0,
    }
    assert [decode_dead_letter(letter.value).reason for letter in letters] == ["undecodable"]


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--window", "click"], "window", "click"),
        (["--window", "=600"], "window", "=600"),
        (["--window", "click=soon"], "window", "soon"),
        (["--window", "click=0"], "window", "0"),
        (["--window", "click=nan"], "window", "nan"),
        (["--window", "click=1", "--window", "click=2"], "window", "click=2"),
        (["--window", "click=1", "--window-seconds", "2"], "window-seconds", "2"),
        (["--window-seconds", "-1"], "window-seconds", "-1"),
        (["--correction-seconds", "inf"], "correction-seconds", "inf"),
        (["--hold-seconds", "-5"], "hold-seconds", "-5"),
        (["--dedup-seconds", "1"], "dedup_horizon_ms", "1000"),
        (["--max-held", "-1"], "max_held", "-1"),
        (["--metrics-port", "99999"], "metrics_port", "99999"),
    ],
)
def test_option_that_makes_no_sense_exits_2_and_names_it(
    arguments: list[str], field: str, value: str, log: EventLog, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["join", "--log", log.address, *arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["field"] == field
    assert value in error["message"]
    assert error["remedy"]
