"""A small fitted recommender of two communities, likes for it to learn on line, and what is served of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch

from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.documents import Writer
from llm_rec.live.config import LearnConfig
from llm_rec.live.learner import LiveLearner
from llm_rec.live.look import Asked, Seen, look
from llm_rec.model_folder import LearntModel, learnt_by
from llm_rec.packed import unpack_programs
from llm_rec.scoring import history_prompts, score_prompts
from llm_rec.switches import paper
from streams.contract.columns import Array
from streams.contract.examples import ExampleBatch
from streams.contract.recommender import HISTORIES, ITEMS, NEW_ITEMS, USERS, Item, history_of, unpack_items, user_keys
from streams.store.row_store import RowStore
from tests.support.two_communities import NUM_ITEMS, NUM_USERS, TINY, coloured, quiet, two_communities

START_MS = 1_700_000_000_000
COLOURS = ("blue", "red")
CONFIG = LearnConfig(rate=0.2, batch_size=16, most_users=64, window=400)
RECIPE = replace(TINY, name="toy", switches=replace(paper(), item_bias="likes"))


@cache
def fitted() -> LearntModel:
    """Users u0 to u11 and items i0 to i11; those of one parity like each other, all but one like of each known."""
    split = two_communities()
    recommender = CLLM4Rec(RECIPE, tell=quiet)
    recommender.fit(split, coloured(), seed=0)
    items = tuple(Item(f"i{n}", text, _told(n)) for n, text in enumerate(coloured().texts))
    counts = np.bincount(np.concatenate(split.train), minlength=NUM_ITEMS).astype(np.float64)
    return LearntModel(
        config=RECIPE, users=tuple(f"u{n}" for n in range(NUM_USERS)), items=items,
        learnt=learnt_by(recommender.models), histories=split.train, counts=counts, newest_time_ms=START_MS,
    )  # fmt: skip


def learner(**changes: Any) -> LiveLearner:
    """A learner of the fitted model that has learnt nothing yet."""
    torch.set_num_threads(1)
    return LiveLearner(fitted(), replace(CONFIG, **changes))


def shown(
    pairs: Sequence[tuple[str, int]], *, liked: Sequence[bool] | None = None, start: int = 0, **changes: Any
) -> ExampleBatch:
    """Each user was shown one item, number n as item in, and (unless told otherwise) liked it, a second apart."""
    size = len(pairs)
    ids = [f"e{start + n}" for n in range(size)]
    times_ms = START_MS + 1000 * (start + np.arange(size, dtype=np.int64))
    told = [_told(item) for _, item in pairs]
    fields: dict[str, Any] = {
        "kind": "click", "impression_id": ids, "unit_id": [user for user, _ in pairs], "session_id": ids,
        "arm": [""] * size, "version": np.zeros(size, dtype=np.int64), "generation": np.zeros(size, dtype=np.int64),
        "event_time_ms": times_ms, "request": {}, "ad_id": [f"i{item}" for _, item in pairs],
        "request_index": np.arange(size, dtype=np.int32), "position": np.zeros(size, dtype=np.int32),
        "label": np.ones(size, dtype=np.float32) if liked is None else np.array(liked, dtype=np.float32),
        "weight": np.ones(size, dtype=np.float32), "predicted": np.full(size, np.nan, dtype=np.float32),
        "propensity": np.full(size, np.nan, dtype=np.float32),
        "true_probability": np.full(size, np.nan, dtype=np.float32), "value": np.zeros(size, dtype=np.float32),
        "delay_ms": np.zeros(size, dtype=np.int64), "decided_ingest_ms": times_ms + 10, "decided_time_ms": times_ms,
        "correction": np.zeros(size, dtype=np.bool_),
        "candidate": {name: [each[name] for each in told] for name in ("colour", "number")},
    }  # fmt: skip
    return ExampleBatch(**{**fields, **changes})


def newcomers(count: int, *, seed: int = 0, likes: int = 4) -> list[tuple[str, int]]:
    """Likes of users nobody knows yet, each of `likes` items of its own colour, mixed."""
    rng = np.random.default_rng(seed)
    pairs: list[tuple[str, int]] = []
    for user in range(count):
        own = rng.permutation(np.arange(user % 2, NUM_ITEMS, 2))[:likes]
        pairs += [(f"new{seed}-{user}", int(item)) for item in own]
    return [pairs[place] for place in rng.permutation(len(pairs))]


def batches(pairs: Sequence[tuple[str, int]], size: int = 16) -> Iterator[ExampleBatch]:
    """The likes in batches, in their order."""
    for start in range(0, len(pairs), size):
        yield shown(pairs[start : start + size], start=start)


def rank_of(learner: LiveLearner, user: str, item: int) -> int:
    """The rank, from 1, that the learner gives an item for a user now."""
    return int(_look(learner, user, item).rank[0])


def probability_of(learner: LiveLearner, user: str, item: int) -> float:
    """The probability of an item as the user's next like."""
    return float(np.exp(-_look(learner, user, item).loss[0]))


