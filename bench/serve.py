"""The whole scoring way against the peers, in one run, alternating, medians of rounds.

    freshet          HTTP, JSON in ─> gateway ─> Triton ─> answer; user and context once a request
    freshet_bfloat16 the same with `freshet triton --precision bfloat16`, no default
    peer             FastAPI + ONNX Runtime, JSON
    peer_binary      FastAPI + ONNX Runtime, binary body, frozen garbage collector, one worker a core
    in_process       the same network's plain forward in eager torch, everything repeated a candidate

All hold 26 tables of dimension 16 and 13 dense values (18 and 9 of the request, 8 and 4 of the ad),
bottom 512-256-16, top 512-256-1, and run on the same two cores as the load.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from bench.load import Target, measure, quantile
from bench.machine import describe
from bench.peer_server import MODEL_VARIABLE
from bench.plain_dlrm import NUM_TABLES, ROWS_PER_TABLE, onnx_model, random_weights
from bench.served_model import ServedModel, publish_trained_model
from freshet.ports import free_ports
from freshet.processes import spawn
from freshet.stack import Stack, StackConfig
from streams.command import say
from streams.datasets.registry import schema_path

_JSON = msgspec.json.Encoder()
CANDIDATES = (1, 32, 256, 1024)
CLIENTS = (1, 4, 16)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measures every point; keys as in the interface: `points` and the goals they meet."""
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder, ExitStack() as open_things:
        served, url = open_things.enter_context(_freshet(Path(folder) / "float32"))
        _, narrow_url = open_things.enter_context(_freshet(Path(folder) / "bfloat16", precision="bfloat16"))
        urls = {"freshet": url, "freshet_bfloat16": narrow_url}
        peers = open_things.enter_context(_peers(Path(folder)))
        points = [
            _point(served, urls, peers, num_candidates, clients, rounds)
            for num_candidates in CANDIDATES
            for clients in CLIENTS
        ]
        difference = _largest_difference(served, urls)
    return {
        **describe(rounds),
        "points": points,
        "goals": _goals(points, "freshet"),
        "goals_bfloat16": _goals(points, "freshet_bfloat16"),
        "bfloat16_largest_difference": difference,
    }


