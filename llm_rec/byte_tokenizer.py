"""Text as its UTF-8 bytes: the tokenizer of language models that are made here and come with none."""

from __future__ import annotations

NUM_WORDS = 256


def byte_tokens(text: str) -> list[int]:
    """One token 0..255 a byte of the text; a lone surrogate becomes `?`."""
    return list(text.encode("utf-8", "replace"))
