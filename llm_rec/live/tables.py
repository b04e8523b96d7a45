"""The rows that learn: users and items in the collaborative table, with room for those that come.

    row of a user   embedding (d,), number of likes
    row of an item  embedding (d,), bias

The language model is frozen: only these rows move, by row-wise Adagrad (Duchi et al. 2011, one sum a row), and the
items' biases where the model has them. Places for users double when they are full, those for items come by the
thousand; where a user or an item stands in the table is nobody's business but this file's and the vocabulary's.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from llm_rec.history_path import HistoryPath
from llm_rec.model_folder import LearntModel, models_of
from llm_rec.models import Models
from streams.contract.columns import Array

_ITEMS_AT_ONCE = 1024
_LEAST_USERS = 256
NEVER = -1


class LiveTables:
    """`models` with places for users and items, of which the first `num_items` are given."""

    def __init__(self, learnt: LearntModel, *, first_sum: float) -> None:
        self._first_sum = first_sum
        self.models = models_of(learnt)
        for _, parameter in self.models.learnt():
            parameter.requires_grad_(False)
        self.num_items = len(learnt.items)
        self.scale = float(self.table.detach().square().mean().sqrt())
        """The root mean square of the fitted rows' entries."""
        self._mean_user = self._mean_of_users(len(learnt.users))
        self.sums = torch.full((len(self.table),), first_sum)
        """(I + J,): Adagrad's, of each row; (J,) of each bias."""
        self.bias_sums = torch.full((self.num_items,), first_sum)
        self.user_changed = np.full(len(learnt.users), NEVER, dtype=np.int64)
        """(I,): the step at which each user's row changed last; NEVER: as the model folder has it. (J,) of items."""
        self.item_changed = np.full(self.num_items, NEVER, dtype=np.int64)

    @property
    def table(self) -> Tensor:
        """(I + J, d)."""
        return self.models.collaborative.table

    @property
    def user_places(self) -> int:
        """I."""
        return self.models.vocabulary.num_users

    @property
    def item_places(self) -> int:
        """J."""
        return self.models.vocabulary.num_items

    def begin_user(self, place: int) -> None:
        """A new user's row: the mean of those that the model was fitted with."""
        if place >= self.user_places:
            self.make_room(max(_LEAST_USERS, 2 * self.user_places, place + 1), self.item_places)
        self.table[place] = self._mean_user
        self.sums[place] = self._first_sum

    def begin_items(self, rows: Tensor, biases: Tensor, step: int) -> None:
        """New items' rows (N, d) and biases (N,), behind those that are there."""
        first, self.num_items = self.num_items, self.num_items + len(rows)
        if self.num_items > self.item_places:
            self.make_room(self.user_places, -(-self.num_items // _ITEMS_AT_ONCE) * _ITEMS_AT_ONCE)
        self.models.collaborative.items[first : self.num_items] = rows
        if self.models.bias is not None:
            self.models.bias[first : self.num_items] = biases
        self.item_changed[first : self.num_items] = step

    def learns(self, on: bool) -> None:
        """Whether gradients are taken from here on."""
        self.models.collaborative.table.requires_grad_(on)
        if self.models.bias is not None:
            self.models.bias.requires_grad_(on)

    @torch.no_grad()
    def descend(self, rate: float, bias_rate: float, step: int) -> None:
        """One step down the gradients that stand in the table, on the rows that have one; then there are none.

        `rate` is in units of `scale`, `bias_rate` in nats.
        """
        gradient = self.table.grad
        assert gradient is not None
        rows = torch.nonzero((gradient != 0).any(1)).squeeze(1)
        self.sums[rows] += gradient[rows].square().mean(1)
        self.table[rows] -= rate * self.scale * gradient[rows] / self.sums[rows].sqrt().unsqueeze(1)
        self.table.grad = None
        self._descend_bias(bias_rate)
        touched = rows.numpy()
        self.user_changed[touched[touched < self.user_places]] = step
        self.item_changed[touched[touched >= self.user_places] - self.user_places] = step

    def _descend_bias(self, rate: float) -> None:
        bias = self.models.bias
        if bias is not None and bias.grad is not None:
            self.bias_sums += bias.grad.square()
            bias.sub_(rate * bias.grad / self.bias_sums.sqrt())
            bias.grad = None

    def move_bias(self, by: Array, step: int) -> None:
        """Adds `by` (num_items,) to the items' biases, where the model has them."""
        if self.models.bias is not None:
            self.models.bias[: self.num_items] += torch.from_numpy(by.astype(np.float32))
            self.item_changed[: self.num_items] = step

    def bias_of(self, items: Array) -> Tensor:
        """(N,) what stands in the last place of item numbers' (N,) rows: their bias, 0 where the model has none."""
        bias = self.models.bias
        return torch.zeros(len(items)) if bias is None else bias.detach()[torch.from_numpy(items)]

    def item_rows(self, items: Array) -> Array:
        """(N, d + 1) float32 of item numbers (N,)."""
        rows = self.models.collaborative.items.detach()[torch.from_numpy(items)]
        joined: Array = torch.cat([rows, self.bias_of(items).unsqueeze(1)], 1).numpy()
        return joined

    def user_rows(self, places: Array, likes: Array) -> Array:
        """(N, d + 1) float32 of places (N,) with their numbers of likes (N,)."""
        rows = self.table.detach()[torch.from_numpy(places)]
        joined: Array = torch.cat([rows, torch.from_numpy(likes).float().unsqueeze(1)], 1).numpy()
        return joined

    def make_room(self, users: int, items: int) -> None:
        """Lays everything out anew, with so many places for users and for items; never fewer than before."""
        models, before, more = self.models, self.user_places, items - self.item_places
        table = _laid_out(self.table.detach(), before, users, items, 0.0)
        self.sums = _laid_out(self.sums, before, users, items, self._first_sum)
        models.collaborative.table = nn.Parameter(table, requires_grad=False)
        models.collaborative.num_users = users
        models.vocabulary.num_users, models.vocabulary.num_items = users, items
        self.bias_sums = _longer(self.bias_sums, more, self._first_sum)
        self.user_changed = np.append(self.user_changed, np.full(users - before, NEVER, dtype=np.int64))
        self.item_changed = np.append(self.item_changed, np.full(more, NEVER, dtype=np.int64))
        if models.bias is not None:
            models.bias = nn.Parameter(_longer(models.bias.detach(), more, 0.0), requires_grad=False)
        if models.path is not None:
            models.path = _path_of(models.path, more)

    def _mean_of_users(self, num_users: int) -> Tensor:
        rows = self.table.detach()[:num_users]
        return rows.mean(0) if num_users else torch.zeros(rows.shape[1])


def copy_of(models: Models) -> Models:
    """The models with rows of their own, as they are now; the language model is shared."""
    ids = copy.deepcopy(models.collaborative)
    bias = None if models.bias is None else nn.Parameter(models.bias.detach().clone(), requires_grad=False)
    path = None if models.path is None else _path_of(models.path, 0)
    return Models(
        models.backbone, copy.copy(models.vocabulary), ids, ids, models.device, models.bfloat16, bias, path
    )  # fmt: skip


def _laid_out(old: Tensor, users_before: int, users: int, items: int, filler: float) -> Tensor:
    new = torch.full((users + items, *old.shape[1:]), filler)
    new[:users_before] = old[:users_before]
    new[users : users + len(old) - users_before] = old[users_before:]
    return new


def _longer(old: Tensor, more: int, filler: float) -> Tensor:
    return torch.cat([old, torch.full((more, *old.shape[1:]), filler)])


def _path_of(path: HistoryPath, more: int) -> HistoryPath:
    """The same with `more` items of which it says nothing."""
    given, wanted = (_longer(of.detach(), more, 0.0) for of in (path.given, path.wanted))
    return HistoryPath(given, wanted, weight=float(path.weight), decay=float(path.decay))
