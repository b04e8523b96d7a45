"""The two language models of CLLM4Rec: one backbone, two sets of ID embeddings.

collaborative   reads interactions; from fine-tuning on it is the recommender
content         reads texts of items and reviews
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llm_rec.backbone import Backbone
from llm_rec.batches import Batch
from llm_rec.history_path import HistoryPath
from llm_rec.id_embeddings import IdEmbeddings
from llm_rec.vocabulary import Vocabulary


@dataclass(slots=True)
class Models:
    """What is learnt, and the language model that both share."""

    backbone: Backbone
    vocabulary: Vocabulary
    collaborative: IdEmbeddings
    content: IdEmbeddings
    device: torch.device
    bfloat16: bool
    bias: nn.Parameter | None = None
    """(J,) added to the items' scores, where the items have one."""
    path: HistoryPath | None = None
    """Scores of the history beside the language model's, where there is such a way."""

    def states(self, batch: Batch, ids: IdEmbeddings) -> Tensor:
        """Hidden states (B, T, d) of the batch's rows, their IDs embedded by `ids`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.backbone.forward(ids.embed(batch.tokens, self.backbone))

    def item_head(self) -> Tensor:
        """The items' head (J, q): their embeddings, and behind them their bias where they have one."""
        items = self.collaborative.items
        return items if self.bias is None else torch.cat([items, self.bias.unsqueeze(1)], 1)

    def for_item_head(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., d) as the item head takes them (..., q), in float32: a 1 stands for the bias."""
        hidden = hidden.float()
        return hidden if self.bias is None else torch.cat([hidden, torch.ones_like(hidden[..., :1])], -1)

    @property
    def query_width(self) -> int:
        """q."""
        return self.backbone.width + (0 if self.path is None else self.path.rank)

    def queries(self, batch: Batch) -> Tensor:
        """(B, q) float32: what each row asks of the items: its last hidden state, and what its history says beside."""
        hidden = batch.last(self.states(batch, self.collaborative)).float()
        if self.path is None:
            return hidden
        return torch.cat([hidden, self.path.said(batch.tokens - self.vocabulary.first_item)], 1)

    def scores_of(self, queries: Tensor) -> Tensor:
        """(B, J): what the language model gives each item as the next of each row, and the history beside it."""
        hidden, said = queries.tensor_split([self.backbone.width], 1)
        scores = self.for_item_head(hidden) @ self.item_head().T
        return scores if self.path is None else scores + self.path.scores_of(said)

    def item_scores(self, batch: Batch) -> Tensor:
        """(B, J): each item as the next of each row."""
        return self.scores_of(self.queries(batch))

    def learnt(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All that learns or is chosen, by name."""
        yield "collaborative", self.collaborative.table
        yield "content", self.content.table
        if self.bias is not None:
            yield "bias", self.bias
        if self.path is not None:
            yield from ((f"path.{name}", parameter) for name, parameter in self.path.named_parameters())
        for name, parameter in self.backbone.parameters():
            yield f"backbone.{name}", parameter

    def snapshot(self) -> dict[str, Tensor]:
        """A copy of all that learns."""
        return {name: parameter.detach().clone() for name, parameter in self.learnt()}

    @torch.no_grad()
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Puts a snapshot back."""
        for name, parameter in self.learnt():
            parameter.copy_(snapshot[name])


def build_models(
    backbone: Backbone, num_users: int, num_items: int, *, id_std: float | None, seed: int, device: str, bfloat16: bool
) -> Models:
    """Both models with fresh ID embeddings from N(0, id_std^2); None: as wide as the backbone's own words."""
    place = torch.device(device)
    vocabulary = Vocabulary(backbone.tokenize, backbone.num_words, num_users, num_items)
    std = backbone.embedding_std if id_std is None else id_std
    generator = torch.Generator().manual_seed(seed)
    sets = [IdEmbeddings(vocabulary, backbone.width, std=std, generator=generator) for _ in range(2)]
    backbone.to(place)
    collaborative, content = (ids.to(place) for ids in sets)
    return Models(backbone, vocabulary, collaborative, content, place, bfloat16)
