"""One forward pass a user: history in, a score for every item out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llm_rec.batches import batch_of, rows_of_like_length
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
    scores: Floats = models.scores_of(prompt_queries(models, prompts)).cpu().numpy()
    return scores


@torch.no_grad()
def prompt_queries(models: Models, prompts: Sequence[Array]) -> Tensor:
    """(B, q) float32: what each prompt asks of the items. Rows of like length go together."""
    lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
    queries = torch.empty(len(prompts), models.query_width, device=models.device)
    models.backbone.set_dropout(False)
    for rows in rows_of_like_length(lengths, _MOST_TOKENS):
        batch = batch_of([Document(prompts[row], _NOTHING) for row in rows], models.device)
        queries[torch.from_numpy(rows)] = models.queries(batch)
    return queries
