"""The other way to recommend by the same language model: an item's name is written token by token.

The prompt is read once and its keys and values are kept; then each token costs one pass over itself alone. One
name is written, by the most likely token, without a beam and without checking that such an item exists: the
least that a generative retriever does, whether its names are titles or codes of a few tokens.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from llm_rec.backbone import load_backbone
from llm_rec.batches import batch_of
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Document, Writer
from llm_rec.models import build_models
from llm_rec.scoring import history_prompts
from streams.contract.columns import Array

_NOTHING = np.zeros(0, dtype=np.int64)


class TitleDecoder:
    """Reads the prompts that the recommender reads, then writes words."""

    def __init__(self, config: Cllm4recConfig, *, num_items: int) -> None:
        self._config = config
        self._backbone = load_backbone(config.backbone)
        self._models = build_models(
            self._backbone, 1, num_items, id_std=config.id_std, seed=0, device="cpu", bfloat16=False
        )
        longest = min(config.max_tokens, self._backbone.max_tokens)
        self._writer = Writer(self._models.vocabulary, config.switches.wording, longest)
        self._backbone.set_dropout(False)
        # As where it is served: adapters that every step had to add anew would slow this side alone.
        self._backbone.freeze()

    def num_tokens(self, title: str) -> int:
        """How many tokens the title has."""
        return len(self._backbone.tokenize(title))

    def prompt_tokens(self, history: list[int]) -> int:
        """How long the prompt of a history is."""
        return len(self._prompt(history))

    def seconds(self, history: list[int], num_tokens: int) -> float:
        """How long it takes to read a history's prompt and to write so many tokens."""
        started = time.perf_counter()
        self.write(history, num_tokens)
        return time.perf_counter() - started

    @torch.inference_mode()
    def write(self, history: list[int], num_tokens: int) -> list[int]:
        """The tokens that follow the history's prompt, each the most likely one."""
        answer = self._backbone.causal(inputs_embeds=self.embedded(history), use_cache=True, logits_to_keep=1)
        written = [answer.logits[:, -1:].argmax(-1)]
        for _ in range(num_tokens - 1):
            answer = self._backbone.causal(
                input_ids=written[-1], past_key_values=answer.past_key_values, use_cache=True
            )
            written.append(answer.logits[:, -1:].argmax(-1))
        return [int(token) for token in written]

    def embedded(self, history: list[int]) -> torch.Tensor:
        """The history's prompt as the language model reads it, (1, T, d)."""
        batch = batch_of([Document(self._prompt(history), _NOTHING)], self._models.device)
        return self._models.collaborative.embed(batch.tokens, self._backbone)

    def _prompt(self, history: list[int]) -> Array:
        liked = np.array(history, dtype=np.int64)
        return history_prompts(self._writer, self._config.switches, [None], [liked], finetuned=True)[0]
