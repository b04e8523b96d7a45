"""Items that start where a language model puts their texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.text_start import TextStartConfig, principal_components, started_at_texts
from streams.contract.errors import InputError
from tests.support.two_communities import NUM_ITEMS, SHORT, coloured, quiet, two_communities

TINY = TextStartConfig(reader=BackboneConfig(kind="tiny"), width_share=1.0, drawn_share=0.0)
WIDTH = 8


def fresh(items: int = NUM_ITEMS, *, std: float = 0.02) -> torch.Tensor:
    return torch.randn(items, WIDTH, generator=torch.Generator().manual_seed(0)) * std


def test_items_told_alike_start_alike() -> None:
    start = started_at_texts(fresh(3), ["a red lipstick", "a red lipstick", "Toy Story (1995)"], TINY)
    assert torch.allclose(start[0], start[1], atol=1e-6)
    assert float((start[0] - start[2]).norm()) > 0.02


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_the_start_is_as_wide_as_told_in_fresh_embeddings(std: float) -> None:
    for share in (1.0, 2.0):
        start = started_at_texts(fresh(std=std), coloured().texts, replace(TINY, width_share=share))
        assert float(start.std()) == pytest.approx(share * float(fresh(std=std).std()), rel=0.05)


def test_an_item_without_text_has_the_drawn_share_alone() -> None:
    drawn = fresh(3)
    start = started_at_texts(drawn, ["red", " ", "blue"], replace(TINY, drawn_share=0.3))
    assert torch.equal(start[1], 0.3 * drawn[1])
    assert torch.equal(started_at_texts(drawn, ["", "", ""], TINY), torch.zeros(3, WIDTH))


def test_a_long_text_is_read_to_its_most_tokens() -> None:
    long, cut = ("a red lipstick for winter", "a red")
    short = replace(TINY, max_tokens=len(cut))
    start = started_at_texts(fresh(3), [long, cut, "blue"], short)
    assert torch.allclose(start[0], start[1], atol=1e-6)


def test_words_start_an_item_at_the_mean_of_their_embeddings_as_wide_as_told() -> None:
    reader = load_backbone(TINY.reader)
    drawn = torch.randn(3, reader.width, generator=torch.Generator().manual_seed(0))
    config = replace(TINY, of="words", max_tokens=3)
    start = started_at_texts(drawn, ["ab", "abca", "c"], config)
    with torch.no_grad():
        words = [reader.embed(torch.tensor(reader.tokenize(text))).mean(0) for text in ("ab", "abc", "c")]
    means = torch.stack(words)
    assert torch.allclose(start, means * (drawn.std() / means.std(correction=0)), atol=1e-5)


def test_words_of_another_width_are_refused() -> None:
    with pytest.raises(InputError, match=r"start\.reader"):
        started_at_texts(fresh(3), ["a", "b", "c"], replace(TINY, of="words"))


def test_components_are_those_of_the_centred_states_by_hand() -> None:
    """Along (1, 1) the states stand at -3, 1 and 2 times the root of 2: one direction of size root of 28."""
    along = np.array([-3.0, 1.0, 2.0])
    found = principal_components(np.stack([along, along], axis=1) + 5, 3)
    assert found[:, 0] == pytest.approx(along * np.sqrt(2) / 28**0.25)
    assert np.abs(found[:, 1:]).max() < 1e-6


def test_other_texts_make_another_model_and_a_run_that_goes_on_keeps_its_start(tmp_path: Path) -> None:
    config = replace(SHORT, start=TINY)
    models = []
    for given, folder in ((config, tmp_path), (config, tmp_path), (SHORT, None)):
        model = CLLM4Rec(given, folder=folder, tell=quiet)
        model.fit(two_communities(), coloured(), seed=0)
        models.append(model.models.collaborative.items)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


@pytest.mark.parametrize("field", ["max_tokens", "width_share", "drawn_share"])
def test_what_cannot_be_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"start.{field}"):
        TextStartConfig(**{field: -1})  # type: ignore[arg-type]
