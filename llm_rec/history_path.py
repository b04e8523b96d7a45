"""A linear way from the history to the items, beside the language model's.

scores_j = weight * sum over the history's items i of decay^(items behind i) * given_i . wanted_j

B rows, T places, J items, r rank of the J x J weights that given and wanted stand for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SPARE_RANK = 16
_POWER_STEPS = 4


class HistoryPath(nn.Module):
    """given (J, r): what an item in the history says; wanted (J, r): what is said of an item; weight and decay ()."""

    def __init__(self, given: Tensor, wanted: Tensor, *, weight: float = 1.0, decay: float = 1.0) -> None:
        super().__init__()
        self.given = nn.Parameter(given, requires_grad=False)
        self.wanted = nn.Parameter(wanted, requires_grad=False)
        self.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)
        self.decay = nn.Parameter(torch.tensor(decay), requires_grad=False)

    @property
    def rank(self) -> int:
        """r."""
        return int(self.given.shape[1])

    def forward(self, items: Tensor) -> Tensor:
        """(B, J) of item numbers (B, T), oldest first; a place with a number below 0 is no item."""
        return self.scores_of(self.said(items))

    def said(self, items: Tensor) -> Tensor:
        """(B, r): what histories (B, T) say; an item that is newer than this way says nothing."""
        is_item = items >= 0
        behind = is_item.flip(1).cumsum(1).flip(1) - is_item.long()
        shares = torch.where(is_item & (items < len(self.given)), self.decay**behind, 0.0)
        places = items.clamp(min=0, max=len(self.given) - 1)
        return (shares.unsqueeze(-1) * nn.functional.embedding(places, self.given)).sum(1)

    def scores_of(self, said: Tensor) -> Tensor:
        """(B, J) of what histories say (B, r)."""
        return self.weight * said @ self.wanted.T

    def spread(self, numbers: Tensor, num_items: int) -> HistoryPath:
        """The same way where its items are those `numbers` of `num_items`; of the others it says nothing."""
        given, wanted = (torch.zeros(num_items, self.rank).index_copy(0, numbers, table.detach())
                         for table in (self.given, self.wanted))  # fmt: skip
        return HistoryPath(given, wanted, weight=float(self.weight), decay=float(self.decay))


def path_of(weights: Tensor, rank: int) -> HistoryPath:
    """The way of that rank nearest to the weights (J, J) of items in the history (rows) for items (columns).

    Large ones by random projection (Halko et al. 2011), the global generator left alone.
    """
    if rank + _SPARE_RANK >= len(weights):
        left, sizes, right_rows = torch.linalg.svd(weights)
        right = right_rows.T
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            left, sizes, right = torch.svd_lowrank(weights, q=rank + _SPARE_RANK, niter=_POWER_STEPS)
    roots = sizes[:rank].sqrt()
    return HistoryPath(left[:, :rank] * roots, right[:, :rank] * roots)
