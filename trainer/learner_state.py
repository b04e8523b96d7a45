"""A learner as tensors and plain values, and back: all that its future depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from streams.contract.columns import Array
from streams.contract.errors import InputError
from trainer.dense_optimizer import load_optimizer_state, optimizer_state
from trainer.learner import Counters, Learner
from trainer.model.network import load_network_state, network_state
from trainer.recipes import differences, recipe_to_state

Tensors = dict[str, dict[str, Array]]
"""Part of the learner -> tensor name -> array."""

MAY_CHANGE = (
    "batch_size", "learn_corrections", "bfloat16", "progressive.", "optimizer.learning_rate", "optimizer.epsilon",
    "tables.learning_rate", "tables.epsilon", "vocabulary.half_life_ms", "vocabulary.max_age_ms",
    "vocabulary.evict_fraction", "vocabulary.sweep_every", "vocabulary.admission.admit_after",
)  # fmt: skip
"""Settings of a recipe that a run may resume with changed; all others are built into the weights."""


def learner_tensors(learner: Learner) -> Tensors:
    """The tensors by part. Tables are cut behind their last row in use; views, valid until the next step."""
    tables = learner.tables.state()
    tops = dict(zip(learner.tables.names, learner.vocabulary.high_water().tolist(), strict=True))
    window, _ = learner.progressive.state()
    return {
        "tables": {name: tensor[: tops[name.rpartition("/")[0]]] for name, tensor in tables.items()},
        "network": network_state(learner.network),
        "optimizer": optimizer_state(learner.optimizer, learner.network),
        "vocabulary": learner.vocabulary.state(),
        "progressive": window,
        "changes": learner.changes.state(),
        **({"calibration": learner.calibration.state()} if learner.calibration is not None else {}),
        "click_delays": learner.click_delays.state(),
        **({"online_counters": learner.online.tensors()} if learner.online is not None else {}),
        **({"delayed": learner.delayed.state()} if learner.delayed is not None else {}),
        **({"window": window_of_rounds} if (window_of_rounds := learner.window_state()) else {}),
        "random": {"torch": torch.get_rng_state().numpy()},
    }


def learner_values(learner: Learner) -> dict[str, Any]:
    """What is no tensor: counters, recipe, feature hash."""
    _, scores = learner.progressive.state()
    return {
        "counters": asdict(learner.counters),
        "recipe": recipe_to_state(learner.recipe),
        "feature_hash": learner.schema.hash,
        "progressive": scores,
    }


def load_learner(learner: Learner, tensors: Tensors, values: Mapping[str, Any]) -> None:
    """Puts the state into a learner of the same schema and recipe.

    Raises InputError where schema or recipe differ in something that is built into the weights.
    """
    check_fits(learner, values)
    full = {name: np.array(tensor) for name, tensor in learner.tables.state().items()}
    for name, saved in tensors["tables"].items():
        full[name][: len(saved)] = saved
    learner.tables.load_state(full)
    load_network_state(learner.network, tensors["network"])
    load_optimizer_state(learner.optimizer, learner.network, tensors["optimizer"])
    learner.vocabulary.load_state(tensors["vocabulary"])
    learner.progressive.load_state(tensors["progressive"], values["progressive"])
    learner.changes.load_state(tensors["changes"])
    if learner.calibration is not None:
        learner.calibration.load_state(tensors["calibration"])
    if "click_delays" in tensors:
        learner.click_delays.load_state(tensors["click_delays"])
    if learner.online is not None:
        learner.online.load_tensors(tensors["online_counters"])
    if learner.delayed is not None:
        learner.delayed.load_state(tensors["delayed"])
    if "window" in tensors:
        learner.load_window_state(tensors["window"])
    learner.counters = Counters(**values["counters"])
    torch.set_rng_state(torch.tensor(tensors["random"]["torch"]))


def check_fits(learner: Learner, values: Mapping[str, Any]) -> None:
    """Raises InputError where a saved learner cannot go on as this one."""
    schema, recipe = learner.schema, learner.recipe
    if values["feature_hash"] != schema.hash:
        raise InputError(
            f"the checkpoint was trained on another schema than {schema.name}, {schema.hash}",
            field="feature_hash", value=values["feature_hash"],
            remedy="resume with the schema it was made with, or begin in another folder",
        )  # fmt: skip
    built_in = [path for path in differences(recipe, values["recipe"]) if not path.startswith(MAY_CHANGE)]
    if built_in:
        raise InputError(
            f"the checkpoint of recipe {values['recipe']['name']} differs in {', '.join(built_in)}",
            field="recipe", value=recipe.name,
            remedy="resume with the recipe it was made with, or begin in another folder",
        )  # fmt: skip
