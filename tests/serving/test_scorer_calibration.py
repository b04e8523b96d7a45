"""A version's calibration is served with exactly that version, and only with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Answer, Scorer
from serving.scorer.service import start_scorer
from streams.contract.calibration import CalibrationMap
from streams.contract.columns import Array, Jagged
from streams.contract.features import FeatureBatch
from streams.contract.wire import pack_request
from streams.log.event_log import EventLog, open_log
from streams.store.row_store import open_row_store
from tests.support.published import MODEL, PublishedModel
from tests.support.valkey import valkey_server

KNOTS = np.linspace(-5.0, 5.0, 21)
Publish = Callable[[CalibrationMap | None], int]


def served_map(scale: float, *, user: int | None = None) -> CalibrationMap:
    """Bends by `scale`; the segment of that user's id by twice as much."""
    shifts = [scale * np.cos(KNOTS), 2 * scale * np.cos(KNOTS)]
    segments = np.array([] if user is None else [user], dtype=np.int64)
    used = np.stack(shifts[: 1 + len(segments)]).astype(np.float32)
    return CalibrationMap(KNOTS.astype(np.float32), used, segments, -1 if user is None else 0)


def request_of(model: PublishedModel, user: str) -> FeatureBatch:
    articles = [f"a{number}" for number in range(12)]
    history = Jagged(articles[:3], np.array([3], dtype=np.int32))
    return model.transform(
        {"user": [user], "history": history}, {"article": articles, "age": np.arange(12.0)},
        np.zeros(12, dtype=np.int32), num_requests=1,
    )  # fmt: skip


def probabilities(service: Scorer, model: PublishedModel, batch: FeatureBatch) -> Array:
    (answer,) = service.score([pack_request(batch, model.schema.hash)])
    assert isinstance(answer, Answer), answer
    return answer.probabilities


def mapped(probability: Array, by: CalibrationMap, row: int = 0) -> Array:
    """What a map makes of plain probabilities, the plain way."""
    logit = np.log(probability) - np.log1p(-probability.astype(np.float64))
    shift = np.interp(logit, KNOTS, by.shifts[row].astype(np.float64))
    expected: Array = 1 / (1 + np.exp(-(logit + shift)))
    return expected


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[PublishedModel, Scorer, Publish]]:
    """A model at version 1 without a map, its scorer, and a way to publish versions with one."""
    with valkey_server() as server:
        log: EventLog = open_log(f"embedded:{tmp_path / 'log'}")
        store = open_row_store(server.address, model=MODEL, password="")
        model = PublishedModel(log, store)
        model.change_dense(3)
        model.begin()
        config = ScorerConfig(model=MODEL, log=log.address, redis=server.address, live_poll_seconds=0.02)
        service = start_scorer(replace(config, warm_up_candidates=(1,)), environment={})
        assert service.wait_for_version(1, 30)

        def publish(calibration: CalibrationMap | None) -> int:
            update = model.next_version({}, {})
            dense = update.dense if calibration is None else {**update.dense, **calibration.tensors()}
            whole = replace(update, dense=dense)
            model.append(whole)
            model.write(whole)
            assert service.wait_for_version(model.version, 30)
            return model.version

        yield model, service, publish
        service.close()
        store.close()
        log.close()


def test_version_with_a_map_serves_calibrated_probabilities_in_the_same_order(
    world: tuple[PublishedModel, Scorer, Publish],
) -> None:
    model, service, publish = world
    batch = request_of(model, "ann")
    plain = probabilities(service, model, batch)
    np.testing.assert_allclose(plain, model.expected(batch), atol=1e-6)
    publish(served_map(0.4))
    calibrated = probabilities(service, model, batch)
    np.testing.assert_allclose(calibrated, mapped(model.expected(batch), served_map(0.4)), atol=1e-6)
    assert not np.allclose(calibrated, plain, atol=1e-3)
    assert np.argsort(calibrated).tolist() == np.argsort(plain).tolist()


def test_next_version_without_a_map_serves_plain_probabilities_again(
    world: tuple[PublishedModel, Scorer, Publish],
) -> None:
    model, service, publish = world
    batch = request_of(model, "ann")
    publish(served_map(0.4))
    publish(None)
    np.testing.assert_allclose(probabilities(service, model, batch), model.expected(batch), atol=1e-6)


def test_segment_of_the_request_has_its_own_map(world: tuple[PublishedModel, Scorer, Publish]) -> None:
    model, service, publish = world
    ann, bob = request_of(model, "ann"), request_of(model, "bob")
    sent = served_map(0.3, user=int(ann.request.ids[0]))
    publish(sent)
    for batch, row in ((ann, 1), (bob, 0)):
        expected = mapped(model.expected(batch), sent, row)
        np.testing.assert_allclose(probabilities(service, model, batch), expected, atol=1e-6)
    packed = [pack_request(batch, model.schema.hash) for batch in (bob, ann, bob)]
    together = [answer.probabilities for answer in service.score(packed) if isinstance(answer, Answer)]
    np.testing.assert_allclose(together[1], mapped(model.expected(ann), sent, 1), atol=1e-6)


def test_version_whose_map_does_not_rise_is_passed_over(
    world: tuple[PublishedModel, Scorer, Publish],
) -> None:
    model, service, _ = world
    batch = request_of(model, "ann")
    update = model.next_version({}, {})
    model.append(replace(update, dense={**update.dense, **served_map(-50.0).tensors()}))
    assert not service.wait_for_version(model.version, 1.0)
    np.testing.assert_allclose(probabilities(service, model, batch), model.expected(batch), atol=1e-6)


def test_new_scorer_takes_the_map_from_the_store(world: tuple[PublishedModel, Scorer, Publish]) -> None:
    model, service, publish = world
    publish(served_map(0.4))
    batch = request_of(model, "ann")
    config = ScorerConfig(model=MODEL, log=model.log.address, redis=model.store.nodes.address)
    again = start_scorer(config, environment={})
    try:
        assert again.wait_for_version(model.version, 30)
        np.testing.assert_array_equal(probabilities(again, model, batch), probabilities(service, model, batch))
    finally:
        again.close()
