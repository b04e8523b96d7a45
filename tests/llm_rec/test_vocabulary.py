"""User and item tokens: the numbers that the reference's README shows, and what happens to text around them."""

from __future__ import annotations

import pytest

from llm_rec.byte_tokenizer import byte_tokens
from llm_rec.vocabulary import Vocabulary
from streams.contract.errors import InputError

GPT2_WORDS = 50257
GPT2_PIECES = {
    "Hello,": [15496, 11],
    "! Have you seen": [0, 8192, 345, 1775],
    "?": [30],
    " has interacted with": [468, 49236, 351],
    ",": [11],
    " will interact with": [481, 9427, 351],
    " wrote the following review for": [2630, 262, 1708, 2423, 329],
    ":": [25],
}
"""What GPT-2's tokenizer makes of these pieces, from the reference's README: its files are not at hand."""


def gpt2(num_users: int, num_items: int) -> Vocabulary:
    return Vocabulary(GPT2_PIECES.__getitem__, GPT2_WORDS, num_users, num_items)


def test_the_readmes_greeting_gives_the_readmes_tokens() -> None:
    tokens = gpt2(10, 20).encode("Hello, user_1! Have you seen item_2?")
    assert tokens == [15496, 11, 50258, 0, 8192, 345, 1775, 50269, 30]


def test_the_readmes_prompt_has_no_token_between_items() -> None:
    vocabulary = gpt2(10553, 6086)
    first = GPT2_WORDS + 10553
    tokens = vocabulary.encode("user_0 has interacted with item_1 item_2, user_0 will interact with")
    assert tokens == [50257, 468, 49236, 351, first + 1, first + 2, 11, 50257, 481, 9427, 351]


def test_the_readmes_review_prompt_gives_the_readmes_tokens() -> None:
    tokens = gpt2(10, 20).encode("user_0 wrote the following review for item_3:")
    assert tokens == [50257, 2630, 262, 1708, 2423, 329, 50270, 25]


@pytest.mark.parametrize("name", ["user_2", "item_3"])
def test_a_name_beyond_the_last_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="names no"):
        Vocabulary(byte_tokens, 256, 2, 3).encode(f"has seen {name}")


def test_words_that_look_like_a_name_stay_words_in_a_text() -> None:
    tokens = Vocabulary(byte_tokens, 256, 2, 3).encode_words(" the user_1 manual")
    assert tokens == byte_tokens(" the user_1 manual")


def test_a_lone_surrogate_does_not_stop_the_byte_tokenizer() -> None:
    assert byte_tokens("\ud800a") == [ord("?"), ord("a")]
