"""The measurements run and give their keys; what they measure is no test's business."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import blend, learn, overheads, recommend_pass
from bench.equal_ne import EqualConfig, equal_ne
from bench.load import Target, measure
from bench.loop_share import ROWS_A_RECORD, ShareConfig, loop_share
from bench.memory_slope import Samples, slopes
from bench.plain_torch import PlainConfig, PlainLearner, to_tensors
from bench.process_memory import Memory, memory_of
from bench.served_recommender import ServedRecommender
from bench.title_decoder import TitleDecoder
from bench.train import load_criteo_schema
from bench.vw_peer import vw_pass
from bench.whole_loop import Lap
from llm_rec.backbone import load_backbone
from llm_rec.cllm4rec_recipes import cllm4rec_small
from streams.contract.errors import FreshetError
from streams.simulator.criteo_shaped import CriteoShape, criteo_shaped
from tests.support.liked_films import NUM_USERS, write_films
from trainer.recipes import recipe
from trainer.subject import open_subject


def test_loop_share_of_a_tiny_run_has_one_ratio_a_round(tmp_path: Path) -> None:
    config = ShareConfig(rounds=2, examples=ROWS_A_RECORD, warm_up=ROWS_A_RECORD)
    found = loop_share(load_criteo_schema(), recipe("default"), config, tmp_path)
    assert {"share", "share_of_own_step", "loop_examples_per_second", "step_examples_per_second"} <= set(found)
    assert len(found["shares"]) == 2


def test_equal_ne_of_a_tiny_run_tells_both_sides_and_all_choices(tmp_path: Path) -> None:
    stream = list(criteo_shaped(2 * ROWS_A_RECORD, 7, CriteoShape(chunk_size=ROWS_A_RECORD)))
    config = EqualConfig(tune_examples=ROWS_A_RECORD, rounds=1, batch_sizes=(256,), table_rates=(0.03,),
                         dense_rates=(0.004,), plain_rates=((0.02, 0.002),))  # fmt: skip
    found = equal_ne(stream, load_criteo_schema(), config, tmp_path)
    assert {"ratio", "plain", "freshet", "tried"} <= set(found)
    assert len(found["tried"]) == 2
    assert len(found["plain"]["tried"]) == 1
    if found["freshet"] is not None:
        assert found["freshet"]["normalized_entropy"] <= found["plain"]["normalized_entropy"]


def test_overheads_of_a_tiny_run_tell_the_ratio_and_each_learners_slope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overheads, "LEARNERS", ("defer",))
    config = overheads.OverheadsConfig(impressions=120, repeats=1, examples=2_048, looks=8)
    found = overheads.measure(config)
    assert found["counters"]["processor_ratio"] > 0
    assert {"anonymous_slope_mib_per_million_examples", "anonymous_mib"} <= set(found["memory"]["defer"])
    assert not [key for key in found["memory"]["defer"] if "events" in key], "a learner counts examples"


def test_name_written_with_keys_and_values_kept_is_the_one_written_by_reading_all_anew() -> None:
    small = cllm4rec_small()
    backbone = replace(small.backbone, width=32, layers=2, heads=2)
    decoder, plain = TitleDecoder(replace(small, backbone=backbone), num_items=9), load_backbone(backbone)
    read = decoder.embedded([3, 1, 4])
    written = decoder.write([3, 1, 4], 6)
    with torch.no_grad():
        for token in written:
            assert int((plain.forward(read)[0, -1] @ plain.words().T).argmax()) == token
            read = torch.cat([read, plain.embed(torch.tensor([[token]]))], dim=1)


def test_clients_take_turns_with_the_bodies_of_a_target() -> None:
    recommender = ServedRecommender(config=cllm4rec_small(), num_items=50)
    bodies = recommender.bodies(7, history=3, k=2, seed=1)
    assert len(set(bodies)) == 7
    with collecting_server() as (port, received):
        target = Target(f"http://127.0.0.1:{port}/", bodies[0], others=tuple(bodies[1:]))
        assert len(measure(target, clients=2, requests=4, warm_up=2)) == 4
    assert len(received) == 8
    assert set(received) == set(bodies)


@contextmanager
def collecting_server() -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers 200 and keeps what was posted."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, received
        finally:
            server.shutdown()
            thread.join()


def test_learn_of_a_tiny_log_tells_figures_of_each_learner_and_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_films(tmp_path / "movielens_1m")
    monkeypatch.setenv("FRESHET_SHARED_DATA", str(tmp_path))
    found = learn.run(quick=True)
    assert set(found["learners"]) == {"all", "histories", "nothing"}
    valid, test = (found["learners"]["all"][part] for part in ("valid", "test"))
    assert (valid["likes"], test["likes"]) == (NUM_USERS, NUM_USERS + NUM_USERS // 2)
    assert 0 < valid["figures"]["log_loss"] < 10
    assert found["learners"]["nothing"]["test"]["paired"]["log_loss"]["delta"] == 0
    assert found["learners"]["all"]["test"]["paired"]["log_loss"]["delta"] != 0


def test_blend_of_a_tiny_log_tells_figures_of_each_weight_and_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_films(tmp_path / "movielens_1m", dislikes=True)
    monkeypatch.setenv("FRESHET_SHARED_DATA", str(tmp_path))
    found = blend.run(quick=True)
    weights = {f"{weight:g}" for weight in blend.WEIGHTS}
    for part in ("valid", "test"):
        for told in (found["parts"][part], found["rated"][part]):
            assert told["users"] == NUM_USERS
            assert set(told["results"]) == weights
            assert set(told["paired"]) == weights - {"0"}
        assert found["opinions"][part]["rated_mean_like"] == pytest.approx({"valid": 1 / 2, "test": 3 / 5}[part])
        assert found["opinions"][part]["spread_of_click_logits"] > 0
    assert {found["chosen"], found["chosen_without_loss"]} <= weights


def test_blend_without_weight_is_the_click_models_order_and_with_infinite_weight_the_recommenders() -> None:
    log_probabilities, clicks = np.array([-3.0, -1.0, -2.0]), np.array([0.5, 0.1, 0.9])
    assert np.argsort(blend.scores_of(0, log_probabilities, clicks)).tolist() == [1, 0, 2]
    assert np.argsort(blend.scores_of(np.inf, log_probabilities, clicks)).tolist() == [0, 2, 1]


def test_area_counts_pairs_in_order_and_ties_half() -> None:
    assert blend.area(np.array([0.9, 0.5, 0.5, 0.1]), np.array([1, 1, 0, 0])) == (3 + 0.5) / 4


def test_plain_learner_repeating_one_batch_predicts_it_better() -> None:
    learner = PlainLearner(PlainConfig())
    rows, dense, label = to_tensors(next(criteo_shaped(256, 7)))
    first = learner.learn(rows, dense, label)
    for _ in range(5):
        last = learner.learn(rows, dense, label)
    loss = [np.logaddexp(0, logit.numpy()) - label.numpy() * logit.numpy() for logit in (first, last)]
    assert loss[1].mean() < loss[0].mean()


def test_vowpal_wabbit_from_a_file_scores_as_the_peer_that_is_driven_request_by_request(tmp_path: Path) -> None:
    stream, schema = list(criteo_shaped(4096, 7, CriteoShape(chunk_size=512))), load_criteo_schema()
    with open_subject(schema, recipe("vw-ftrl")) as subject:
        for batch in stream:
            subject.take(batch)
        own = subject.progressive.lifetime.scores().normalized_entropy
    assert vw_pass(stream, schema, tmp_path)["normalized_entropy"] == pytest.approx(own, abs=2e-5)


def test_lap_counts_examples_behind_the_first_batch() -> None:
    lap = Lap()
    for size in (10, 20, 30):
        lap.passed(size)
    assert lap.examples == 50


def test_slopes_of_growth_after_warm_up_are_its_rate() -> None:
    events = [0, 250_000, 500_000, 750_000, 1_000_000]
    sizes = {"flat": [10.0, 50.0, 50.0, 50.0, 50.0], "grows": [10.0, 50.0, 52.0, 54.0, 56.0]}
    found = slopes(samples_of(events, sizes), 250_000)
    assert found["slope_mib_per_million_events"] == {"flat": 0.0, "grows": 8.0}
    assert found["anonymous_slope_mib_per_million_events"] == {"flat": 0.0, "grows": 4.0}
    assert found["resident_mib"]["grows"] == {"first": 50.0, "last": 56.0, "largest": 56.0}
    curve = found["anonymous_mib_by_million_events"]["grows"]
    assert curve == [[0.25, 25.0], [0.5, 26.0], [0.75, 27.0], [1.0, 28.0]]


def test_curve_of_many_looks_has_twenty_points_from_the_first_to_the_last() -> None:
    events = list(range(0, 1_000_000, 1000))
    curve = slopes(samples_of(events, {"store": [float(n) for n in range(1000)]}), 0)
    points = curve["anonymous_mib_by_million_events"]["store"]
    assert (len(points), points[0], points[-1]) == (20, [0.0, 0.0], [1.0, 499.5])


def test_slopes_of_a_short_peak_are_those_without_it() -> None:
    events = list(range(0, 1_000_000, 50_000))
    sizes = [100.0] * len(events)
    sizes[-2] = 220.0
    found = slopes(samples_of(events, {"trainer": sizes}), 0)
    assert found["slope_mib_per_million_events"] == {"trainer": 0.0}
    assert found["resident_mib"]["trainer"]["largest"] == 220.0


def test_slopes_with_two_looks_behind_the_warm_up_raise() -> None:
    with pytest.raises(FreshetError, match="too few looks"):
        slopes(samples_of([0, 10, 20], {"store": [1.0, 2.0, 3.0]}), 10)


def test_memory_of_a_process_with_a_child_counts_both() -> None:
    alone = memory_of(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        both = memory_of(os.getpid())
        own = memory_of(child.pid)
        child.communicate(b"\n")
    assert 0 < alone.anonymous < alone.resident
    assert both.resident > alone.resident
    assert own.resident < both.resident


def samples_of(num_events: list[int], resident: dict[str, list[float]]) -> Samples:
    """Half of each resident size is anonymous."""
    return Samples(num_events, {name: [Memory(size, size / 2) for size in sizes] for name, sizes in resident.items()})


def test_recommend_pass_of_a_tiny_model_tells_each_part_by_users_a_pass() -> None:
    found = recommend_pass.run(quick=True)["passes"]
    assert [each["users"] for each in found] == [1, 4]
    for each in found:
        assert {"pass_ms", "forward_ms", "ranking_ms", "num_items", "backbone"} <= set(each)
        assert len(each["pass_rounds"]) == 2
