"""One forward pass a user: history in, a score for every item out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from llm_rec.batches import Batch, batch_of, rows_sorted
from llm_rec.documents import Document, Writer, ordered
from llm_rec.models import Models
from llm_rec.switches import Switches
from streams.contract.columns import Array
from streams.contract.values import Floats

_MOST_TOKENS = 1 << 14
_NO_USER = 0
_NOTHING: Array = np.zeros(0, dtype=np.int64)


def history_prompts(
    writer: Writer, switches: Switches, users: Sequence[int | None], histories: Sequence[Array], *, finetuned: bool
) -> list[Array]:
    """The prompt (T,) of each user and history, oldest first; None: a user who is not known.

    A random order is drawn from the seed and the user, so that a user's prompt is the same in any company.
    """
    write = writer.prompt if finetuned else writer.next_item
    prompts = []
    for user, items in zip(users, histories, strict=True):
        rng = np.random.default_rng([switches.eval_seed, _NO_USER if user is None else user + 1])
        prompts.append(write(user, ordered(writer.newest(items), switches.eval_order, rng)))
    return prompts


@torch.no_grad()
def score_prompts(models: Models, prompts: Sequence[Array]) -> Floats:
    """(B, J) float32: each item as the next behind each prompt."""
    scores = np.empty((len(prompts), models.vocabulary.num_items), dtype=np.float32)
    for rows, batch in _batches(models, prompts):
        scores[rows] = models.item_scores(batch).cpu().numpy()
    return scores


@torch.no_grad()
def prompt_states(models: Models, prompts: Sequence[Array]) -> Tensor:
    """(B, d) float32: the last hidden state of each prompt."""
    states = torch.empty(len(prompts), models.backbone.width, device=models.device)
    for rows, batch in _batches(models, prompts):
        states[torch.from_numpy(rows)] = batch.last(models.states(batch, models.collaborative)).float()
    return states


def _batches(models: Models, prompts: Sequence[Array]) -> Iterator[tuple[Array, Batch]]:
    """(numbers of prompts, those prompts): rows of like length go together."""
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    models.backbone.set_dropout(False)
    for rows in rows_sorted(lengths, max(1, _MOST_TOKENS // int(lengths.max(initial=1)))):
        yield rows, batch_of([Document(prompts[row], _NOTHING) for row in rows], models.device)
