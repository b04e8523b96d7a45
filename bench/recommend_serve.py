"""Recommendations through gateway and Triton, and the same language model writing a name token by token.

    freshet     HTTP, JSON ─> gateway ─> Triton: one pass over the prompt, every item scored, the best 10 answered
    decoding    in this process, without HTTP: the same prompt read once, then 3 tokens (as a code of three), or
                the tokens of one title, one after the other, keys and values kept; one name, the most likely

All requests are of different users with different histories, so that no state is found that was computed before.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.load import Target, measure, quantile
from bench.machine import describe
from bench.serve import wait_until_ready
from bench.served_recommender import TITLE, ServedRecommender
from bench.title_decoder import TitleDecoder
from freshet.stack import Stack, StackConfig
from llm_rec.backbone import BackboneConfig
from llm_rec.cllm4rec_recipes import cllm4rec, cllm4rec_first_blocks, cllm4rec_small
from streams.command import say
from streams.datasets.registry import schema_path

CLIENTS = (1, 4, 16)
CODE_TOKENS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """What is measured, and how often."""

    rounds: int = 5
    requests: int = 120
    """A round, of all clients together."""
    decodings: int = 40
    """A round."""
    history: int = 20
    k: int = 10
    deadline_ms: int = 500
    """The gateway's own default, of which the recommender may take its share."""


def subjects(*, quick: bool) -> dict[str, tuple[ServedRecommender, ServeConfig]]:
    """The recommenders that are served, by name, and how each is measured."""
    small = cllm4rec_small()
    if quick:
        tiny = replace(small.backbone, width=32, layers=1, heads=2)
        few = ServeConfig(rounds=2, requests=24, decodings=6)
        return {"small-1k": (ServedRecommender(config=replace(small, backbone=tiny), num_items=1_000), few)}
    return {
        "small-4k": (ServedRecommender(config=small, num_items=4_000), ServeConfig()),
        "small-100k": (ServedRecommender(config=small, num_items=100_000), ServeConfig()),
        "first-blocks-4k": (ServedRecommender(config=cllm4rec_first_blocks(), num_items=4_000), ServeConfig()),
        "smollm2-4k": (ServedRecommender(config=cllm4rec(), num_items=4_000),
                       ServeConfig(rounds=3, requests=48, decodings=8)),
    }  # fmt: skip


def run(*, quick: bool = False) -> dict[str, Any]:
    """`subjects`: for each its shape, `points` by clients, `decoding` and the ratios of every round."""
    wanted = subjects(quick=quick)
    found = {name: _measured(subject, config) for name, (subject, config) in wanted.items()}
    return {**describe(max(config.rounds for _, config in wanted.values())), "subjects": found}


def _measured(subject: ServedRecommender, config: ServeConfig) -> dict[str, Any]:
    decoder = TitleDecoder(subject.config, num_items=subject.num_items)
    lengths = {"code": CODE_TOKENS, "title": decoder.num_tokens(TITLE)}
    shape: BackboneConfig = subject.config.backbone
    history = list(range(config.history))
    with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder, _stack(Path(folder), subject) as url:
        points = [_point(url, subject, config, clients) for clients in CLIENTS]
        pairs = _pairs(url, subject, config, decoder, lengths)
    return {
        "backbone": shape.kind, "num_items": subject.num_items, "prompt_tokens": decoder.prompt_tokens(history),
        "k": config.k, "rounds": config.rounds, "requests_a_round": config.requests, "points": points,
        "deadline_ms": config.deadline_ms, "decoded_tokens": lengths, **pairs,
    }  # fmt: skip


