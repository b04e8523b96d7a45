"""What the language model reads: prompts of words and IDs mixed, then main texts of one kind alone.

    document      prompt                                      main text           predicted among
    interaction   user_i has interacted with                  item_j item_k ...   J items
    content       The content of item_j is:                   its text            N words
    review        user_i writes the review for item_j:        the review          N words
    fine-tuning   user_i has interacted with item_j item_k,
                  user_i will interact with                   none                J items, once

Only main texts are predicted, so each softmax runs over one kind of token (Zhu et al. 2024, section 3.3).
A prompt without a user token is that of a user who is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llm_rec.switches import Order
from llm_rec.vocabulary import Vocabulary
from streams.contract.columns import Array
from streams.contract.errors import InputError

_ENDS = {"code": ", {user} will interact with", "paper": " the user will interact with:"}
_REVIEWS = {"code": "{user} wrote the following review for {item}:", "paper": "{user} writes the review for {item}:"}
_MIN_ITEMS = 1


@dataclass(frozen=True, slots=True)
class Document:
    """Tokens of the prompt (P,) and of the main text (M,), int64."""

    prompt: Array
    main: Array


@dataclass(frozen=True, slots=True)
class Review:
    """What a user wrote of an item; numbers of both."""

    user: int
    item: int
    text: str


def ordered(items: Array, order: Order, rng: np.random.Generator) -> Array:
    """Items (n,), given oldest first: by number, as they are, at random, or one of the latter two."""
    if order == "random" or (order == "mixed" and rng.random() < 0.5):
        return rng.permutation(items)
    return np.sort(items, kind="stable") if order == "id" else items


class Writer:
    """Writes documents of at most `max_tokens` tokens in one wording."""

    def __init__(self, vocabulary: Vocabulary, wording: str, max_tokens: int) -> None:
        """Raises InputError where not even one item fits beside a prompt's words."""
        self._vocabulary = vocabulary
        self._end = _ENDS[wording]
        self._review = _REVIEWS[wording]
        self._max_tokens = max_tokens
        self.max_items = max_tokens - len(self.prompt(0 if vocabulary.num_users else None, _NOTHING))
        if self.max_items < _MIN_ITEMS:
            raise InputError("leaves no room for an item beside the prompt's words", field="max_tokens",
                             value=max_tokens, remedy=f"give {max_tokens - self.max_items + 1} or more")  # fmt: skip

    def interactions(self, user: int | None, items: Array) -> Iterator[Document]:
        """The items (n,) in their order, over as many documents as they need."""
        for start in range(0, len(items), self.max_items):
            tokens = items[start : start + self.max_items] + self._vocabulary.first_item
            yield Document(self._encode(_has(user)), tokens)

    def content(self, item: int, text: str) -> Document:
        """What item number `item` is; a long text is cut at its end."""
        return self._words(f"The content of item_{item} is:", text)

    def review(self, review: Review) -> Document:
        """What a user wrote of an item; a long text is cut at its end."""
        return self._words(self._review.format(user=f"user_{review.user}", item=f"item_{review.item}"), review.text)

    def prompt(self, user: int | None, items: Array) -> Array:
        """The fine-tuning prompt (T,) for items (n,) in their order; n is at most `max_items`."""
        end = self._end.format(user=_name(user)).replace("  ", " ")
        return self._encode(f"{_has(user)} {_names(items)}{end}")

    def next_item(self, user: int | None, items: Array) -> Array:
        """The beginning (T,) of an interaction document, whose next token is asked for."""
        return self._encode(f"{_has(user)} {_names(items)}")

    def newest(self, items: Array) -> Array:
        """As many of the items, given oldest first, as fit a prompt: the newest."""
        return items[-self.max_items :]

    def _words(self, prompt: str, text: str) -> Document:
        begin = self._encode(prompt)
        main = self._vocabulary.encode_words(f" {text.strip()}")[: self._max_tokens - len(begin)]
        return Document(begin, np.array(main, dtype=np.int64))

    def _encode(self, text: str) -> Array:
        return np.array(self._vocabulary.encode(text), dtype=np.int64)


_NOTHING: Array = np.zeros(0, dtype=np.int64)


def _name(user: int | None) -> str:
    return "" if user is None else f"user_{user}"


def _has(user: int | None) -> str:
    return f"{_name(user)} has interacted with"


def _names(items: Sequence[int] | Array) -> str:
    return " ".join(f"item_{item}" for item in items)
