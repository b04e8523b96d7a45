"""Named runs: each is a function that returns the whole configuration of a learner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from streams.contract.errors import InputError
from trainer.admission import AdmissionConfig
from trainer.calibration import CalibrationConfig
from trainer.delayed.config import DelayedConfig
from trainer.dense_optimizer import DenseOptimizerConfig
from trainer.downsampling import DownsamplingConfig
from trainer.future.config import UpdateConfig
from trainer.future.names import COMMON, update_named
from trainer.model.dcn import DcnConfig
from trainer.model.dlrm import DlrmConfig
from trainer.model.network import NetworkConfig
from trainer.model.tables import TablesConfig
from trainer.parts import PartsConfig
from trainer.peers.config import PeerConfig
from trainer.peers.named import COUNTERS_SUFFIX, peer_named, peer_names
from trainer.progressive import ProgressiveConfig
from trainer.strategies.config import TeacherConfig
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
    delayed: DelayedConfig | None = None
    """How labels that may still change are learnt; None: as they come, each correction as one more example."""
    bfloat16: bool = False
    """Whether the dense network's products are computed in bfloat16."""
    update: UpdateConfig | None = None
    """What is learnt of whole rounds; None: every example is learnt once, when it comes."""
    teacher: TeacherConfig | None = None
    """A second loss from the model's own scores of a round ago; None: labels alone are learnt."""
    first_parts: PartsConfig | None = None
    """The parts in which batches are learnt while little is known; None: every batch whole."""
    use_counters: bool = True
    """Whether the schema's online counters are learnt from, where it has some."""
    downsampling: DownsamplingConfig | None = None
    """Learns a part of the negatives; predicts and scores all examples."""
    calibration: CalibrationConfig | None = None
    """Maps logits by what the newest predictions got wrong, in scores and at serving; None: not at all."""
    peer: PeerConfig | None = None
    """Another learner, which an evaluation runs in the place of all of the above but kind, batches and counters."""

    def __post_init__(self) -> None:
        for name in ("downsampling", "calibration"):
            if getattr(self, name) is not None and (self.delayed is not None or self.update is not None):
                raise InputError("cannot go with delayed labels or a window of rounds, which weigh all examples",
                                 field=name, value=self.name,
                                 remedy=f"set {name}, or `delayed` and `update`, to None")  # fmt: skip
        others = (self.delayed, self.update, self.downsampling)
        if self.teacher is not None and any(other is not None for other in others):
            raise InputError("cannot go with delayed labels, a window of rounds or downsampling: each has its own loss",
                             field="teacher", value=self.name, remedy="set all but one to None")  # fmt: skip
        if self.first_parts is not None and (self.teacher is not None or self.update is not None):
            raise InputError("cannot go with a teacher or a window of rounds, which take whole batches",
                             field="first_parts", value=self.name,
                             remedy="set `first_parts`, or `teacher` and `update`, to None")  # fmt: skip
        if self.peer is not None and any((*others, self.calibration, self.teacher)):
            raise InputError("learns in its own way", field="peer", value=self.name,
                             remedy="set `delayed`, `update`, `downsampling` and `calibration` to None")  # fmt: skip


def default() -> RecipeConfig:
    """What the demo and `train` run: a small DLRM with a direct way past its hidden layers, element-wise Adagrad on
    the rows, Adam on the network, the schema's online counters.

    Rows begin near zero and with the second sighting of their id, so that an id counts for nothing
    before something is known of it. The network, which all examples teach, begins with twice its rate, and
    learns batches in parts at first.
    """
    return RecipeConfig(
        name="default",
        network=DlrmConfig(bottom=(64,), top=(128, 64), direct=True, scaled=True),
        tables=TablesConfig(learning_rate=0.05, initial_accumulator=1e-6, initial_scale=0.01),
        optimizer=DenseOptimizerConfig(
            kind="adam", learning_rate=0.003, initial_boost=1.0, boost_half_life_steps=200.0
        ),
        first_parts=PartsConfig(),
    )


def incremental() -> RecipeConfig:
    """What comparisons of update strategies start from: the default that learns every batch whole, as they do."""
    return replace(default(), name="incremental", first_parts=None)


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


def without_counters() -> RecipeConfig:
    """The default that leaves the schema's online counters out: what they are worth is the difference."""
    return replace(default(), name="without-counters", use_counters=False)


def every_id() -> RecipeConfig:
    """The default with a row from the first sighting on."""
    admission = AdmissionConfig(admit_after=1)
    return replace(default(), name="every-id", vocabulary=VocabularyConfig(admission=admission))