def _point(
    served: ServedModel, urls: dict[str, str], peers: dict[str, str], num_candidates: int, clients: int, rounds: int
) -> dict[str, Any]:
    requests = max(clients * 8, 4000 // (num_candidates + 20))
    subjects: dict[str, Callable[[], list[float]]] = {
        name: partial(measure, target, clients=clients, requests=requests)
        for name, target in {
            **{name: Target(f"{url}/v1/score", served.body(num_candidates)) for name, url in urls.items()},
            "peer": Target(peers["json"], _peer_json(num_candidates)),
            "peer_binary": Target(peers["binary"], _peer_binary(num_candidates), "application/octet-stream"),
        }.items()
    }
    if clients == 1:
        subjects["in_process"] = lambda: _in_process(served, num_candidates, requests)
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, subject in subjects.items():
            latencies = subject()
            found[name].append((quantile(latencies, 0.5), quantile(latencies, 0.99)))
    point: dict[str, Any] = {"candidates": num_candidates, "clients": clients, "requests_a_round": requests}
    for name, pairs in found.items():
        point[f"{name}_p50_ms"] = round(median(p50 for p50, _ in pairs), 3)
        point[f"{name}_p99_ms"] = round(median(p99 for _, p99 in pairs), 3)
    point["p50_rounds"] = {name: [round(p50, 3) for p50, _ in pairs] for name, pairs in found.items()}
    say(", ".join(f"{key} {value}" for key, value in point.items() if key != "p50_rounds"))
    return point


def _largest_difference(served: ServedModel, urls: dict[str, str]) -> float:
    """Between the two precisions' probabilities of 1,024 candidates."""
    body = served.body(1024)
    scores = []
    for url in urls.values():
        request = urllib.request.Request(f"{url}/v1/score", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            scores.append(np.array(msgspec.json.decode(answer.read())["scores"]))
    return float(np.abs(scores[0] - scores[1]).max())


def _goals(points: list[dict[str, Any]], ours: str) -> dict[str, bool]:
    """Whether each stated goal holds at every point that it is stated for."""
    large = [p for p in points if p["candidates"] >= 256]
    return {
        "p50_and_p99_below_json_peer_from_32": all(
            p[f"{ours}_p50_ms"] < p["peer_p50_ms"] and p[f"{ours}_p99_ms"] < p["peer_p99_ms"]
            for p in points if p["candidates"] >= 32
        ),
        "p50_below_binary_peer_from_256": all(p[f"{ours}_p50_ms"] < p["peer_binary_p50_ms"] for p in large),
        "p50_below_in_process_from_256_one_client": all(
            p[f"{ours}_p50_ms"] < p["in_process_p50_ms"] for p in large if p["clients"] == 1
        ),
    }  # fmt: skip


def _in_process(served: ServedModel, num_candidates: int, requests: int) -> list[float]:
    """The plain forward on one thread, as the peers run it."""
    forward = served.plain_forward(num_candidates)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        latencies = []
        for number in range(requests + 10):
            started = time.perf_counter()
            forward()
            if number >= 10:
                latencies.append(1000 * (time.perf_counter() - started))
        return latencies
    finally:
        torch.set_num_threads(before)


@contextmanager
def _freshet(folder: Path, precision: str = "float32") -> Iterator[tuple[ServedModel, str]]:
    schema = schema_path("simulator:criteo")
    assert schema is not None
    stack = Stack(StackConfig(folder=folder, schema=schema, learns=False, precision=precision))
    try:
        stack.start(say)
        served = publish_trained_model(stack.config.log, stack.config.redis, stack.config.model)
        wait_until_ready(f"{stack.gateway_url}/readyz")
        yield served, stack.gateway_url
    finally:
        stack.stop()


@contextmanager
def _peers(folder: Path) -> Iterator[dict[str, str]]:
    """The JSON peer with one worker, the binary peer with one worker a core."""
    model = folder / "dlrm.onnx"
    model.write_bytes(onnx_model(random_weights()))
    ports = free_ports(2)
    children = []
    for name, port, workers in zip(("json", "binary"), ports, (1, os.cpu_count() or 1), strict=True):
        command = [sys.executable, "-m", "bench.peer_server", "--port", str(port), "--workers", str(workers)]
        children.append(spawn(f"peer-{name}", command, folder / "logs", env={MODEL_VARIABLE: str(model)}))
    try:
        for port in ports:
            wait_until_ready(f"http://127.0.0.1:{port}/health")
        yield {"json": f"http://127.0.0.1:{ports[0]}/json", "binary": f"http://127.0.0.1:{ports[1]}/binary"}
    finally:
        for child in children:
            child.stop()


def wait_until_ready(url: str, timeout_seconds: float = 60) -> None:
    """Asks until the answer is a success. Raises OSError where it is not within the time."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _peer_inputs(num_candidates: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(1)
    dense = rng.normal(size=(num_candidates, 13)).astype(np.float32)
    return dense, rng.integers(0, NUM_TABLES * ROWS_PER_TABLE, (num_candidates, NUM_TABLES))


def _peer_json(num_candidates: int) -> bytes:
    dense, rows = _peer_inputs(num_candidates)
    dense_lists: list[list[float]] = dense.astype(float).round(6).tolist()
    body: bytes = _JSON.encode({"dense": dense_lists, "rows": rows.tolist()})
    return body


def _peer_binary(num_candidates: int) -> bytes:
    dense, rows = _peer_inputs(num_candidates)
    return np.array([num_candidates], dtype="<i4").tobytes() + dense.tobytes() + rows.astype("<i8").tobytes()
