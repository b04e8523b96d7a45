"""The measured DLRM as Freshet serves it: trained on rows of Criteo's shape, published, and asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import torch

from streams.contract.columns import to_values
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureTransform
from streams.contract.schema import Schema, load_schema
from streams.datasets.registry import schema_path
from streams.log.event_log import open_log
from streams.simulator.criteo_shaped import CriteoShape, criteo_shaped
from streams.store.row_store import open_row_store
from streams.turns.cursor import cursor_at
from streams.versions.commit import PublishTarget
from streams.versions.publish import PublishConfig, ThreadedPublisher
from trainer.gate import GateConfig, gate
from trainer.learner import Learner
from trainer.model.export import export_programs
from trainer.model.network import describe_network
from trainer.offering import build_delta
from trainer.prepare import Preparer
from trainer.recipes import recipe

NUM_TRAINED = 50_000


@dataclass(frozen=True)
class ServedModel:
    """A trained learner and the schema of its requests."""

    learner: Learner
    schema: Schema

    def body(self, num_candidates: int) -> bytes:
        """A JSON request with so many candidates, of values that the model has seen and some it has not."""
        return request_body(self.schema, num_candidates)

    def plain_forward(self, num_candidates: int) -> Callable[[], object]:
        """The same network over the same rows, request repeated for each candidate, tensors prepared."""
        batch = _requests(num_candidates)
        features = FeatureTransform(self.schema)(batch.request, batch.candidate, batch.request_index, num_requests=1)
        keys = self.schema.sparse(of_request=True) + self.schema.sparse(of_request=False)
        dim = keys[0].dim
        table = torch.randn(sum(4096 for _ in keys), dim) * 0.1
        rows = torch.randint(0, len(table), (num_candidates, len(keys)))
        num_request = len(self.schema.sparse(of_request=True))
        request_dense = torch.from_numpy(np.repeat(features.request.dense, num_candidates, axis=0))
        candidate_dense = torch.from_numpy(features.candidate.dense)
        network = self.learner.network

        def forward() -> object:
            with torch.inference_mode():
                embedded = torch.nn.functional.embedding(rows, table)
                logits = network.plain(request_dense, embedded[:, :num_request], candidate_dense,
                                       embedded[:, num_request:])  # fmt: skip
                return torch.sigmoid(logits)

        return forward


def request_body(schema: Schema, num_candidates: int) -> bytes:
    """A JSON request with so many candidates of Criteo's shape."""
    return body_of(schema, _requests(num_candidates))


def body_of(schema: Schema, batch: ExampleBatch, *, event_time_ms: int | None = None) -> bytes:
    """The batch's one request as JSON, now or at a time of the data's clock."""
    time_ms = {} if event_time_ms is None else {"event_time_ms": event_time_ms}
    scopes = {feature.name: feature.scope for feature in schema.features}
    request = {name: to_values(column)[0] for name, column in batch.request.items()}
    return msgspec.json.encode({
        "unit_id": batch.unit_id[0],
        **time_ms,
        "user": {name: value for name, value in request.items() if scopes[name] == "user"},
        "context": {name: value for name, value in request.items() if scopes[name] == "context"},
        "candidates": {"ad_id": batch.ad_id,
                       **{name: to_values(column) for name, column in batch.candidate.items()}},
    })  # fmt: skip


def _requests(num_candidates: int, seed: int = 7) -> ExampleBatch:
    return next(criteo_shaped(num_candidates, seed, CriteoShape(candidates_per_request=num_candidates)))


def publish_trained_model(log_address: str, redis_address: str, model: str) -> ServedModel:
    """Trains for a moment, publishes one full version, and returns what was published."""
    path = schema_path("simulator:criteo")
    assert path is not None
    schema = load_schema(path)
    learner = Learner(schema, recipe("plain-dlrm"))
    prepare = Preparer(schema)
    for batch in criteo_shaped(NUM_TRAINED, seed=7, shape=CriteoShape(chunk_size=256)):
        learner.learn(prepare(batch))
    log = open_log(log_address)
    store = open_row_store(redis_address, model=model)
    target = PublishTarget(log=log, store=store, schema=schema, network=describe_network(learner.recipe.network),
                           programs=export_programs(learner.network), recipe=learner.recipe.name)  # fmt: skip
    publisher = ThreadedPublisher(target, gate(GateConfig(min_examples=0)), PublishConfig(interval_seconds=0.0))
    try:
        while not publisher.due():
            time.sleep(0.01)
        delta = build_delta(learner, cursor_at([0]), "examples", full=True)
        assert publisher.offer(delta), publisher.status().last_refusal
        publisher.wait_until_idle(60)
    finally:
        publisher.close()
        store.close()
        log.close()
    return ServedModel(learner, schema)
