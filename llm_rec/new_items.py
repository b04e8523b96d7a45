"""Items that nobody in training liked, but whose text is known: what stands for an embedding that was never trained.

content   their content embedding, in prompts and in the ranking; the mean bias, as of an item like any other
texts     what a ridge regression on the words of known items says of theirs, embedding and bias alike
          (attribute-to-feature mapping, Gantner et al., ICDM 2010)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from llm_rec.item_weights import worded_alike
from llm_rec.material import Material
from llm_rec.models import Models
from llm_rec.switches import NewItemsFrom
from streams.contract.values import Floats

_RIDGE = 1.0


class NewItems:
    """Those of a material: K new and L known items of J; K is 0 where nothing is known to stand for them."""

    def __init__(self, material: Material, come_from: NewItemsFrom | None) -> None:
        known = material.known_items()
        described = np.array([bool(text.strip()) for text in material.texts], dtype=np.bool_) & (come_from is not None)
        self._new = torch.from_numpy(np.flatnonzero(described & ~known))
        self._known = torch.from_numpy(np.flatnonzero(known))
        regress = come_from == "texts" and len(self._new) > 0
        self._shares = self._regression(worded_alike(material.texts)) if regress else None

    def _regression(self, alike: np.typing.NDArray[np.float64]) -> Tensor:
        """(K, L): which share each known item has in what is said of a new one, beyond the mean."""
        new, known = self._new.numpy(), self._known.numpy()
        ridge = alike[np.ix_(known, known)] + _RIDGE * np.eye(len(known))
        return torch.from_numpy(np.linalg.solve(ridge, alike[np.ix_(known, new)]).T).float()

    def filled(self, values: Tensor) -> Tensor:
        """`values` (J, ...) of known items, those of new ones made up from them."""
        filled, known = values.clone(), values[self._known]
        mean = known.mean(0)
        beyond = 0.0 if self._shares is None else self._shares.to(values.device) @ (known - mean)
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
        if self._shares is None:
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
