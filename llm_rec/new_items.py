"""Items that nobody in training liked, but whose text is known: their content embedding stands for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from llm_rec.material import Material
from llm_rec.models import Models


@torch.no_grad()
def graft(models: Models, material: Material) -> None:
    """Puts new items' content embeddings into the collaborative set: into prompts and into the ranking."""
    new = _new_items(models, material)
    models.collaborative.items[new] = models.content.items[new]


@contextmanager
def grafted(models: Models, material: Material) -> Iterator[None]:
    """With new items grafted; behind it training finds its own embeddings again."""
    new = _new_items(models, material)
    own = models.collaborative.items.detach()[new].clone()
    graft(models, material)
    try:
        yield
    finally:
        with torch.no_grad():
            models.collaborative.items[new] = own


def _new_items(models: Models, material: Material) -> Tensor:
    described = np.array([bool(text.strip()) for text in material.texts], dtype=np.bool_)
    return torch.from_numpy(np.flatnonzero(described & ~material.known_items())).to(models.device)
