"""`freshet recommender learn` as it is run: a real log, a real Valkey, its metrics page, a signal, and going on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from freshet.cli import main
from llm_rec.model_folder import write_model
from streams.contract.examples import Mark
from streams.log.event_log import EXAMPLES, EventLog, open_log
from streams.store.row_store import open_row_store
from tests.support.live_recommender import batches, fitted, newcomers, shown
from tests.support.toy_examples import append_all
from tests.support.two_communities import NUM_ITEMS, NUM_USERS
from tests.support.valkey import ValkeyServer, flush, wait_until
from tests.support.workers import worker

PREFIX = "freshet_recommender_learn"
LIKES = newcomers(60)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    opened = open_log(f"embedded:{tmp_path / 'log'}")
    opened.create_topic(EXAMPLES, 1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fitted model."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, fitted())
    return folder


def fill(log: EventLog) -> None:
    """Likes of newcomers, a new item that nobody liked, and the stream's end."""
    [partition] = log.partitions(EXAMPLES)
    append_all(log, partition, [*batches(LIKES), shown([("u1", NUM_ITEMS)], liked=[False]), Mark(final=True)])


@pytest.mark.slow
def test_page_shows_figures_and_versions_and_what_was_learnt_last_is_served(
    log: EventLog, model: Path, tmp_path: Path, valkey: ValkeyServer
) -> None:
    flush([valkey])
    [partition] = log.partitions(EXAMPLES)
    append_all(log, partition, [*batches(LIKES), Mark()])
    addresses = ("--log", log.address, "--redis", valkey.address, "--from", model)
    rest = ("--checkpoints", tmp_path / "checkpoints", "--publish-seconds", "0.2", "--ready", tmp_path / "ready")
    with worker(tmp_path, "recommender", "learn", *addresses, *rest) as started:
        wait_until(lambda: started.scrape().get((f"{PREFIX}_likes_total",), 0) >= len(LIKES), "learns too little", 60)
        wait_until(lambda: (f"{PREFIX}_published_version",) in started.scrape(), "nothing is published", 60)
        page, degraded = started.scrape(), started.degraded()
        account = started.stop()
    assert (tmp_path / "ready").exists()
    assert degraded == []
    assert page[f"{PREFIX}_users",] == NUM_USERS + 60
    assert page[f"{PREFIX}_items",] == NUM_ITEMS
    assert 0 < page[f"{PREFIX}_ndcg_at_100",] <= 1
    assert page[f"{PREFIX}_log_loss",] > 0
    assert page[f"{PREFIX}_base_log_loss",] > 0
    assert page[f"{PREFIX}_versions_published_total",] >= 1
    assert account["likes_learnt"] == len(LIKES)
    store = open_row_store(valkey.address, model="recommender", password="")
    head = store.head(account["generation"])
    store.close()
    assert head is not None
    assert head.offsets == account["offsets"], "the last version holds all that was learnt"


def test_account_of_a_run_that_goes_on_is_that_of_a_whole_one(
    log: EventLog, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(log)
    usual = ["recommender", "learn", "--log", log.address, "--redis", "", "--from", str(model), "--json"]

    def run(folder: str, *more: str) -> dict[str, object]:
        assert main([*usual, "--checkpoints", str(tmp_path / folder), *more]) == 0
        told: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return told

    whole = run("whole", "--summary", str(tmp_path / "summary.json"))
    again = run("whole", "--resume")
    timed = {"likes_per_second", "versions_published"}
    assert {name: value for name, value in whole.items() if name not in timed} == {
        name: value for name, value in again.items() if name not in timed
    }
    assert json.loads((tmp_path / "summary.json").read_text()) == whole
    assert whole["examples_read"] == len(LIKES) + 1
    assert (whole["new_users"], whole["new_items"], whole["versions_refused"]) == (60, 1, 0)
    assert {"ndcg_at_100", "recall_at_20", "log_loss", "base_log_loss", "base_ndcg_at_100"} <= set(whole)


def test_checkpoints_of_another_model_are_refused(
    log: EventLog, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(log)
    other = tmp_path / "other"
    usual = ["recommender", "learn", "--log", log.address, "--redis", "", "--checkpoints", str(tmp_path / "kept")]
    assert main([*usual, "--from", str(model)]) == 0
    write_model(other, replace(fitted(), temperature=2.0))
    capsys.readouterr()
    assert main([*usual, "--from", str(other), "--resume", "--json"]) == 2
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["field"] == "checkpoints"


@pytest.mark.parametrize(("wrong", "field"), [
    (("--rate", "0"), "rate"), (("--most-users", "3"), "most_users"), (("--from", "nowhere"), "from"),
    (("--learning", "some"), "learning"), (("--log", ""), "log"), (("--rate", "inf"), "rate"),
    (("--window", "0"), "window"), (("--most-users", str(2**40)), "most_users"), (("--most-items", "0"), "most_items"),
    (("--checkpoint-seconds", "nan"), "checkpoint_seconds"), (("--checkpoint-steps", "-1"), "checkpoint_steps"),
    (("--ready", "/proc/nosuch/ready"), "ready"), (("--summary", "/"), "summary"),
    (("--redis", "redis://localhost:1", "--publish-seconds", "-1"), "publish_seconds"),
    (("--redis", "redis://localhost:1", "--tombstone-seconds", "nan"), "tombstone_seconds"),
])  # fmt: skip
def test_input_that_cannot_be_is_named(
    wrong: tuple[str, ...], field: str, log: EventLog, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["recommender", "learn", "--log", log.address, "--redis", "", "--from", str(model)]
    code = main([*usual, "--checkpoints", str(tmp_path / "kept"), *wrong, "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert (code, told["field"]) == (2, field)
    assert told["remedy"]
