"""What a learner hands to the one that goes on in its place, and whether two have come to the same."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from trainer.learner import Learner
from trainer.learner_state import learner_tensors, learner_values, load_learner


def hand_over(stopped: Learner, resumed: Learner) -> None:
    """Gives `resumed` a copy of all that a checkpoint of `stopped` would hold."""
    saved = {part: {n: np.array(t) for n, t in tensors.items()} for part, tensors in learner_tensors(stopped).items()}
    load_learner(resumed, saved, learner_values(stopped))


def assert_bit_identical(one: Learner, other: Learner, *, but: Collection[str] = ()) -> None:
    """Compares every tensor of every part of the state, those parts named in `but` left out."""
    theirs = learner_tensors(other)
    for part, tensors in learner_tensors(one).items():
        if part in but:
            continue
        assert tensors.keys() == theirs[part].keys(), part
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(theirs[part][name], tensor, err_msg=f"{part}/{name}")
