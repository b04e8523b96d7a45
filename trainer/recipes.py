"""Named runs: each is a function that returns the whole configuration of a learner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from streams.contract.errors import InputError
from trainer.admission import AdmissionConfig
from trainer.dense_optimizer import DenseOptimizerConfig
from trainer.model.dcn import DcnConfig
from trainer.model.dlrm import DlrmConfig
from trainer.model.network import NetworkConfig
from trainer.model.tables import TablesConfig
from trainer.progressive import ProgressiveConfig
from trainer.vocabulary import VocabularyConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeConfig:
    """Everything that decides what is learnt from a given log."""

    name: str
    network: NetworkConfig = field(default_factory=DlrmConfig)
    tables: TablesConfig = field(default_factory=TablesConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    optimizer: DenseOptimizerConfig = field(default_factory=DenseOptimizerConfig)
    progressive: ProgressiveConfig = field(default_factory=ProgressiveConfig)
    kind: str = "click"
    """The kind of feedback whose labels are learnt."""
    batch_size: int = 256
    learn_corrections: bool = True
    """Whether a label that changed after its window is learnt, as one more example with its new label."""
    bfloat16: bool = False
    """Whether the dense network's products are computed in bfloat16."""


def default() -> RecipeConfig:
    """What the demo and `train` run: a small DLRM, element-wise Adagrad on the rows, Adam on the network.

    Rows begin near zero and with the second sighting of their id, so that an id counts for nothing
    before something is known of it.
    """
    return RecipeConfig(
        name="default",
        network=DlrmConfig(bottom=(64,), top=(128, 64)),
        tables=TablesConfig(learning_rate=0.05, initial_scale=0.01),
        optimizer=DenseOptimizerConfig(kind="adam", learning_rate=0.002),
    )


def incremental() -> RecipeConfig:
    """The default under the name that comparisons of update strategies use: every example once, newest last."""
    return replace(default(), name="incremental")


def dcn() -> RecipeConfig:
    """DCN-v2 in the place of DLRM."""
    return replace(default(), name="dcn", network=DcnConfig())


def plain_dlrm() -> RecipeConfig:
    """The DLRM of the published comparisons: bottom 512-256, top 512-256, batches of 256, a row for every id."""
    return RecipeConfig(
        name="plain-dlrm",
        network=DlrmConfig(bottom=(512, 256), top=(512, 256)),
        optimizer=DenseOptimizerConfig(kind="adagrad", learning_rate=0.01),
        vocabulary=VocabularyConfig(admission=AdmissionConfig(admit_after=1)),
    )


def rowwise() -> RecipeConfig:
    """The default with one learning rate a row instead of one an element: half the optimizer's memory."""
    base = default()
    return replace(base, name="rowwise", tables=replace(base.tables, optimizer="rowwise_adagrad"))


def every_id() -> RecipeConfig:
    """The default with a row from the first sighting on."""
    admission = AdmissionConfig(admit_after=1)
    return replace(default(), name="every-id", vocabulary=VocabularyConfig(admission=admission))


_RECIPES: dict[str, Callable[[], RecipeConfig]] = {
    "default": default,
    "incremental": incremental,
    "dcn": dcn,
    "plain-dlrm": plain_dlrm,
    "rowwise": rowwise,
    "every-id": every_id,
}


def recipe_names() -> list[str]:
    """The names that `recipe` takes."""
    return list(_RECIPES)


def recipe(name: str, *, seed: int = 0) -> RecipeConfig:
    """The recipe of that name. Raises InputError listing the names where there is none."""
    make = _RECIPES.get(name)
    if make is None:
        raise InputError("unknown recipe", field="recipe", value=name, remedy=f"use one of {', '.join(_RECIPES)}")
    return with_seed(make(), seed)


def with_seed(config: RecipeConfig, seed: int) -> RecipeConfig:
    """The recipe with other first values of rows and weights."""
    return replace(config, network=replace(config.network, seed=seed), tables=replace(config.tables, seed=seed))


def with_table_rows(config: RecipeConfig, rows: int) -> RecipeConfig:
    """The recipe with tables of so many rows each, the default row included."""
    return replace(config, tables=replace(config.tables, capacity=rows, capacity_of=None))


def recipe_to_state(config: RecipeConfig) -> dict[str, Any]:
    """The recipe as plain values, for a checkpoint's JSON."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return state


def differences(config: RecipeConfig, state: dict[str, Any]) -> list[str]:
    """Dotted names of the settings in which a saved recipe differs from this one; its name does not count."""
    own = recipe_to_state(replace(config, name=str(state.get("name", ""))))
    return _differing("", own, state)


def _differing(prefix: str, a: Any, b: Any) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = [*a, *(name for name in b if name not in a)]
        return [path for name in names for path in _differing(f"{prefix}{name}.", a.get(name), b.get(name))]
    return [] if a == b else [prefix.rstrip(".")]
