"""What is put beside the language model's scores, and how much of it: chosen on validation likes.

history      linear weights of likes and texts in closed form, over the history
popularity   the logarithm of an item's likes
newness      a constant for items without training likes, which training only ever saw as wrong answers

Each is fitted alone and then weighed by what it finds of others' likes, so none is trusted for remembering
its own training likes (stacking, Wolpert 1992).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.sparse import csr_array

from llm_rec.documents import Writer
from llm_rec.history_path import HistoryPath, path_of
from llm_rec.item_bias import log_likes
from llm_rec.item_weights import closed_form, liked_together, most_liked, worded_alike
from llm_rec.models import Models
from llm_rec.new_items import NewItems
from llm_rec.selection import Candidate, validated
from llm_rec.splits import Split
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.values import Floats

Score = Callable[[Array, list[Array]], Floats]


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """Among what validation chooses; the weights are in units of the language model's scores, which are logits."""

    l2: tuple[float, ...] = (100.0, 1000.0)
    """lambda of the linear weights."""
    decays: tuple[float, ...] = (1.0, 0.9, 0.8, 0.7)
    """What an item's share in the history is multiplied by for each newer one."""
    weights: tuple[float, ...] = (0.0, 4.0, 8.0, 16.0, 32.0, 64.0)
    """Of the history."""
    popularities: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Of popularity."""
    newness: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0)
    newness_cost: float = 0.005
    """The largest newness is taken that finds at most this share less than the best: nobody likes what is not shown."""
    text_weight: float = 5.0
    """How many users two items' words are, where they have the same."""
    rank: int = 256
    """Of the linear weights: scoring takes as many numbers an item."""

    def __post_init__(self) -> None:
        for name in ("l2", "decays", "weights", "popularities", "newness"):
            if not getattr(self, name):
                raise InputError("names nothing to choose among", field=f"fusion.{name}", value=())
        if not all(0 < decay <= 1 for decay in self.decays):
            raise InputError("must be above 0 and at most 1", field="fusion.decays", value=self.decays)
        if not 0 <= self.newness_cost < 1:
            raise InputError("is a share, 0 or more and below 1", field="fusion.newness_cost", value=self.newness_cost)
        if self.rank < 1:
            raise InputError("must be 1 or more", field="fusion.rank", value=self.rank)


@torch.no_grad()
def fuse(models: Models, writer: Writer, scores: Score, split: Split, words: csr_array, new_items: NewItems,
         config: FusionConfig, tell: Callable[[str], None]) -> None:  # fmt: skip
    """Chooses in turn the history's lambda and decay for what it finds alone, both weights together, and newness.

    `scores` are those of `models` as they are when asked, `words` (J, W) those of the items' texts. Of very many items
    the most liked have linear weights.
    """
    bias, num_items = models.bias, len(split.items)
    assert bias is not None, "the configuration asks for one"
    path = _best_path(split, words, writer, config, tell).to(models.device)
    popularity = new_items.filled(log_likes(split.train, num_items))
    weight, share = _best("history and popularity", validated(split, lambda users, histories: _weighed(
        scores(users, histories), _scores(path, writer, histories), popularity.numpy(), config)), tell)  # fmt: skip
    path.weight.fill_(weight)
    models.path = path if weight else None
    bias.add_(share * popularity.to(models.device))
    is_new = new_items.marked(num_items)
    by_newness = validated(split, lambda users, histories: (
        (each, found + each * is_new) for found in [scores(users, histories)] for each in config.newness
    ))  # fmt: skip
    newness = largest_within(by_newness, config.newness_cost)
    tell(f"newness: {newness:g}, validation {by_newness[newness]:.4f}, best {max(by_newness.values()):.4f}")
    bias.add_(newness * torch.from_numpy(is_new).to(models.device))


def largest_within(found: dict[float, float], cost: float) -> float:
    """The largest key whose value falls short of the best by at most that share of it."""
    return max(key for key, value in found.items() if value >= (1 - cost) * max(found.values()))


def _best_path(split: Split, words: csr_array, writer: Writer, config: FusionConfig,
               tell: Callable[[str], None]) -> HistoryPath:  # fmt: skip
    """The way that finds most on validation alone, with weight 1."""
    num_items = len(split.items)
    kept = most_liked(split.train, num_items)
    place = np.full(num_items, -1)
    place[kept] = np.arange(len(kept))
    likes = [place[items][place[items] >= 0] for items in split.train]
    gram = liked_together(likes, len(kept)) + config.text_weight * worded_alike(words[kept])
    paths = {
        l2: path_of(torch.from_numpy(closed_form(gram, l2)).float(), config.rank).spread(
            torch.from_numpy(kept), num_items)
        for l2 in config.l2
    }  # fmt: skip
    l2, decay = _best("lambda and decay of the history alone", validated(
        split, lambda _, histories: _alone(paths, writer, histories, config)), tell)  # fmt: skip
    paths[l2].decay.fill_(decay)
    return paths[l2]


def _alone(
    paths: dict[float, HistoryPath], writer: Writer, histories: list[Array], config: FusionConfig
) -> Iterator[tuple[tuple[float, float], Floats]]:
    for (l2, path), decay in product(paths.items(), config.decays):
        path.decay.fill_(decay)
        yield (l2, decay), _scores(path, writer, histories)


def _weighed(
    scores: Floats, beside: Floats, popularity: Floats, config: FusionConfig
) -> Iterator[tuple[tuple[float, float], Floats]]:
    for weight, share in product(config.weights, config.popularities):
        yield (weight, share), scores + weight * beside + share * popularity


def _scores(path: HistoryPath, writer: Writer, histories: list[Array]) -> Floats:
    """(B, J) of what prompts have room for, as it will be in them."""
    histories = [writer.newest(history) for history in histories]
    items = np.full((len(histories), max(map(len, histories), default=0)), -1, dtype=np.int64)
    for row, history in zip(items, histories, strict=True):
        row[: len(history)] = history
    scores: Floats = path(torch.from_numpy(items).to(path.given.device)).cpu().numpy()
    return scores


def _best(what: str, found: dict[Candidate, float], tell: Callable[[str], None]) -> Candidate:
    best = max(found, key=lambda candidate: found[candidate])
    tell(f"{what}: {best}, validation {found[best]:.4f} (of {len(found)} from {min(found.values()):.4f} on)")
    return best
