"""Items that nobody in training liked, but whose text is known: what stands for an embedding that was never trained.

content   their content embedding, in prompts and in the ranking; the mean bias, as of an item like any other
texts     what a ridge regression on the words of known items says of theirs, embedding and bias alike
          (attribute-to-feature mapping, Gantner et al., ICDM 2010)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array
from torch import Tensor

from llm_rec.item_weights import most_liked, worded_alike
from llm_rec.material import Material
from llm_rec.models import Models
from llm_rec.switches import NewItemsFrom
from streams.contract.columns import Array
from streams.contract.values import Floats

_RIDGE = 1.0


class _Ridge:
    """What the words of known items say of new ones; of very many known items, those that are liked most.

    values of new items = X_new X_known' (X_known X_known' + ridge I)^-1 (values of known items), X the words.
    """

    def __init__(self, likes: Sequence[Array], words: csr_array, new: Array, known: Array) -> None:
        kept = most_liked(likes, words.shape[0])
        self._told = kept[known[kept]]
        self._known_words, self._new_words = words[self._told], words[new]
        alike = worded_alike(self._known_words)
        self._factor = cho_factor(alike + _RIDGE * np.eye(len(alike)), lower=True, overwrite_a=True)

    def of_new(self, values: Tensor) -> Tensor:
        """(K, ...) of values (J, ...) beyond their mean."""
        told = values.detach().cpu().double().numpy()[self._told]
        found = self._new_words @ (self._known_words.T @ cho_solve(self._factor, told))
        return torch.from_numpy(found).to(values)


class NewItems:
    """Those of a material: K new and L known items of J; K is 0 where nothing is known to stand for them."""

    def __init__(self, material: Material, come_from: NewItemsFrom | None, words: csr_array) -> None:
        """`words` (J, W) are those of the material's texts."""
        known = material.known_items()
        described = np.array([bool(text.strip()) for text in material.texts], dtype=np.bool_) & (come_from is not None)
        self._new = torch.from_numpy(np.flatnonzero(described & ~known))
        self._known = torch.from_numpy(np.flatnonzero(known))
        regress = come_from == "texts" and len(self._new) > 0
        self._ridge = _Ridge(material.likes, words, self._new.numpy(), known) if regress else None

    def filled(self, values: Tensor) -> Tensor:
        """`values` (J, ...) of known items, those of new ones made up from them."""
        filled, known = values.clone(), values[self._known]
        mean = known.mean(0)
        beyond = 0.0 if self._ridge is None else self._ridge.of_new(values - mean)
        filled[self._new] = mean + beyond
        return filled

    def marked(self, num_items: int) -> Floats:
        """(J,) float32: 1 for new items, 0 for others."""
        marks = np.zeros(num_items, dtype=np.float32)
        marks[self._new.numpy()] = 1
        return marks

    @torch.no_grad()
    def graft(self, models: Models) -> None:
        """Puts what stands for new items into the collaborative set and the bias: into prompts and into the ranking."""
        items = models.collaborative.items
        if self._ridge is None:
            items[self._new] = models.content.items[self._new]
        else:
            items.copy_(self.filled(items))
        if models.bias is not None:
            models.bias.copy_(self.filled(models.bias))

    @contextmanager
    def grafted(self, models: Models) -> Iterator[None]:
        """With new items grafted; behind it training finds its own embeddings and biases again."""
        kept = [models.collaborative.items.detach().clone()]
        kept += [] if models.bias is None else [models.bias.detach().clone()]
        self.graft(models)
        try:
            yield
        finally:
            with torch.no_grad():
                models.collaborative.items.copy_(kept[0])
                if models.bias is not None:
                    models.bias.copy_(kept[1])
