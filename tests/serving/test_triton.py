"""A real Triton with the model `ranker`, on a real log and a real store."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from serving.scorer.config import ScorerConfig
from serving.triton.config import TritonConfig
from serving.triton.repository import config_to_json, write_repository
from serving.triton.server import TritonServer
from serving.triton.start import start_models
from streams.contract.columns import Jagged
from streams.contract.errors import ConflictError, UnavailableError
from streams.contract.features import FeatureBatch
from streams.contract.values import ids_of
from streams.contract.wire import info_from, pack_request
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from tests.support.patience import PATIENT
from tests.support.published import MODEL, PublishedModel
from tests.support.triton import BlockingClient, need_triton, ranker
from tests.support.valkey import valkey_server, wait_until

pytestmark = pytest.mark.triton


@dataclass(frozen=True)
class Running:
    """A Triton that serves a model whose versions the test publishes."""

    server: TritonServer
    model: PublishedModel
    scorer: ScorerConfig
    folder: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    need_triton()
    folder = tmp_path_factory.mktemp("triton")
    with valkey_server() as redis:
        log = open_log(f"embedded:{folder / 'log'}")
        store = open_row_store(redis.address, model=MODEL, password="")
        model = PublishedModel(log, store)
        scorer = ScorerConfig(model=MODEL, log=log.address, redis=redis.address, live_poll_seconds=0.02, **PATIENT)
        with ranker(folder / "run", scorer) as server:
            client = BlockingClient(server.http_address)
            assert client.info().version == 0
            status, _, message = client.infer(pack_request(request_of(model, ["a"]), model.schema.hash))
            assert status != 200
            assert message.startswith("not_ready: ")
            model.begin()
            client.wait_for_version(1)
            client.close()
            yield Running(server, model, scorer, folder)
        store.close()
        log.close()


@pytest.fixture
def client(running: Running) -> Iterator[BlockingClient]:
    opened = BlockingClient(running.server.http_address)
    yield opened
    opened.close()


def request_of(model: PublishedModel, articles: list[str]) -> FeatureBatch:
    return model.transform(
        {"user": ["ann"], "history": Jagged(["a", "b"], np.array([2], dtype=np.int32))},
        {"article": list(articles), "age": np.arange(len(articles), dtype=np.float64)},
        np.zeros(len(articles), dtype=np.int32),
        num_requests=1,
    )


def publish_articles(model: PublishedModel, names: list[str], seed: int) -> None:
    ids = ids_of(model.schema.feature("article"), names).tolist()
    model.change_dense(seed)
    model.publish({"article": model.random_rows(ids, seed)["article"]})


def test_scores_through_http_equal_the_plain_networks(running: Running, client: BlockingClient) -> None:
    model = running.model
    publish_articles(model, ["a", "b", "c"], 3)
    client.wait_for_version(model.version)
    batch = request_of(model, ["a", "c", "unheard of"])
    status, outputs, message = client.infer(pack_request(batch, model.schema.hash))
    assert status == 200, message
    np.testing.assert_allclose(outputs["probability"][0], model.expected(batch), atol=1e-6, rtol=0)
    assert info_from(outputs["info"]).version == model.version


def test_requests_at_once_are_answered_each_with_its_own_scores(running: Running) -> None:
    model = running.model
    before = batches_executed(running.server)
    failures: list[str] = []

    def ask(size: int) -> None:
        client = BlockingClient(running.server.http_address)
        batch = request_of(model, [f"article {n}" for n in range(size)])
        for _ in range(20):
            status, outputs, message = client.infer(pack_request(batch, model.schema.hash))
            if status != 200 or not np.allclose(outputs["probability"][0], model.expected(batch), atol=1e-6):
                failures.append(f"{size}: {status} {message}")
        client.close()

    threads = [threading.Thread(target=ask, args=(size,)) for size in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    executed, inferred = batches_executed(running.server)
    assert executed - before[0] < inferred - before[1]


def test_bad_tensors_are_refused_with_the_tensors_name(running: Running, client: BlockingClient) -> None:
    tensors = pack_request(request_of(running.model, ["a"]), running.model.schema.hash)
    status, _, message = client.infer(tensors | {"candidate_ids": np.zeros((1, 9), dtype=np.int64)})
    assert status != 200
    assert message.startswith("invalid_input: candidate_ids: ")


def test_other_schema_is_refused_as_schema_mismatch(running: Running, client: BlockingClient) -> None:
    status, _, message = client.infer(pack_request(request_of(running.model, ["a"]), "00000000000000ff"))
    assert status != 200
    assert message.startswith("schema_mismatch: ")


def test_scorer_metrics_stand_on_tritons_page(running: Running) -> None:
    def version_shown() -> bool:
        with urllib.request.urlopen(f"http://{running.server.metrics_address}/metrics") as page:
            return f"freshet_scorer_version {running.model.version}" in page.read().decode()

    wait_until(version_shown, "the metric did not show the version")


def test_restarted_server_loads_the_newest_version(running: Running, tmp_path: Path) -> None:
    publish_articles(running.model, ["a", "b"], 8)
    with ranker(tmp_path, running.scorer) as server:
        client = BlockingClient(server.http_address)
        client.wait_for_version(running.model.version)
        batch = request_of(running.model, ["a", "b"])
        _, outputs, _ = client.infer(pack_request(batch, running.model.schema.hash))
        client.close()
    np.testing.assert_allclose(outputs["probability"][0], running.model.expected(batch), atol=1e-6, rtol=0)


def test_stopped_server_leaves_no_process(running: Running, tmp_path: Path) -> None:
    with ranker(tmp_path, running.scorer) as server:
        assert group_of(server.pid)
    wait_until(lambda: group_of(server.pid) == [], "processes of the server live on")


def test_server_dies_with_the_process_that_started_it(running: Running, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from serving.scorer.config import ScorerConfig; from serving.triton.start import start_models\n"
        "from serving.triton.repository import config_from_json\n"
        f"server = start_models(Path({str(tmp_path)!r}), config_from_json(sys.stdin.read(), ScorerConfig))\n"
        "print(server.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(config_to_json(running.scorer))
    parent.stdin.close()
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: group_of(pid) == [], "processes of the server live on")


def test_taken_port_raises_conflict_error_naming_it(running: Running, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConflictError, match=f"http_port.*{port}"):
            start_models(tmp_path, running.scorer, TritonConfig(http_port=port))


def test_model_that_cannot_be_loaded_raises_unavailable_error_with_the_servers_words(
    running: Running, tmp_path: Path
) -> None:
    repository = write_repository(tmp_path, running.scorer)
    (repository / "ranker" / "1" / "model.py").write_text("raise ValueError('no such luck')\n")
    with pytest.raises(UnavailableError, match="no such luck"):
        TritonServer.start(repository, tmp_path, models=["ranker"])


def batches_executed(server: TritonServer) -> tuple[int, int]:
    """(executions, requests) of the model so far."""
    with urllib.request.urlopen(f"http://{server.metrics_address}/metrics") as page:
        text = page.read().decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("nv_inference"))
    label = '{model="ranker",version="1"}'
    return int(values[f"nv_inference_exec_count{label}"]), int(values[f"nv_inference_count{label}"])


def group_of(leader: int) -> list[int]:
    """Living processes of the server's group (zombies apart)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found
