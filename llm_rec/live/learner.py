"""A recommender that learns likes turn by turn: look, then learn.

    a turn's examples
      0  items seen for the first time get a number and an embedding out of their text, liked or not
      1  each like is looked at: its rank, its loss, the popularity model's loss, all as of before the turn
      2  histories take the likes in, and one gradient step moves the rows of users and items
      3  counts decay to the turn's time and take the likes in; biases follow

A like's prompt holds what the user liked before it, in this turn too. What comes out is a function of the examples, the
model folder and the config: nothing is drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from llm_rec.documents import Writer
from llm_rec.live.config import LearnConfig
from llm_rec.live.content import ContentMap
from llm_rec.live.counts import LikeCounts
from llm_rec.live.items import ItemBook, text_of
from llm_rec.live.likes import Like, likes_in
from llm_rec.live.look import Asked, look, losses_of
from llm_rec.live.progressive import Progressive
from llm_rec.live.tables import LiveTables, copy_of
from llm_rec.live.temperature import Temperature
from llm_rec.live.users import UserBook
from llm_rec.model_folder import LearntModel
from llm_rec.models import Models
from llm_rec.scoring import history_prompts
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch

_MOST_SETTLED = 100_000


class LiveLearner:
    """Not for several threads. `step` counts turns that had examples."""

    def __init__(self, model: LearntModel, config: LearnConfig | None = None) -> None:
        """Raises InputError where the language model cannot be had, FormatError where the model does not fit it."""
        self.config = config or LearnConfig()
        self.recipe = model.config
        self.names_users = model.config.schedule.anonymous_share < 1
        """Whether prompts name the user: where training never did, no user's row has learnt anything."""
        self.num_fitted_items = len(model.items)
        self.tables = LiveTables(model, first_sum=self.config.first_sum)
        models = self.tables.models
        self.dim = models.backbone.width + 1
        self.items = ItemBook(
            model.items, most_items=self.config.most_items, text_columns=self.config.text_columns
        )  # fmt: skip
        self.users = UserBook(most_users=self.config.most_users, most_liked=self.dim)
        self._begin_users(model)
        self.counts = LikeCounts(
            model.counts, model.newest_time_ms, half_life_days=model.half_life_days, smoothing=self.config.smoothing
        )
        self.content = ContentMap(
            models, self._longest(), [self._text(item.features, item.text) for item in model.items],
            model.counts > 0, ridge=self.config.ridge,
        )  # fmt: skip
        self.temperature = Temperature(model.temperature)
        self.progressive = Progressive(self.config.window)
        self.step = self.num_examples = self.num_new_items = 0
        self.newest_event_time_ms = self.newest_ingest_ms = 0
        self._accepted: tuple[Models, int] | None = None
        self._settled_ms: deque[int] = deque(maxlen=_MOST_SETTLED)

    def learn(self, batch: ExampleBatch) -> None:
        """One turn, as drawn above."""
        self.step += 1
        self.num_examples += len(batch)
        self._welcome(batch)
        likes = self._asked(likes_in(batch))
        if likes is not None:
            self._look_and_learn(likes)
        self._let_time_pass(batch, _NOTHING if likes is None else likes.targets)

    def accept(self) -> None:
        """The rows of now become those of the last accepted version, with which coming likes are compared."""
        self._accepted = copy_of(self.tables.models), self.tables.num_items
        self._settled_ms.clear()

    def settled_since_accepted(self) -> Array:
        """Wall-clock milliseconds at which the likes since then were settled."""
        return np.array(self._settled_ms, dtype=np.int64)

    def _begin_users(self, model: LearntModel) -> None:
        if len(model.users) > self.config.most_users:
            raise InputError("is fewer than the users of the model", field="most_users", value=self.config.most_users,
                             remedy=f"give {len(model.users)} or more")  # fmt: skip
        likes = [len(items) for items in model.histories]
        self.users.restore(model.users, range(len(likes)), model.histories, likes)

    def _longest(self) -> int:
        return min(self.recipe.max_tokens, self.tables.models.backbone.max_tokens)

    def _text(self, features: dict[str, object], text: str) -> str:
        """Known items are described as new ones are, where the data tell what impressions say of them."""
        return text_of(features, self.config.text_columns) or text

    def _welcome(self, batch: ExampleBatch) -> None:
        new = self.items.see(batch)
        if not new:
            return
        self.num_new_items += len(new)
        rows = self.content.rows([self.items.items[number].text for number in new])
        self.counts.grow(len(self.items))
        self.tables.begin_items(rows[:, :-1], rows[:, -1], self.step)

    def _asked(self, likes: Sequence[Like]) -> Asked | None:
        """The likes that are new, each with the history before it, which then takes it in; None where there is none."""
        users: list[int | None] = []
        histories: list[Array] = []
        targets: list[int] = []
        for like in likes:
            item, history = self.items.number(like.item), self.users.history(like.user)
            if item is None or item in history:
                continue
            users.append(self.users.place(like.user) if self.names_users else None)
            histories.append(history)
            targets.append(item)
            self.newest_ingest_ms = max(self.newest_ingest_ms, like.ingest_ms)
            self._settled_ms.append(like.ingest_ms)
            if self.config.learning != "nothing":
                self._take_in(like.user, item)
        if not targets:
            return None
        vocabulary = self.tables.models.vocabulary
        writer = Writer(vocabulary, self.recipe.switches.wording, self._longest())
        finetuned = self.recipe.schedule.finetuning_epochs > 0
        prompts = history_prompts(writer, self.recipe.switches, users, histories, finetuned=finetuned)
        return Asked(prompts, np.array(targets, dtype=np.int64), histories)

    def _take_in(self, user: str, item: int) -> None:
        place, is_new = self.users.like(user, item, self.step)
        if is_new:
            self.tables.begin_user(place)
        self.tables.user_changed[place] = self.step

    def _look_and_learn(self, asked: Asked) -> None:
        tables, learns = self.tables, self.config.learning == "all"
        accepted = self._accepted_losses(asked)
        tables.learns(learns)
        seen = look(tables.models, asked, tables.num_items, self.counts.log_shares(), self.temperature.value)
        if learns:
            tables.descend(self.config.rate, self.config.bias_rate, self.step)
        tables.learns(False)
        if self.config.learning != "nothing":
            self.temperature.descend(seen.slope, self.config.temperature_rate)
        self.progressive.add(seen, accepted)

    def _accepted_losses(self, asked: Asked) -> Array:
        """nan where no version was accepted yet, or its rows are laid out otherwise."""
        if self._accepted is None or self._accepted[0].vocabulary.num_users != self.tables.user_places:
            return np.full(len(asked.targets), np.nan)
        return losses_of(self._accepted[0], asked, self._accepted[1], self.temperature.value)

    def _let_time_pass(self, batch: ExampleBatch, liked: Array) -> None:
        self.newest_event_time_ms = max(self.newest_event_time_ms, int(batch.event_time_ms.max(initial=0)))
        if self.config.learning == "nothing":
            return
        before = self.counts.log_shares()
        self.counts.advance(self.newest_event_time_ms)
        self.counts.add(liked)
        if self.config.counts_move_bias and self.config.learning == "all":
            self.tables.move_bias(self.counts.log_shares() - before, self.step)


_NOTHING: Array = np.zeros(0, dtype=np.int64)