def _point(url: str, subject: ServedRecommender, config: ServeConfig, clients: int) -> dict[str, Any]:
    latencies: list[list[float]] = []
    before = _counted(url)
    for number in range(config.rounds):
        latencies.append(_round(url, subject, config, clients, config.requests, seed=1000 * clients + number))
    after = _counted(url)
    asked = after["all"] - before["all"]
    point = {
        "clients": clients,
        "p50_ms": round(median(quantile(each, 0.5) for each in latencies), 3),
        "p99_ms": round(median(quantile(each, 0.99) for each in latencies), 3),
        "within_deadline": round(1 - (after["late"] - before["late"]) / asked, 4),
        "p50_rounds": [round(quantile(each, 0.5), 3) for each in latencies],
    }
    say(f"{subject.num_items} items, {subject.config.backbone.kind}: {point}")
    return point


def _pairs(
    url: str, subject: ServedRecommender, config: ServeConfig, decoder: TitleDecoder, lengths: dict[str, int]
) -> dict[str, Any]:
    """Medians of one client's answers and of decoding, in turn, and their ratio in each round."""
    rng, threads = np.random.default_rng(5), torch.get_num_threads()
    torch.set_num_threads(1)
    served, decoded = [], {name: [] for name in lengths}  # type: ignore[var-annotated]
    try:
        for number in range(config.rounds):
            found = _round(url, subject, config, 1, config.decodings, seed=77_000 + number)
            served.append(quantile(found, 0.5))
            for name, length in lengths.items():
                histories = rng.integers(0, subject.num_items, size=(config.decodings, config.history)).tolist()
                seconds = [decoder.seconds(history, length) for history in histories]
                decoded[name].append(1000 * quantile(seconds, 0.5))
    finally:
        torch.set_num_threads(threads)
    ratios = {name: [round(each / own, 2) for each, own in zip(times, served, strict=True)]
              for name, times in decoded.items()}  # fmt: skip
    return {
        "one_client_p50_ms": round(median(served), 3),
        "decoding_p50_ms": {name: round(median(times), 3) for name, times in decoded.items()},
        "decoding_over_freshet": {name: median(each) for name, each in ratios.items()},
        "decoding_over_freshet_rounds": ratios,
    }


def _round(
    url: str, subject: ServedRecommender, config: ServeConfig, clients: int, requests: int, *, seed: int
) -> list[float]:
    """Latencies in ms."""
    bodies = subject.bodies(2 * requests + 64, history=config.history, k=config.k, seed=seed)
    target = Target(f"{url}/v1/recommend", bodies[0], others=tuple(bodies[1:]))
    return measure(target, clients=clients, requests=requests, warm_up=max(4, clients))


def _counted(url: str) -> dict[str, float]:
    """Recommendations so far, and those for which the recommender was late or away."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    value = {name: float(number) for name, number in lines}
    flags = [value.get(f'freshet_flags_total{{flag="recommender_{why}"}}', 0.0) for why in ("deadline", "unavailable")]
    return {"all": value["freshet_recommend_latency_seconds_count"], "late": sum(flags)}


@contextmanager
def _stack(folder: Path, subject: ServedRecommender) -> Iterator[str]:
    """Store, Triton with both models, gateway; the recommender live. Yields the gateway's address."""
    schema = schema_path("simulator:small")
    assert schema is not None
    stack = Stack(StackConfig(folder=folder, schema=schema, learns=False, recommender=folder))
    try:
        stack.start(say)
        subject.publish(stack.config.log, stack.config.redis)
        _wait_until_served(stack.gateway_url)
        yield stack.gateway_url
    finally:
        stack.stop()


def _wait_until_served(url: str, timeout_seconds: float = 300) -> None:
    """Waits until the recommender answers. Raises TimeoutError."""
    wait_until_ready(f"{url}/healthz")
    deadline = time.monotonic() + timeout_seconds
    body = ServedRecommender(config=cllm4rec_small(), num_items=1).bodies(1, history=1, k=1, seed=0)[0]
    while True:
        request = urllib.request.Request(f"{url}/v1/recommend", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            if b'"answered_by":"generative"' in answer.read():
                return
        if time.monotonic() > deadline:
            raise TimeoutError("the recommender was not served in time")
        time.sleep(0.2)
