"""One pass over a turn's likes: each is looked at with the present model, and the gradient of the same loss is kept.

    loss_l = -ln softmax over the candidates of (scores of like l's prompt / temperature)_target

Candidates are all items of the catalogue but those in the user's history: what is served leaves them out, too. Without
that the softmax would push down, for everyone alike, what the user liked before. L likes, B rows at once, J items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llm_rec.batches import batch_of, rows_sorted
from llm_rec.documents import Document
from llm_rec.models import Models
from streams.contract.columns import Array

_MOST_TOKENS = 1 << 14
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Asked:
    """L likes: prompts (T,) each, target item numbers (L,), and the histories that are no candidates."""

    prompts: Sequence[Array]
    targets: Array
    histories: Sequence[Array]


@dataclass(frozen=True, slots=True)
class Seen:
    """Of each like (L,): losses in nats and the target's ranks among the candidates, from 1; `base` is popularity."""

    loss: Array
    base_loss: Array
    rank: Array
    base_rank: Array
    slope: Array
    """Of the loss, by the logarithm of the temperature."""


def look(models: Models, asked: Asked, num_items: int, log_shares: Array, temperature: float) -> Seen:
    """What the models say before the likes are learnt. Where the table takes gradients, those of the loss's sum are
    left there. `log_shares` (num_items,): what the popularity model says of each item.
    """
    num_likes = len(asked.targets)
    seen = Seen(*(np.zeros(num_likes, dtype=dtype) for dtype in (float, float, np.int64, np.int64, float)))
    shares = torch.from_numpy(log_shares)
    for rows in _blocks(asked, models.vocabulary.num_items):
        batch = batch_of([Document(asked.prompts[row], _NOTHING) for row in rows], models.device)
        left_out = _left_out([asked.histories[row] for row in rows], num_items, models.vocabulary.num_items)
        target = torch.from_numpy(asked.targets[rows])
        scores = (models.item_scores(batch) / temperature).masked_fill(left_out, float("-inf"))
        losses = torch.logsumexp(scores, 1) - scores.gather(1, target.unsqueeze(1)).squeeze(1)
        if losses.requires_grad:
            losses.sum().backward()  # type: ignore[no-untyped-call]
        candidates = shares.expand(len(rows), -1).masked_fill(left_out[:, :num_items], float("-inf"))
        seen.loss[rows] = losses.detach().numpy()
        seen.base_loss[rows] = (torch.logsumexp(candidates, 1) - shares[target]).numpy()
        seen.rank[rows] = ranks_of(scores.detach(), target).numpy()
        seen.base_rank[rows] = ranks_of(candidates, target).numpy()
        seen.slope[rows] = _slopes(scores.detach(), target).numpy()
    return seen


@torch.no_grad()
def losses_of(models: Models, asked: Asked, num_items: int, temperature: float) -> Array:
    """(L,) the losses alone, by models that take no gradients; nan where they lack an item of the prompt or target."""
    first = models.vocabulary.first_item
    known = [row for row, prompt in enumerate(asked.prompts)
             if asked.targets[row] < num_items and int(prompt.max()) < first + num_items]  # fmt: skip
    losses: Array = np.full(len(asked.targets), np.nan)
    if known:
        part = Asked([asked.prompts[row] for row in known], asked.targets[known], [asked.histories[r] for r in known])
        losses[known] = look(models, part, num_items, np.zeros(num_items), temperature).loss
    return losses


def ranks_of(scores: Tensor, target: Tensor) -> Tensor:
    """(B,) rank of the target (B,) in scores (B, J), from 1; equals stand in the order of item numbers."""
    own = scores.gather(1, target.unsqueeze(1))
    before = torch.arange(scores.shape[1]).unsqueeze(0) < target.unsqueeze(1)
    return 1 + (scores > own).sum(1) + ((scores == own) & before).sum(1)


def _slopes(scaled: Tensor, target: Tensor) -> Tensor:
    """(B,) d loss / d ln temperature of scores over temperature (B, J): the target's less the expected one."""
    expected = (torch.softmax(scaled, 1) * scaled.masked_fill(scaled == float("-inf"), 0.0)).sum(1)
    return scaled.gather(1, target.unsqueeze(1)).squeeze(1) - expected


def _left_out(histories: Sequence[Array], num_items: int, places: int) -> Tensor:
    """(B, J) bool: places that are no item yet, and what is in the history."""
    left_out = np.zeros((len(histories), places), dtype=np.bool_)
    left_out[:, num_items:] = True
    for row, items in enumerate(histories):
        left_out[row, items] = True
    return torch.from_numpy(left_out)


def _blocks(asked: Asked, places: int) -> list[Array]:
    """Rows of like length together; neither tokens nor scores of a block take much memory."""
    lengths = np.array([len(prompt) for prompt in asked.prompts], dtype=np.int64)
    most = min(_MOST_TOKENS // int(lengths.max(initial=1)), _BLOCK_BYTES // (4 * places))
    return rows_sorted(lengths, max(1, most))


_NOTHING: Array = np.zeros(0, dtype=np.int64)
