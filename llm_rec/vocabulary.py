"""Users and items as tokens behind a language model's own (Zhu et al. 2024, section 3.2).

    0 .. N-1        the base vocabulary
    N .. N+I-1      user_0 .. user_{I-1}
    N+I .. N+I+J-1  item_0 .. item_{J-1}

In text they are spelt `user_17` and `item_3`, and each is one token, never cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.contract.errors import InputError

_NAMED = re.compile(r"(user_\d+|item_\d+)")
_MOST_PIECES = 4096


@dataclass(slots=True)
class Vocabulary:
    """N words of the base vocabulary, I users, J items."""

    tokenize: Callable[[str], list[int]]
    """The base tokenizer: text to tokens below N."""
    num_words: int
    num_users: int
    num_items: int
    _pieces: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False)

    @property
    def first_item(self) -> int:
        """The token of item_0."""
        return self.num_words + self.num_users

    def encode(self, text: str) -> list[int]:
        """Tokens of a text in which `user_i` and `item_j` stand for themselves.

        What stands between them keeps its leading blank and loses trailing ones, as in the reference
        code, so that no token stands between two items. Raises InputError for a user or item that
        does not exist.
        """
        tokens: list[int] = []
        for piece in _NAMED.split(text):
            if _NAMED.fullmatch(piece):
                tokens.append(self._named(piece))
            elif trimmed := piece.rstrip():
                tokens.extend(self._piece(trimmed))
        return tokens

    def encode_words(self, text: str) -> list[int]:
        """Tokens of a text that may not name users or items: what looks like a name is text like any other."""
        return self.tokenize(text.rstrip())

    def _named(self, name: str) -> int:
        kind, number = name[:4], int(name[5:])
        most, first = (self.num_users, self.num_words) if kind == "user" else (self.num_items, self.first_item)
        if number >= most:
            raise InputError(f"names no {kind}: there are {most}", field="text", value=name,
                             remedy=f"use {kind}_0 to {kind}_{most - 1}")  # fmt: skip
        return first + number

    def _piece(self, piece: str) -> list[int]:
        """The piece's tokens; prompts repeat a few pieces endlessly."""
        found = self._pieces.get(piece)
        if found is None:
            found = self.tokenize(piece)
            if len(self._pieces) < _MOST_PIECES:
                self._pieces[piece] = found
        return found
