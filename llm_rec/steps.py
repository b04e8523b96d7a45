"""The loss of one batch of each task; each set learns with the other held constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llm_rec.batches import Batch, batch_of
from llm_rec.documents import Document
from llm_rec.losses import language_loss, multinomial_loss, mutual_regularisation, prior
from llm_rec.models import Models
from llm_rec.switches import Switches
from streams.contract.columns import Array


def collaborative_loss(models: Models, batch: Batch, switches: Switches) -> Tensor:
    """Items of interaction documents, predicted among items; held to the content set (L-step)."""
    ids, first = models.collaborative, models.vocabulary.first_item
    states = models.states(batch, ids)
    states = models.for_item_head(states)
    loss = language_loss(states, batch, models.item_head(), first, skip_first=switches.first_main_token == "skip")
    rows = ids.rows(batch.tokens)
    loss = loss + mutual_regularisation(ids.table, models.content.table, rows, switches)
    return loss + prior(ids.table, rows, switches) if switches.lambda_l else loss


def content_loss(models: Models, batch: Batch, switches: Switches, *, regularised: bool) -> Tensor:
    """Words of texts, predicted among words; held to the collaborative set (C-step)."""
    ids = models.content
    states = models.states(batch, ids)
    loss = language_loss(states, batch, models.backbone.words(), 0, skip_first=switches.first_main_token == "skip")
    if not regularised:
        return loss
    rows = ids.rows(batch.tokens)
    return loss + mutual_regularisation(ids.table, models.collaborative.table, rows, switches)


def recommend_loss(models: Models, prompts: Sequence[Array], targets: Sequence[Array], switches: Switches) -> Tensor:
    """Target items of prompts, all at once from the last hidden state; held to the content set."""
    ids = models.collaborative
    batch = batch_of([Document(prompt, _NOTHING) for prompt in prompts], models.device)
    hidden = models.for_item_head(batch.last(models.states(batch, ids)))
    rows = ids.rows(batch.tokens)
    if switches.regularise_targets:
        held = torch.from_numpy(np.concatenate(targets)).to(models.device) + models.vocabulary.num_users
        rows = torch.cat([rows, held])
    loss = multinomial_loss(hidden, models.item_head(), targets)
    return loss + mutual_regularisation(ids.table, models.content.table, rows, switches)


_NOTHING: Array = np.zeros(0, dtype=np.int64)