def reloop() -> RecipeConfig:
    """`incremental` that is also told where it has become worse on an example than the model of the last round."""
    return replace(incremental(), name="reloop", teacher=TeacherConfig(loss="worse", share=0.2))


def incctr() -> RecipeConfig:
    """`incremental` that also learns the probabilities of the model of the last round (IncCTR's self-distillation)."""
    return replace(incremental(), name="incctr", teacher=TeacherConfig(loss="distil", share=0.2))


def windowed(name: str) -> RecipeConfig | None:
    """`incremental` learning from a window of rounds, as the name says (`fgd-3`, `batch-window-5`, ...); else None."""
    update = update_named(name)
    return None if update is None else replace(incremental(), name=name, update=update)


def peer(name: str) -> RecipeConfig | None:
    """The peer of that name, on the raw features or, as NAME-counters, with the schema's counters; else None."""
    settings, counted = peer_named(name), name.endswith(COUNTERS_SUFFIX)
    return None if settings is None else RecipeConfig(name=name, peer=settings, use_counters=counted)


def at_once() -> RecipeConfig:
    """The default; an evaluation with delays gives it a negative at the impression and a positive with the click."""
    return _delayed("at-once", DelayedConfig(labels="at-once"))


def oracle() -> RecipeConfig:
    """The default; an evaluation with delays gives it the final label at the impression. It cannot train."""
    return _delayed("oracle", DelayedConfig(labels="final"))


def fnw() -> RecipeConfig:
    """Fake negatives weighted: negatives at once, corrected by importance weights of the model itself."""
    return _delayed("fnw", DelayedConfig(method="fnw", labels="at-once"))


def fnc() -> RecipeConfig:
    """Fake negatives calibrated: negatives at once, the bias inverted in the probability."""
    return _delayed("fnc", DelayedConfig(method="fnc", labels="at-once"))


def es_dfm() -> RecipeConfig:
    """A window, then importance weights from two heads (ES-DFM)."""
    return _delayed("es-dfm", DelayedConfig(method="es-dfm"))


def defer() -> RecipeConfig:
    """A window, then every example counted twice, as it was and as it ends (DEFER)."""
    return _delayed("defer", DelayedConfig(method="defer"))


def defuse() -> RecipeConfig:
    """A window, then unbiased weights of immediate and delayed clicks, fake and real negatives (DEFUSE)."""
    return _delayed("defuse", DelayedConfig(method="defuse"))


def bi_defuse() -> RecipeConfig:
    """A window, the model learnt within it, what comes later learnt by a head (Bi-DEFUSE)."""
    return _delayed("bi-defuse", DelayedConfig(method="bi-defuse"))


def _delayed(name: str, config: DelayedConfig) -> RecipeConfig:
    return replace(default(), name=name, delayed=config)


def downsampled() -> RecipeConfig:
    """The default that learns a tenth of the negatives, with longer steps for rows that are learnt less often."""
    base = default()
    tables = replace(base.tables, learning_rate=0.1)
    return replace(base, name="downsampled", tables=tables, downsampling=DownsamplingConfig(keep_negatives=0.1))


def calibrated() -> RecipeConfig:
    """The default with its logits calibrated online, at serving too."""
    return replace(default(), name="calibrated", calibration=CalibrationConfig())


def cf_sgd() -> RecipeConfig:
    """The default with rows that step by how often they are seen: counts with a half-life, no sums of squares.

    The rate is of the batch's mean gradient, to which a row's few examples add little: hence its size.
    """
    base = default()
    tables = replace(base.tables, optimizer="cf_sgd", learning_rate=200.0, half_life_steps=2000)
    return replace(base, name="cf-sgd", tables=tables)


_RECIPES: dict[str, Callable[[], RecipeConfig]] = {
    "default": default,
    "incremental": incremental,
    "dcn": dcn,
    "plain-dlrm": plain_dlrm,
    "rowwise": rowwise,
    "every-id": every_id,
    "reloop": reloop,
    "incctr": incctr,
    "without-counters": without_counters,
    "downsampled": downsampled,
    "calibrated": calibrated,
    "cf-sgd": cf_sgd,
    "at-once": at_once,
    "oracle": oracle,
    "fnw": fnw,
    "fnc": fnc,
    "es-dfm": es_dfm,
    "defer": defer,
    "defuse": defuse,
    "bi-defuse": bi_defuse,
}


