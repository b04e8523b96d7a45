"""A recommender of random weights and a catalogue of any size, published as a learner would publish it.

How long an answer takes depends on the shapes alone, not on what was learnt.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import numpy as np

from llm_rec.backbone import load_backbone
from llm_rec.config import Cllm4recConfig
from llm_rec.models import build_models
from llm_rec.packed import pack_programs
from streams.contract.manifest import Manifest, ModelUpdate, Rows
from streams.contract.recommend_wire import RECOMMENDER
from streams.contract.recommender import ITEMS, NEW_ITEMS, Item, pack_items, recommender_schema
from streams.log.event_log import RECOMMENDER_UPDATES, open_log
from streams.store.row_store import open_row_store
from streams.versions.commit import Committer, PublishTarget

TITLE = "Shawshank Redemption, The (1994)"
"""What one item's text is like, in the form of MovieLens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedRecommender:
    """Which recommender is served."""

    config: Cllm4recConfig
    num_items: int

    def publish(self, log_address: str, redis_address: str) -> None:
        """One generation with one version, live."""
        log, store = open_log(log_address), open_row_store(redis_address, model=RECOMMENDER)
        try:
            backbone = load_backbone(self.config.backbone)
            models = build_models(backbone, 0, 0, id_std=self.config.id_std, seed=0, device="cpu", bfloat16=False)
            schema = recommender_schema(backbone.width)
            items = [Item(f"i{number}", TITLE) for number in range(self.num_items)]
            committer = Committer(PublishTarget(
                log=log, store=store, schema=schema, network={}, topic=RECOMMENDER_UPDATES,
                programs=pack_programs(self.config, models, items), recipe=self.config.name, new_generation=True,
            ))  # fmt: skip
            committer.recover()
            assert committer.generation is not None
            now_ms = time.time_ns() // 1_000_000
            manifest = Manifest(
                model=RECOMMENDER, version=committer.next_version, parent=0, newest_ingest_ms=now_ms,
                generation=committer.generation.generation, feature_hash=schema.hash, recipe=self.config.name,
                newest_event_time_ms=now_ms, created_ms=now_ms,
            )  # fmt: skip
            values = np.random.default_rng(0).normal(size=(self.num_items, backbone.width + 1)).astype(np.float32)
            rows = {ITEMS: Rows(np.arange(self.num_items, dtype=np.int64), values * 0.02)}
            dense = {NEW_ITEMS: np.frombuffer(pack_items([]), dtype=np.uint8)}
            update = ModelUpdate(manifest, dense, rows, {})
            committer.write_generation()
            committer.append(update)
            committer.write(update)
            store.set_live(manifest.generation)
        finally:
            store.close()
            log.close()

    def bodies(self, number: int, *, history: int, k: int, seed: int) -> list[bytes]:
        """Requests of different unknown users, each with a history of its own, so that no state was computed before."""
        rng = np.random.default_rng(seed)
        liked = rng.integers(0, self.num_items, size=(number, history))
        return [
            msgspec.json.encode({"unit_id": f"u{seed}-{row}", "k": k, "history": [f"i{item}" for item in items]})
            for row, items in enumerate(liked.tolist())
        ]
