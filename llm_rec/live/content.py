"""An embedding for an item that nobody has liked yet: a linear map from its text, fitted on the items that are known.

x_j   mean hidden state (d,) of the language model over item j's text
z_j   its collaborative embedding (d,), for an item that was liked
W     argmin sum_j |z_j - mean z - W (x_j - mean x) / std x|^2 + ridge |W|^2        (Hoerl and Kennard 1970)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from llm_rec.models import Models
from llm_rec.text_states import mean_states
from streams.contract.columns import Array

_LEAST_STD = 1e-6


class ContentMap:
    """Texts to embeddings. Frozen: it is a function of the model it was fitted on."""

    def __init__(self, models: Models, max_tokens: int, texts: Sequence[str], known: Array, *, ridge: float) -> None:
        """`texts` (J,) of all items with a row; `known` (J,) bool: those whose rows were learnt from likes."""
        self._models, self._max_tokens = models, max_tokens
        told = np.flatnonzero(known & np.array([bool(text) for text in texts], dtype=np.bool_))
        bias = torch.zeros(len(texts)) if models.bias is None else models.bias.detach()
        rows = torch.cat([models.collaborative.items.detach(), bias.unsqueeze(1)], 1)
        wanted = rows[torch.from_numpy(told)].cpu().double().numpy()
        self._mean_row = wanted.mean(axis=0) if len(told) else np.zeros(models.backbone.width + 1)
        features = self._states([texts[item] for item in told])
        self._mean = features.mean(axis=0) if len(told) else np.zeros(models.backbone.width)
        self._std = features.std(axis=0) + _LEAST_STD if len(told) else np.ones(models.backbone.width)
        scaled = (features - self._mean) / self._std
        gram = scaled.T @ scaled + ridge * np.eye(models.backbone.width)
        self._weights = np.linalg.solve(gram, scaled.T @ (wanted - self._mean_row))

    def rows(self, texts: Sequence[str]) -> Tensor:
        """Embeddings and biases (N, d + 1) float32; the mean row for an empty text."""
        found = (self._states(texts) - self._mean) / self._std @ self._weights
        found[[not text for text in texts]] = 0.0
        return torch.from_numpy((found + self._mean_row).astype(np.float32))

    def _states(self, texts: Sequence[str]) -> Array:
        """Mean hidden states (N, d) float64."""
        words = self._models.vocabulary.encode_words
        rows = [np.array(words(text)[: self._max_tokens] or [0], dtype=np.int64) for text in texts]
        models = self._models
        return mean_states(
            lambda batch: models.states(batch, models.collaborative), rows, models.backbone.width, models.device
        )
