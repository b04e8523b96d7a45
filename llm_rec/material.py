"""What an epoch reads: documents and prompts, written anew each time from the training likes and the texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm_rec.documents import Document, Review, Writer, ordered
from llm_rec.schedule import ScheduleConfig
from llm_rec.switches import Switches
from streams.contract.columns import Array

_LEAST_WITH_GAPS = 3


@dataclass(frozen=True, slots=True)
class Material:
    """Training likes of each user, oldest first; text of each item; reviews of training likes."""

    likes: Sequence[Array]
    texts: Sequence[str]
    reviews: Sequence[Review] = ()

    @property
    def has_content(self) -> bool:
        """Whether there is any text to read."""
        return bool(self.reviews) or any(text.strip() for text in self.texts)

    def known_items(self) -> Array:
        """Whether an item has training likes (J,) bool."""
        known = np.zeros(len(self.texts), dtype=np.bool_)
        for items in self.likes:
            known[items] = True
        return known


def interaction_documents(
    material: Material, writer: Writer, switches: Switches, schedule: ScheduleConfig, rng: np.random.Generator
) -> list[Document]:
    """Every user's likes in the order of pretraining, some left out where the schedule says so."""
    documents: list[Document] = []
    for user, items in enumerate(material.likes):
        items = _with_gaps(items, schedule.left_out_share, rng)
        documents += writer.interactions(_named(user, schedule, rng), ordered(items, switches.pretrain_order, rng))
    return documents


def content_documents(material: Material, writer: Writer) -> list[Document]:
    """What is known of each item, then the reviews."""
    documents = [writer.content(item, text) for item, text in enumerate(material.texts) if text.strip()]
    return documents + [writer.review(review) for review in material.reviews]


def finetuning_prompts(
    material: Material, writer: Writer, switches: Switches, schedule: ScheduleConfig, rng: np.random.Generator
) -> tuple[list[Array], list[Array]]:
    """(prompts, target item numbers) of each user with likes: some likes masked, the others in the prompt."""
    prompts: list[Array] = []
    targets: list[Array] = []
    for user, items in enumerate(material.likes):
        if not len(items):
            continue
        masked = _mask(len(items), schedule.masked_share, rng)
        given = ordered(writer.newest(items[~masked]), switches.finetune_order, rng)
        prompts.append(writer.prompt(_named(user, schedule, rng), given))
        targets.append(items if switches.target == "all" else items[masked])
    return prompts, targets


def _with_gaps(items: Array, share: float, rng: np.random.Generator) -> Array:
    """The items (n,) without those that are drawn to be left out; all where there are too few to spare any."""
    return items if not share or len(items) < _LEAST_WITH_GAPS else items[rng.random(len(items)) >= share]


def _mask(num_items: int, share: float, rng: np.random.Generator) -> Array:
    """Which items are masked (n,) bool: the share of them, rounded down, but at least one."""
    masked = np.zeros(num_items, dtype=np.bool_)
    masked[rng.permutation(num_items)[: max(1, int(share * num_items))]] = True
    return masked


def _named(user: int, schedule: ScheduleConfig, rng: np.random.Generator) -> int | None:
    if schedule.anonymous_share and rng.random() < schedule.anonymous_share:
        return None
    return user
