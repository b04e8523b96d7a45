"""One set of embeddings for user and item tokens; CLLM4Rec has two, collaborative and content.

Both enter the language model where its words' embeddings do. Prior (Zhu et al. 2024, section 3.3):
z_l ~ N(0, I / lambda_l) for the collaborative set, z_c | z_l ~ N(z_l, I / lambda_c) for the content set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_rec.backbone import Backbone
from llm_rec.vocabulary import Vocabulary


class IdEmbeddings(nn.Module):
    """table (I + J, d): users first, then items."""

    def __init__(self, vocabulary: Vocabulary, width: int, *, std: float, generator: torch.Generator) -> None:
        super().__init__()
        rows = vocabulary.num_users + vocabulary.num_items
        self.num_words = vocabulary.num_words
        self.num_users = vocabulary.num_users
        self.table = nn.Parameter(torch.randn(rows, width, generator=generator) * std)

    @property
    def items(self) -> Tensor:
        """The item embeddings (J, d), which are the item head too."""
        return self.table[self.num_users :]

    def embed(self, tokens: Tensor, backbone: Backbone) -> Tensor:
        """Tokens (B, T) of the whole vocabulary -> (B, T, d): IDs from this set, words from the backbone."""
        is_id = self.is_id(tokens)
        words = backbone.embed(tokens.masked_fill(is_id, 0))
        ids = functional.embedding((tokens - self.num_words).clamp(min=0), self.table)
        return torch.where(is_id.unsqueeze(-1), ids, words)

    def is_id(self, tokens: Tensor) -> Tensor:
        """Which of the tokens are users or items, bool of the same shape."""
        return tokens >= self.num_words

    def rows(self, tokens: Tensor) -> Tensor:
        """The table's rows (K,) of those tokens that are users or items, in order, repeated where they are."""
        return tokens[self.is_id(tokens)] - self.num_words
