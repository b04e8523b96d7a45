"""`freshet triton --recommender` on a real log and a real store: a Triton with both models."""

from __future__ import annotations

import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from freshet.processes import freshet_command
from serving.triton.control import http_ok
from streams.contract.recommend_wire import (
    RECOMMENDER,
    RecommendAnswer,
    RecommendRequest,
    pack_recommend,
    unpack_answer,
)
from streams.log.event_log import open_log
from streams.store.row_store import RowStore, open_row_store
from tests.support.ports import free_ports
from tests.support.recommender_versions import PublishedRecommender, items_named
from tests.support.recommending import assert_recommends, expected_items, request_of
from tests.support.triton import BlockingClient, need_triton
from tests.support.valkey import valkey_server, wait_until

pytestmark = pytest.mark.triton


class RecommenderClient:
    """One connection to the model. For one thread."""

    def __init__(self, http_port: int) -> None:
        self._client = BlockingClient(f"127.0.0.1:{http_port}", RECOMMENDER)

    def ask(self, request: RecommendRequest) -> RecommendAnswer | str:
        """The answer, or why there is none."""
        status, outputs, message = self._client.infer({"request": pack_recommend(request)})
        return unpack_answer(outputs) if status == 200 else message

    def answer(self, request: RecommendRequest) -> RecommendAnswer:
        """The answer; there must be one."""
        answer = self.ask(request)
        assert isinstance(answer, RecommendAnswer), answer
        return answer

    def wait_for(self, generation: int, version: int) -> None:
        """Waits until exactly that version is served."""

        def is_there() -> bool:
            answer = self.answer(request_of("probe", 0))
            return (answer.generation, answer.version) == (generation, version)

        wait_until(is_there, f"version {version} of generation {generation} is not served", 60)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


@dataclass(frozen=True)
class Running:
    """A Triton that serves a recommender whose versions the test publishes."""

    http_port: int
    metrics_port: int
    model: PublishedRecommender
    store: RowStore


@contextmanager
def stopped_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, ended as an operator ends it."""
    try:
        yield process
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def is_ready(process: subprocess.Popen[bytes], http_port: int) -> bool:
    """Whether all models are loaded; the process must live."""
    assert process.poll() is None
    return http_ok(f"127.0.0.1:{http_port}", "/v2/health/ready")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    need_triton()
    folder = tmp_path_factory.mktemp("triton")
    with valkey_server() as redis:
        log = open_log(f"embedded:{folder / 'log'}")
        store = open_row_store(redis.address, model=RECOMMENDER, password="")
        model = PublishedRecommender(log, store, items_named(*"abcdefgh"))
        http_port, grpc_port, metrics_port = free_ports(3)
        command = freshet_command(
            "triton", "--log", log.address, "--redis", redis.address, "--recommender", "--dir", str(folder / "run"),
            "--http-port", str(http_port), "--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port),
        )  # fmt: skip
        with stopped_at_the_end(subprocess.Popen(command)) as process:
            wait_until(lambda: is_ready(process, http_port), "Triton was not ready", 120)
            client = RecommenderClient(http_port)
            refused = client.ask(request_of("ann"))
            assert isinstance(refused, str)
            assert refused.startswith("not_ready: ")
            client.wait_for(0, 0)
            model.begin(users=["ann"])
            client.wait_for(1, 1)
            client.close()
            yield Running(http_port, metrics_port, model, store)
        store.close()
        log.close()


@pytest.fixture
def client(running: Running) -> Iterator[RecommenderClient]:
    opened = RecommenderClient(running.http_port)
    yield opened
    opened.close()


def test_version_with_a_new_item_is_served_and_a_rollback_brings_the_older_generation_back(
    running: Running, client: RecommenderClient
) -> None:
    first = running.model
    first.publish(histories={"ann": [1, 2]}, items=first.random_rows([0, 8], 3), new_items=items_named("new"))
    client.wait_for(1, first.version)
    answer = client.answer(request_of("ann", 9))
    assert_recommends(answer, expected_items(first, "ann", 9))
    assert "new" in {item.item_id for item in answer.items}
    second = PublishedRecommender(first.log, running.store, items_named("x", "y", "z"), seed=4)
    second.begin(users=["ann"])
    client.wait_for(2, second.version)
    assert_recommends(client.answer(request_of("ann", 9)), expected_items(second, "ann", 9))
    running.store.rollback(1)
    client.wait_for(1, first.version)
    assert_recommends(client.answer(request_of("ann", 9)), expected_items(first, "ann", 9))


def test_requests_at_once_are_answered_each_with_its_own_items(running: Running) -> None:
    model = running.model
    wanted = {number: expected_items(model, "ann", number + 1, history=[number]) for number in range(8)}
    failures: list[str] = []

    def ask(number: int) -> None:
        client = RecommenderClient(running.http_port)
        for _ in range(10):
            answer = client.answer(request_of("ann", number + 1, history=["abcdefgh"[number]]))
            try:
                assert_recommends(answer, wanted[number])
            except AssertionError as error:
                failures.append(f"{number}: {error}")
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_malformed_request_is_refused_with_the_fields_name(client: RecommenderClient) -> None:
    refused = client.ask(request_of("ann", 5000))
    assert isinstance(refused, str)
    assert refused.startswith("invalid_input: k: ")


def test_metrics_of_both_models_stand_on_tritons_page(running: Running) -> None:
    def are_shown() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics") as page:
            text = page.read().decode()
        return f"freshet_recommender_version {running.model.version}" in text and "freshet_scorer_version 0" in text

    wait_until(are_shown, "the metrics did not show the version")