def recipe_names() -> list[str]:
    """The names of Freshet's own that `recipe` takes, of those that are made of parts the common ones."""
    return [*_RECIPES, *COMMON]


def recipe(name: str, *, seed: int = 0) -> RecipeConfig:
    """The recipe of that name. Raises InputError listing the names where there is none."""
    make = _RECIPES.get(name)
    config = make() if make else windowed(name) or peer(name)
    if config is None:
        known = ", ".join([*recipe_names(), *peer_names()])
        raise InputError("unknown recipe", field="recipe", value=name, remedy=f"use one of {known}")
    return with_seed(config, seed)


def with_seed(config: RecipeConfig, seed: int) -> RecipeConfig:
    """The recipe with other first values of rows and weights."""
    other = None if config.peer is None else replace(config.peer, seed=seed)
    return replace(
        config, network=replace(config.network, seed=seed), tables=replace(config.tables, seed=seed), peer=other
    )


def check_trainable(config: RecipeConfig) -> None:
    """Raises InputError for a recipe that only an evaluation can run: it knows labels before they come, learns
    whole rounds, or is a peer."""
    if config.peer is not None:
        raise InputError("is a peer, which is only measured", field="recipe", value=config.name,
                         remedy="use it with freshet evaluate, or train another recipe")  # fmt: skip
    if config.delayed is not None and config.delayed.labels == "final":
        raise InputError("knows final labels beforehand, which no live stream has", field="recipe", value=config.name,
                         remedy="use it with freshet evaluate --labels delayed")  # fmt: skip
    if config.update is not None and config.update.mode == "paper":
        if config.update.weighing == "hindsight":
            raise InputError("knows all of the data beforehand, which no live stream does", field="recipe",
                             value=config.name, remedy="use it with freshet evaluate")  # fmt: skip
        raise InputError("learns whole rounds, which only an evaluation runs", field="recipe", value=config.name,
                         remedy=remedy_for_steps(config))  # fmt: skip


def remedy_for_steps(config: RecipeConfig) -> str:
    """What to use in place of a recipe of whole rounds where a model must learn step by step."""
    live = config.update is not None and config.update.has_live_form
    return f"use {config.name}-live" if live else "use one that learns step by step, as incremental or fgd-3-live"


def with_table_rows(config: RecipeConfig, rows: int) -> RecipeConfig:
    """The recipe with tables of so many rows each, the default row included."""
    return replace(config, tables=replace(config.tables, capacity=rows, capacity_of=None))


def with_starting_rows(config: RecipeConfig, path: str) -> RecipeConfig:
    """The recipe with rows that begin as the file has them."""
    return replace(config, tables=replace(config.tables, starting_rows=path))


def has_rounds(config: RecipeConfig) -> bool:
    """Whether anything in it happens once a round."""
    return config.update is not None or config.teacher is not None


def with_round_seconds(config: RecipeConfig, seconds: float) -> RecipeConfig:
    """The recipe with rounds of so many seconds; without rounds, as it is. Raises InputError below one second."""
    update, teacher = config.update, config.teacher
    return replace(
        config,
        update=None if update is None else replace(update, round_seconds=seconds),
        teacher=None if teacher is None else replace(teacher, round_seconds=seconds),
    )


def recipe_to_state(config: RecipeConfig) -> dict[str, Any]:
    """The recipe as plain values, for a checkpoint's JSON."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    return state


def differences(config: RecipeConfig, state: dict[str, Any]) -> list[str]:
    """Dotted names of the settings in which a saved recipe differs from this one; its name does not count.

    A setting that the saved recipe does not have, being of before it, was at its default.
    """
    state = {**recipe_to_state(RecipeConfig(name="")), **state}
    if state["update"] is not None:
        state["update"] = _filled_in(state["update"], msgspec.to_builtins(UpdateConfig()))
    own = recipe_to_state(replace(config, name=str(state.get("name", ""))))
    return _differing("", own, state)


def _filled_in(state: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The settings that `state` has, and the defaults of those that it lacks, at every depth."""
    both = {name: (_filled_in(state[name], default) if isinstance(default, dict) else state[name])
            for name, default in defaults.items() if name in state}  # fmt: skip
    return {**defaults, **state, **both}


def _differing(prefix: str, a: Any, b: Any) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        names = [*a, *(name for name in b if name not in a)]
        return [path for name in names for path in _differing(f"{prefix}{name}.", a.get(name), b.get(name))]
    return [] if a == b else [prefix.rstrip(".")]
