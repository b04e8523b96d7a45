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
    """Puts new items' content embeddings into the collaborative set: into prompts and into the ranking.

    The bias of a new item, where items have one, is the mean of the others': it is an item like any other.
    """
    new = _new_items(models, material)
    models.collaborative.items[new] = models.content.items[new]
    if models.bias is not None:
        models.bias[new] = models.bias[torch.from_numpy(material.known_items())].mean()


@contextmanager
def grafted(models: Models, material: Material) -> Iterator[None]:
    """With new items grafted; behind it training finds its own embeddings and biases again."""
    kept = [models.collaborative.items.detach().clone()]
    kept += [] if models.bias is None else [models.bias.detach().clone()]
    graft(models, material)
    try:
        yield
    finally:
        with torch.no_grad():
            models.collaborative.items.copy_(kept[0])
            if models.bias is not None:
                models.bias.copy_(kept[1])


def _new_items(models: Models, material: Material) -> Tensor:
    described = np.array([bool(text.strip()) for text in material.texts], dtype=np.bool_)
    return torch.from_numpy(np.flatnonzero(described & ~material.known_items())).to(models.device)