def _look(learner: LiveLearner, user: str, item: int) -> Seen:
    history = learner.users.history(user)
    writer = Writer(learner.tables.models.vocabulary, RECIPE.switches.wording, RECIPE.max_tokens)
    prompts = history_prompts(writer, RECIPE.switches, [learner.users.place(user)], [history], finetuned=True)
    number = learner.items.number(f"i{item}")
    asked = Asked(prompts, np.array([number]), [history])
    return look(
        learner.tables.models, asked, learner.tables.num_items, learner.counts.log_shares(), learner.temperature.value
    )


class Served:
    """What a scorer finds of one generation in Redis: programs, rows by table and id, items in the order of numbers."""

    def __init__(self, store: RowStore, generation: int) -> None:
        self.head = store.head(generation)
        described, programs = store.generation(generation), store.programs(generation)
        tables = list(described.tables)
        self.rows: dict[str, dict[int, Array]] = {table: {} for table in tables}
        for scanned in store.scan_rows(generation):
            for table, key, row, held in zip(
                scanned.tables.tolist(), scanned.ids.tolist(), scanned.rows.values, scanned.rows.found, strict=True
            ):
                if held:
                    self.rows[tables[table]][key] = row
        _, dense = store.dense(generation)
        new_items = unpack_items(dense[NEW_ITEMS].tobytes())
        places = len(self.rows[ITEMS])
        self.unpacked = unpack_programs(programs, user_places=1, item_places=places)
        self.items = self.unpacked.items + new_items

    def item(self, number: int) -> Array:
        """Its row (d + 1,)."""
        return self.rows[ITEMS][number]

    def user(self, name: str) -> Array | None:
        """Its row (d + 1,), None where there is none."""
        return self.rows[USERS].get(int(user_keys([name])[0]))

    def history(self, name: str) -> list[int]:
        """Item numbers liked, oldest first."""
        row = self.rows[HISTORIES].get(int(user_keys([name])[0]))
        return [] if row is None else history_of(row).tolist()

    def scores(self, user: str) -> Array:
        """(J,) of each item as the user's next like, by the fitted language model and what Redis holds."""
        row, models, config = self.user(user), self.unpacked.models, self.unpacked.config
        assert row is not None
        items = torch.from_numpy(np.stack([self.item(number) for number in range(len(self.items))]))
        with torch.no_grad():
            models.collaborative.table.copy_(torch.cat([torch.from_numpy(row[:-1]).unsqueeze(0), items[:, :-1]]))
            models.bias = torch.nn.Parameter(items[:, -1].clone())
        prompts = history_prompts(
            self.unpacked.writer, config.switches, [0], [np.array(self.history(user))], finetuned=True
        )
        scores: Array = score_prompts(models, prompts)[0]
        return scores


def _told(item: int) -> dict[str, Any]:
    return {"colour": COLOURS[item % 2], "number": item}
