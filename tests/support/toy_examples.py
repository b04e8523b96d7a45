"""Small labelled examples whose labels follow from their features, for tests of the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streams.contract.examples import ExampleBatch, Mark, encode_examples, encode_mark
from streams.contract.schema import Schema, parse_schema
from streams.log.event_log import Append, EventLog, TopicPartition
from trainer.admission import AdmissionConfig
from trainer.dense_optimizer import DenseOptimizerConfig
from trainer.model.dlrm import DlrmConfig
from trainer.model.tables import TablesConfig
from trainer.progressive import ProgressiveConfig
from trainer.recipes import RecipeConfig
from trainer.vocabulary import VocabularyConfig

START_MS = 1_700_000_000_000

SCHEMA = """
name = "toy"
[[features]]
name = "user"
scope = "user"
kind = "categorical"
dtype = "int"
dim = 8
[[features]]
name = "age"
scope = "user"
kind = "dense"
dtype = "float"
[[features]]
name = "history"
scope = "user"
kind = "sequence"
dtype = "int"
table = "ad"
dim = 8
[[features]]
name = "ad"
scope = "ad"
kind = "categorical"
dtype = "int"
dim = 8
[[features]]
name = "price"
scope = "ad"
kind = "dense"
dtype = "float"
[[crosses]]
name = "user_x_ad"
features = ["user", "ad"]
dim = 8
"""


def toy_schema() -> Schema:
    """A user with a history, ads with a price, and their cross."""
    return parse_schema(SCHEMA)


def toy_recipe(**changes: Any) -> RecipeConfig:
    """A recipe that trains in no time: tiny layers, small tables that overflow, batches of 64."""
    base = RecipeConfig(
        name="toy",
        network=DlrmConfig(bottom=(8,), top=(16,)),
        tables=TablesConfig(capacity=200, learning_rate=0.02, initial_scale=1.0),
        optimizer=DenseOptimizerConfig(learning_rate=0.02),
        vocabulary=VocabularyConfig(admission=AdmissionConfig(admit_after=2, bits=10), half_life_ms=60_000),
        progressive=ProgressiveConfig(window=2000),
        batch_size=64,
    )
    return replace(base, **changes)


def toy_batch(num_requests: int, *, start: int = 0, candidates: int = 4, seed: int = 0, **changes: Any) -> ExampleBatch:
    """`num_requests` requests with as many candidates each; event times rise by a second a request."""
    rng = np.random.default_rng([seed, start])
    num_examples = num_requests * candidates
    user, ad = rng.zipf(1.3, num_requests) % 1000, rng.zipf(1.3, num_examples) % 500
    index = np.repeat(np.arange(num_requests, dtype=np.int32), candidates)
    true = 1 / (1 + np.exp(2.0 + np.sin(ad) + 0.5 * np.cos(user[index])))
    times_ms = START_MS + 1000 * (start + np.arange(num_requests, dtype=np.int64))
    ids = [f"i{seed}-{start + n}" for n in range(num_requests)]
    fields: dict[str, Any] = {
        "kind": "click", "impression_id": ids, "unit_id": [str(u) for u in user], "session_id": ids,
        "arm": ["a" if u % 2 else "b" for u in user.tolist()],
        "version": np.full(num_requests, 7, dtype=np.int64), "generation": np.ones(num_requests, dtype=np.int64),
        "event_time_ms": times_ms,
        "request": {"user": user, "age": user / 1000, "history": [[int(u), 3][: u % 3] for u in user]},
        "ad_id": [str(a) for a in ad], "request_index": index,
        "position": np.tile(np.arange(candidates, dtype=np.int32), num_requests),
        "label": (rng.random(num_examples) < true).astype(np.float32),
        "weight": np.ones(num_examples, dtype=np.float32),
        "predicted": np.full(num_examples, 0.1, dtype=np.float32),
        "propensity": np.full(num_examples, np.nan, dtype=np.float32), "true_probability": true.astype(np.float32),
        "value": np.zeros(num_examples, dtype=np.float32), "delay_ms": np.full(num_examples, -1, dtype=np.int64),
        "decided_ingest_ms": times_ms[index] + 5000, "decided_time_ms": times_ms[index] + 5000,
        "correction": np.zeros(num_examples, dtype=np.bool_),
        "candidate": {"ad": ad, "price": np.sin(ad)},
    }  # fmt: skip
    return ExampleBatch(**{**fields, **changes})


def append_all(log: EventLog, partition: TopicPartition, contents: Sequence[ExampleBatch | Mark | bytes]) -> None:
    """Appends example batches, marks and raw bytes to a partition, a record each."""
    values = [_encoded(content) for content in contents]
    log.append([Append(partition, value) for value in values])


def _encoded(content: ExampleBatch | Mark | bytes) -> bytes:
    if isinstance(content, bytes):
        return content
    return encode_mark(content) if isinstance(content, Mark) else encode_examples(content)
