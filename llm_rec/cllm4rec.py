"""CLLM4Rec: a frozen language model that reads users and items as tokens, and recommends in one forward pass.

Zhu et al., "Collaborative Large Language Model for Recommender Systems", WWW 2024; docs/cllm4rec.md has
the drawing and what is done otherwise than in the paper and in its code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from llm_rec.backbone import load_backbone
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Review, Writer
from llm_rec.fusion import fuse
from llm_rec.interactions import Catalogue
from llm_rec.item_bias import add_item_bias
from llm_rec.item_weights import words_of
from llm_rec.material import Material
from llm_rec.models import Models, build_models
from llm_rec.new_items import NewItems
from llm_rec.run_file import has_run
from llm_rec.scoring import history_prompts, score_prompts
from llm_rec.selection import validated
from llm_rec.splits import Split
from llm_rec.text_start import started_at_texts
from llm_rec.training import Trainer
from streams.command import say
from streams.contract.columns import Array
from streams.contract.errors import ConflictError
from streams.contract.values import Floats


class CLLM4Rec:
    """A `Recommender`: history in, scores of all items out.

    Users without training likes, or with a number outside the split's, are scored by their history
    alone. Items without training likes are scored by their content embedding.
    """

    def __init__(
        self,
        config: Cllm4recConfig,
        *,
        folder: Path | None = None,
        reviews: Sequence[Review] = (),
        tell: Callable[[str], None] = say,
    ) -> None:
        """`folder` holds the run between epochs, so that a killed one goes on; reviews are of training likes."""
        self._config = config
        self._folder = folder
        self._reviews = tuple(reviews)
        self._tell = tell
        self._learnt: tuple[Models, Writer] | None = None
        self._known: Array = np.zeros(0, dtype=np.bool_)

    @property
    def name(self) -> str:
        return self._config.name

    def fit(self, split: Split, catalogue: Catalogue, *, seed: int) -> None:
        """Pretrains and fine-tunes on `split.train`; `split.valid` chooses among fine-tuning epochs.

        Raises InputError for a backbone that cannot be had or settings that do not fit together.
        """
        config = self._config
        backbone = load_backbone(config.backbone)
        self._tell(f"{self.name}: {backbone.num_words} words of width {backbone.width}, "
                   f"standard deviation {backbone.embedding_std:.3f}")  # fmt: skip
        models = build_models(
            backbone, len(split.users), len(split.items),
            id_std=config.id_std, seed=seed, device=config.device, bfloat16=config.bfloat16,
        )  # fmt: skip
        writer = Writer(models.vocabulary, config.switches.wording, min(config.max_tokens, backbone.max_tokens))
        if config.switches.item_bias == "likes":
            add_item_bias(models, split.train)
        self._known = np.array([len(items) > 0 for items in split.train], dtype=np.bool_)
        self._known &= config.schedule.anonymous_share < 1  # no user token has learnt anything otherwise
        self._learnt = models, writer
        if config.start is not None and not has_run(self._folder):
            self._tell("item embeddings start at what a language model reads of the items' texts")
            with torch.no_grad():
                items = models.collaborative.items
                items.copy_(started_at_texts(items, catalogue.texts, config.start))
        material, words = Material(split.train, catalogue.texts, self._reviews), words_of(catalogue.texts)
        new_items = NewItems(material, config.new_items_from, words)
        Trainer(
            models, writer, material, config,
            seed=seed, validate=lambda: self._validation(split, new_items), tell=self._tell,
        ).run(self._folder)  # fmt: skip
        new_items.graft(models)
        if config.fusion is not None:
            fuse(models, writer, self.scores, split, words, new_items, config.fusion, self._tell)

    def scores(self, users: Array, histories: list[Array]) -> Floats:
        """(B, J) float32 of users (B,) and their histories, oldest first; larger is better, nothing is masked.

        Raises ConflictError before `fit`.
        """
        named = [user if 0 <= user < len(self._known) and self._known[user] else None for user in users.tolist()]
        finetuned = self._config.schedule.finetuning_epochs > 0
        prompts = history_prompts(self.writer, self._config.switches, named, histories, finetuned=finetuned)
        return score_prompts(self.models, prompts)

    @property
    def models(self) -> Models:
        """What was learnt. Raises ConflictError before `fit`."""
        return self._parts()[0]

    @property
    def writer(self) -> Writer:
        """What writes the prompts. Raises ConflictError before `fit`."""
        return self._parts()[1]

    def _parts(self) -> tuple[Models, Writer]:
        if self._learnt is None:
            raise ConflictError("has learnt nothing yet", field=self.name, remedy="call fit first")
        return self._learnt

    def _validation(self, split: Split, new_items: NewItems) -> float:
        """The validation score of the state as it is, new items being what they will be when it is asked."""
        with new_items.grafted(self.models):
            return validated(split, lambda users, histories: [("as it is", self.scores(users, histories))])["as it is"]
