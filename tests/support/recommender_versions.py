"""A small recommender that a test publishes by hand, and the scores that it must then serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.cllm4rec_recipes import cllm4rec_small, cllm4rec_small_paper
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Writer
from llm_rec.history_path import HistoryPath
from llm_rec.models import Models, build_models
from llm_rec.packed import pack_programs
from llm_rec.scoring import history_prompts, score_prompts
from streams.contract.columns import Array
from streams.contract.manifest import Manifest, ModelUpdate, Rows
from streams.contract.recommend_wire import RECOMMENDER
from streams.contract.recommender import (
    HISTORIES,
    ITEMS,
    NEW_ITEMS,
    TEMPERATURE,
    USERS,
    Item,
    history_rows,
    pack_items,
    recommender_schema,
    user_keys,
)
from streams.log.event_log import RECOMMENDER_UPDATES, EventLog
from streams.store.row_store import RowStore
from streams.versions.commit import Committer, PublishTarget

WIDTH = 16


def small_config() -> Cllm4recConfig:
    """A GPT-2-shaped model, random from a seed, that ranks after a fine-tuning prompt, which names the user."""
    return _small(cllm4rec_small_paper())


def nameless_config() -> Cllm4recConfig:
    """One that ranks after the history alone, whoever the user is."""
    return _small(cllm4rec_small())


def _small(recipe: Cllm4recConfig) -> Cllm4recConfig:
    shape = BackboneConfig(kind="gpt2-small-shape", trainable=True, width=WIDTH, layers=1, heads=2, positions=128)
    return replace(recipe, backbone=shape, max_tokens=120, start=None)


def items_named(*names: str) -> list[Item]:
    """Items of those names, each with a text and a feature."""
    return [Item(name, f"what {name} is", {"category": name[:1]}) for name in names]


@dataclass
class PublishedRecommender:
    """One generation. `item_rows`, `user_rows` and `histories` are what a reference score uses, by number or name."""

    log: EventLog
    store: RowStore
    catalogue: list[Item]
    seed: int = 0
    """What the language model's own weights are moved by: generations of two seeds score differently."""
    config: Cllm4recConfig = field(default_factory=small_config)
    path_rank: int = 0
    """Of the history's way beside the language model; 0: none."""
    learnt: Models | None = None
    """What the generation's programs hold in the place of random weights; `expected` knows nothing of it."""
    temperature: float = 1.0

    def __post_init__(self) -> None:
        self.width = load_backbone(self.config.backbone).width
        self.schema = recommender_schema(self.width)
        self.new_items: list[Item] = []
        self.item_rows: dict[int, Array] = {}
        self.user_rows: dict[str, Array] = {}
        self.histories: dict[str, Array] = {}
        self.update: ModelUpdate | None = None
        programs = pack_programs(self.config, self.learnt or self._models(0), self.catalogue)
        self._committer = Committer(PublishTarget(
            log=self.log, store=self.store, schema=self.schema, network={}, programs=programs,
            topic=RECOMMENDER_UPDATES, recipe=self.config.name, new_generation=True,
        ))  # fmt: skip

    @property
    def version(self) -> int:
        """The newest version made."""
        return 0 if self.update is None else self.update.manifest.version

    @property
    def generation(self) -> int:
        """Its number."""
        assert self._committer.generation is not None
        return self._committer.generation.generation

    @property
    def items(self) -> list[Item]:
        """The whole catalogue."""
        return [*self.catalogue, *self.new_items]

    def begin(self, *, users: Sequence[str] = (), live: bool = True) -> None:
        """The first version: a random row of every item and of those users; `live`: in the place of what was."""
        self._committer.recover()
        self.publish(
            items=self.random_rows(range(len(self.catalogue)), seed=self.seed),
            users=dict(zip(users, self.random_rows(range(len(users)), seed=self.seed + 1).values(), strict=True)),
        )
        if live:
            self.store.set_live(self.generation)

    def publish(
        self,
        *,
        items: Mapping[int, Array] | None = None,
        users: Mapping[str, Array] | None = None,
        histories: Mapping[str, Sequence[int]] | None = None,
        new_items: Sequence[Item] = (),
        gone: Sequence[int] = (),
        to_store: bool = True,
    ) -> ModelUpdate:
        """The next version: to the log, then (unless told otherwise) to the store. `gone` are numbers of items."""
        update = self.next_version(items or {}, users or {}, histories or {}, new_items, gone)
        self._committer.write_generation()
        self.append(update)
        if to_store:
            self.write(update)
        return update

    def append(self, update: ModelUpdate) -> None:
        """Writes a version to the log."""
        self._committer.append(update)

    def write(self, update: ModelUpdate) -> None:
        """Writes a version to the store."""
        self._committer.write(update)

    def next_version(
        self,
        items: Mapping[int, Array],
        users: Mapping[str, Array],
        histories: Mapping[str, Sequence[int]],
        new_items: Sequence[Item] = (),
        gone: Sequence[int] = (),
    ) -> ModelUpdate:
        """Changes what a reference score uses, and returns the change."""
        self.new_items += new_items
        self.item_rows.update(items)
        self.user_rows.update(users)
        self.histories.update({name: np.array(likes, dtype=np.int64) for name, likes in histories.items()})
        for number in gone:
            self.item_rows.pop(number, None)
        rows = {
            ITEMS: _rows(np.array(list(items), dtype=np.int64), list(items.values()), self.width + 1),
            USERS: _rows(user_keys(list(users)), list(users.values()), self.width + 1),
            HISTORIES: Rows(
                user_keys(list(histories)),
                history_rows([self.histories[name] for name in histories], self.width + 1),
            ),
        }
        dense: dict[str, Array] = {NEW_ITEMS: np.frombuffer(pack_items(self.new_items), dtype=np.uint8)}
        if self.temperature != 1:
            dense[TEMPERATURE] = np.array([self.temperature], dtype=np.float32)
        tombstones = {ITEMS: np.array(gone, dtype=np.int64)} if gone else {}
        self.update = ModelUpdate(self._manifest(), dense, {t: r for t, r in rows.items() if len(r.ids)}, tombstones)
        return self.update

    def random_rows(self, numbers: Sequence[int], seed: int = 0) -> dict[int, Array]:
        """Random rows (D,) by number."""
        rng = np.random.default_rng(seed)
        return {number: rng.normal(size=self.width + 1).astype(np.float32) for number in numbers}

    def expected(self, user: str, history: Sequence[int] | None = None) -> Array:
        """Logarithms (J,) of each item's probability of being the next like; -inf for an item without a row.

        `history` stands in the place of what was published of the user.
        """
        likes = self.histories.get(user, _NOTHING) if history is None else np.array(history, dtype=np.int64)
        schedule = self.config.schedule
        row = self.user_rows.get(user) if schedule.anonymous_share < 1 else None
        models, places = self._models(len(self.items)), np.array(sorted(self.item_rows), dtype=np.int64)
        with torch.no_grad():
            models.collaborative.table.zero_()
            if row is not None:
                models.collaborative.table[0] = torch.from_numpy(row[: self.width])
            for number in places.tolist():
                models.collaborative.items[number] = torch.from_numpy(self.item_rows[number][: self.width])
        writer = Writer(models.vocabulary, self.config.switches.wording, self.config.max_tokens)
        switches = replace(self.config.switches, eval_order="chrono")
        prompts = history_prompts(
            writer, switches, [None if row is None else 0], [likes], finetuned=schedule.finetuning_epochs > 0
        )  # fmt: skip
        logits = np.full(len(self.items), -np.inf)
        bias = np.array([self.item_rows[number][-1] for number in places.tolist()])
        logits[places] = (score_prompts(models, prompts)[0, places].astype(np.float64) + bias) / self.temperature
        scores: Array = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        return scores

    def _manifest(self) -> Manifest:
        version = max(self.version + 1, self._committer.next_version)
        return Manifest(
            model=RECOMMENDER, version=version, parent=self.version,
            generation=self.generation, feature_hash=self.schema.hash, recipe=self.config.name,
            newest_ingest_ms=1000 + version, newest_event_time_ms=version, created_ms=version,
        )  # fmt: skip

    def _models(self, num_items: int) -> Models:
        """The language model with its weights moved, and fresh rows of one user and the items."""
        models = build_models(load_backbone(self.config.backbone), 1, num_items, id_std=0.02, seed=0, device="cpu",
                              bfloat16=False)  # fmt: skip
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for _, parameter in models.backbone.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        models.path = self._path(max(num_items, len(self.catalogue)), generator) if self.path_rank else None
        return models

    def _path(self, num_items: int, generator: torch.Generator) -> HistoryPath:
        """A random way for the items of the start; those that came later have none."""
        later = torch.zeros(num_items - len(self.catalogue), self.path_rank)
        sides = [
            torch.cat([torch.randn(len(self.catalogue), self.path_rank, generator=generator), later]) for _ in range(2)
        ]
        return HistoryPath(*sides, weight=0.7, decay=0.8)


_NOTHING: Array = np.zeros(0, dtype=np.int64)


def _rows(ids: Array, values: Sequence[Array], dim: int) -> Rows:
    return Rows(ids, np.stack(values).astype(np.float32) if values else np.zeros((0, dim), dtype=np.float32))
