"""What documents and prompts hold, in which order, and where they are cut."""

from __future__ import annotations

import numpy as np
import pytest

from llm_rec.byte_tokenizer import byte_tokens
from llm_rec.documents import Review, Writer, ordered
from llm_rec.vocabulary import Vocabulary
from streams.contract.errors import InputError

WORDS, USERS, ITEMS = 256, 4, 50
FIRST_ITEM = WORDS + USERS


def writer(wording: str = "code", max_tokens: int = 200) -> Writer:
    return Writer(Vocabulary(byte_tokens, WORDS, USERS, ITEMS), wording, max_tokens)


def test_an_interaction_document_predicts_items_alone() -> None:
    (document,) = writer().interactions(1, np.array([7, 3]))
    assert document.prompt.tolist() == [WORDS + 1, *b" has interacted with"]
    assert document.main.tolist() == [FIRST_ITEM + 7, FIRST_ITEM + 3]


def test_more_items_than_fit_go_on_in_another_document() -> None:
    short = writer(max_tokens=50)
    items = np.arange(short.max_items * 2 + 1)
    documents = list(short.interactions(0, items))
    assert [len(document.main) for document in documents] == [short.max_items, short.max_items, 1]
    assert np.concatenate([document.main for document in documents]).tolist() == (items + FIRST_ITEM).tolist()


def test_a_content_document_predicts_words_alone() -> None:
    document = writer().content(2, "Heat (1995), like item_3 ")
    assert document.prompt.tolist() == [*b"The content of", FIRST_ITEM + 2, *b" is:"]
    assert document.main.tolist() == list(b" Heat (1995), like item_3")


def test_a_long_text_is_cut_at_its_end() -> None:
    document = writer(max_tokens=80).content(2, "x" * 500)
    assert len(document.prompt) + len(document.main) == 80
    assert bytes(document.main.tolist()).startswith(b" xxx")


@pytest.mark.parametrize(("wording", "verb"), [
    ("code", b" wrote the following review for"), ("paper", b" writes the review for"),
])  # fmt: skip
def test_a_review_names_who_wrote_it_of_what(wording: str, verb: bytes) -> None:
    document = writer(wording).review(Review(1, 2, "fine"))
    assert document.prompt.tolist() == [WORDS + 1, *verb, FIRST_ITEM + 2, *b":"]
    assert document.main.tolist() == list(b" fine")


@pytest.mark.parametrize(("wording", "end"), [
    ("code", [*b",", WORDS + 1, *b" will interact with"]), ("paper", [*b" the user will interact with:"]),
])  # fmt: skip
def test_a_prompt_ends_with_its_cue(wording: str, end: list[int]) -> None:
    prompt = writer(wording).prompt(1, np.array([7]))
    assert prompt.tolist() == [WORDS + 1, *b" has interacted with", FIRST_ITEM + 7, *end]


@pytest.mark.parametrize("wording", ["code", "paper"])
def test_a_prompt_without_a_user_names_none(wording: str) -> None:
    prompt = writer(wording).prompt(None, np.array([7]))
    assert not ((prompt >= WORDS) & (prompt < FIRST_ITEM)).any()
    assert prompt[:5].tolist() == list(b" has ")
    assert b"  " not in bytes(prompt[prompt < WORDS].tolist())


@pytest.mark.parametrize("user", [1, None])
@pytest.mark.parametrize("wording", ["code", "paper"])
def test_the_longest_prompt_has_the_newest_items_and_the_whole_cue(wording: str, user: int | None) -> None:
    short = writer(wording, max_tokens=60)
    history = np.arange(40)
    prompt = short.prompt(user, short.newest(history))
    assert len(prompt) <= 60
    assert prompt[prompt >= FIRST_ITEM].tolist() == (history[-short.max_items :] + FIRST_ITEM).tolist()
    assert bytes(prompt[prompt < WORDS].tolist()).rstrip(b":").endswith(b"will interact with")


def test_no_room_for_an_item_is_refused() -> None:
    with pytest.raises(InputError, match="no room") as caught:
        writer(max_tokens=30)
    assert caught.value.remedy == f"give {len(writer().prompt(0, np.zeros(0, int))) + 1} or more"


def test_orders_are_by_number_as_liked_or_drawn_from_a_seed() -> None:
    items = np.array([5, 1, 9, 3, 7, 2, 8])
    assert ordered(items, "id", np.random.default_rng(0)).tolist() == [1, 2, 3, 5, 7, 8, 9]
    assert ordered(items, "chrono", np.random.default_rng(0)).tolist() == items.tolist()
    drawn = [ordered(items, "random", np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(drawn[0]) == sorted(items.tolist())


def test_mixed_order_is_as_liked_or_drawn_as_likely() -> None:
    items, rng = np.arange(9), np.random.default_rng(0)
    as_liked = sum(ordered(items, "mixed", rng).tolist() == items.tolist() for _ in range(200))
    assert 70 < as_liked < 130
