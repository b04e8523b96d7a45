"""The language model of a generation and its table of IDs; the one place where serving meets `llm_rec`.

    place    0 ... U-1                 U ... U+C-1
    row      the users of this pass    items by number, those without a row zeros

B users of a pass, at most U; C places for items, doubled when the catalogue outgrows them; d the width of
the language model, q that of a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from llm_rec.documents import ordered
from llm_rec.packed import Unpacked, unpack_programs
from llm_rec.scoring import history_prompts, prompt_queries
from streams.contract.columns import Array
from streams.contract.errors import FormatError
from streams.contract.recommender import CONFIG, Item

_FEWEST_ITEMS = 1024
_NOT_RANKED = -torch.inf


class LanguageModel:
    """Not thread-safe: the caller holds the recommender's lock."""

    def __init__(self, unpacked: Unpacked) -> None:
        self._models = unpacked.models
        self._writer = unpacked.writer
        self._switches = unpacked.config.switches
        self._finetuned = unpacked.config.schedule.finetuning_epochs > 0
        self.names_users = unpacked.config.schedule.anonymous_share < 1
        """Whether prompts name the user: where training never did, no user's row has learnt anything."""
        self._models.backbone.freeze()
        # What texts taught stands in the items' rows by now, and would double the table.
        self._models.content = self._models.collaborative
        self._models.collaborative.table.requires_grad_(False)
        self._biases = torch.full((self.num_places,), _NOT_RANKED, device=self._models.device)

    @property
    def width(self) -> int:
        """d."""
        return self._models.backbone.width

    @property
    def state_width(self) -> int:
        """q: d, and behind it what a history says beside the language model, where there is a way for it."""
        return self._models.query_width

    @property
    def num_places(self) -> int:
        """C."""
        return self._models.vocabulary.num_items

    @torch.no_grad()
    def put_items(self, numbers: Array, rows: Array) -> None:
        """Sets rows (N, d + 1) of items (N,) that differ; a row of zeros is not ranked."""
        if not len(numbers):
            return
        self._make_room(int(numbers.max()) + 1)
        places = torch.from_numpy(numbers).to(self._models.device)
        is_ranked = rows.any(axis=1)
        self._models.collaborative.items[places] = self._tensor(rows[:, : self.width])
        self._biases[places] = self._tensor(np.where(is_ranked, bias_of(rows), _NOT_RANKED).astype(np.float32))

    def remove_items(self, numbers: Array) -> None:
        """Takes the rows of items (N,) away: they are not ranked any more."""
        held = np.unique(numbers[numbers < self.num_places])
        self.put_items(held, np.zeros((len(held), self.width + 1), dtype=np.float32))

    @torch.no_grad()
    def states(self, users: Sequence[Array | None], keys: Array, histories: Sequence[Array]) -> Tensor:
        """States (B, q) float32 behind the prompts of users, their rows (d + 1,), None: not known.

        Histories are item numbers, oldest first. `keys` (B,) are ids of the users: what an order of a
        history that is random depends on, so that a prompt is the same in any company.
        """
        for place, row in enumerate(users):
            if row is not None:
                self._models.collaborative.table[place] = self._tensor(row[: self.width])
        written = replace(self._switches, eval_order="chrono")
        places = [None if row is None else place for place, row in enumerate(users)]
        in_order = [self._ordered(items, key) for items, key in zip(histories, keys.tolist(), strict=True)]
        prompts = history_prompts(self._writer, written, places, in_order, finetuned=self._finetuned)
        return prompt_queries(self._models, prompts)

    @torch.no_grad()
    def logits(self, states: Tensor, num_items: int) -> Tensor:
        """(B, J) float32 of the first J items as the next like; -inf for those that are not ranked."""
        hidden, said = states.tensor_split([self.width], 1)
        items, path = self._models.collaborative.items[:num_items], self._models.path
        logits = torch.addmm(self._biases[:num_items], hidden, items.T)
        if path is not None:
            beside = path.scores_of(said)[:, :num_items]
            logits[:, : beside.shape[1]] += beside
        return logits

    def _ordered(self, items: Array, key: int) -> Array:
        rng = np.random.default_rng([self._switches.eval_seed, key & 0xFFFF_FFFF])
        return ordered(self._writer.newest(items), self._switches.eval_order, rng)

    def _make_room(self, num_items: int) -> None:
        places = self.num_places
        while places < num_items:
            places *= 2
        more = places - self.num_places
        if more:
            ids = self._models.collaborative
            grown = torch.cat([ids.table, torch.zeros(more, self.width, device=ids.table.device)])
            ids.table = nn.Parameter(grown, requires_grad=False)
            unranked = torch.full((more,), _NOT_RANKED, device=self._biases.device)
            self._biases = torch.cat([self._biases, unranked])
            self._models.vocabulary.num_items = places

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._models.device)


def bias_of(rows: Array) -> Array:
    """The biases (N,) in rows (N, d + 1) of items."""
    biases: Array = rows[:, -1]
    return biases


def load_language_model(
    programs: Mapping[str, bytes], *, max_users: int, device: str
) -> tuple[LanguageModel, list[Item]]:
    """The language model with room for that many users at once, no item ranked yet; and the generation's items.

    It computes on `device`, wherever it was learnt. Raises FormatError where the programs are
    damaged, InputError where the language model cannot be had.
    """
    unpacked = unpack_programs(
        {**programs, CONFIG: _on_device(programs.get(CONFIG, b""), device)},
        user_places=max_users, item_places=_FEWEST_ITEMS,
    )  # fmt: skip
    return LanguageModel(unpacked), unpacked.items


def _on_device(config: bytes, device: str) -> bytes:
    try:
        return msgspec.json.encode({**msgspec.json.decode(config), "device": device})
    except (msgspec.DecodeError, TypeError) as error:
        raise FormatError(f"cannot be read: {error}", field=f"program.{CONFIG}") from error
