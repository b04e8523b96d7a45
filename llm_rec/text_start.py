"""Where item embeddings start: at what a language model that can read makes of the items' texts.

states   X = U S W' are mean hidden states (J, h) of the reader over each text, less their mean;
         the start is the first d columns of U S^(1/2)
words    the start is the mean of the words' own embeddings (J, d), for a model that goes on with the reader's words

Either is scaled by the fresh embeddings' deviation, and some of those are added. So items that are told alike start
alike, before anybody has liked both. Source: Harte et al., "Leveraging Large Language Models for Sequential
Recommendation", RecSys 2023, section 3.3: principal components of a language model's embeddings are the first item
embeddings of a sequential recommender. The square root is this project's: the first components would drown the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from llm_rec.backbone import Backbone, BackboneConfig, load_backbone
from llm_rec.batches import Batch
from llm_rec.text_states import mean_states
from streams.contract.columns import Array
from streams.contract.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStartConfig:
    """Who reads, and how much of a text; the reader is needed while the start is made, never afterwards."""

    reader: BackboneConfig = field(default_factory=BackboneConfig)
    of: Literal["states", "words"] = "states"
    max_tokens: int = 48
    """The words of a text that are read."""
    width_share: float = 2.0
    """The start's standard deviation, in those of the fresh embeddings."""
    drawn_share: float = 0.3
    """How much of the fresh embeddings, drawn at random, is added: items without a text have that alone."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise InputError("must be 1 or more", field="start.max_tokens", value=self.max_tokens)
        for name in ("width_share", "drawn_share"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=f"start.{name}", value=getattr(self, name))


def started_at_texts(fresh: Tensor, texts: Sequence[str], config: TextStartConfig) -> Tensor:
    """Item embeddings (J, d) to start at, out of fresh ones (J, d) and J texts; an empty text is none.

    Raises InputError where the reader is not to be had, and where its words are of another width and start items.
    """
    told = np.flatnonzero([bool(text.strip()) for text in texts])
    start = torch.zeros_like(fresh)
    if len(told):
        found = _found([texts[item] for item in told], fresh.shape[1], config)
        scale = config.width_share * float(fresh.std()) / (float(found.std()) or 1.0)
        start[torch.from_numpy(told)] = torch.from_numpy(found * scale).to(fresh)
    return start + config.drawn_share * fresh


def _found(texts: Sequence[str], width: int, config: TextStartConfig) -> Array:
    """(N, width) of N texts, none of them empty."""
    reader = load_backbone(config.reader)
    if config.of == "states":
        return principal_components(_means(reader, texts, config), width)
    if reader.width != width:
        raise InputError(f"has words of width {reader.width}, and the items' embeddings have {width}",
                         field="start.reader", value=config.reader.kind, remedy='set start.of to "states"')  # fmt: skip
    return _means(reader, texts, config)


def principal_components(states: Array, width: int) -> Array:
    """(N, d): the first d columns of U S^(1/2) of states (N, h) less their mean; 0 behind the last one."""
    left, sizes, right = np.linalg.svd(states - states.mean(axis=0), full_matrices=False)
    # either sign of a direction is as good: this one is the same on every machine
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    found = (left * signs * np.sqrt(sizes))[:, :width]
    return np.pad(found, ((0, 0), (0, width - found.shape[1])))


def _means(reader: Backbone, texts: Sequence[str], config: TextStartConfig) -> Array:
    """(N, h) of N texts: the mean of the reader's hidden states, or of its words' embeddings."""
    rows = [np.array(reader.tokenize(text.strip())[: config.max_tokens] or [0], dtype=np.int64) for text in texts]

    def held(batch: Batch) -> Tensor:
        embedded = reader.embed(batch.tokens)
        return embedded if config.of == "words" else reader.forward(embedded)

    return mean_states(held, rows, reader.width, torch.device("cpu"))
