"""Examples as River takes them: a dictionary each, from a feature's name to its value."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.peers.flat import Flat, Words


def dictionaries(flat: Flat, words: Words, names: Sequence[int | str]) -> list[dict[int | str, float]]:
    """One an example, from the `names` (n,) of its words to their weights, and from `n0`, `n1`, ... to its numbers."""
    weights, ends = words.weights.tolist(), words.ends.tolist()
    of_numbers = [f"n{number}" for number in range(flat.dense.shape[1])]
    return [
        dict(zip([*names[start:end], *of_numbers], [*weights[start:end], *numbers], strict=True))
        for start, end, numbers in zip([0, *ends[:-1]], ends, flat.dense.tolist(), strict=True)
    ]
