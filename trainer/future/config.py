"""How a recipe mixes the newest rounds when it learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streams.contract.errors import InputError
from trainer.strategies.config import ModulatorConfig, ReservoirConfig

Method = Literal["mix", "spmf", "asmg"]
"""mix: the newest rounds in one weighted loss; spmf: the newest and a reservoir; asmg: of checkpoints, one model."""
Weighing = Literal["uniform", "newest", "decay", "random", "fixed", "attention", "linear", "eg", "hindsight"]
"""attention: softmax over the generator's outputs; linear: without; eg: exponentiated gradient; hindsight: the best
fixed ones, from a first pass over the same data."""
Mode = Literal["paper", "live"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Size of the attention network and how it learns. Its loss is relative: 1 is the error of forecasting zero."""

    buckets: int = 2048
    """Hashed (key, id) pairs of a round share so many rows of the generator's own embedding."""
    dim: int = 16
    hidden: int = 32
    pooling: Literal["mean", "sum"] = "mean"
    """Of the examples of a round. A sum lets the round's size speak."""
    steps: int = 20
    """Gradient steps a round, on the same Gram matrices."""
    learning_rate: float = 0.05
    ridge: float = 0.1
    """Pull towards uniform weights, for each squared distance: unbiased Gram matrices need not be definite."""
    max_negative: float = 1.0
    """Without softmax: what the weights below 0 may add up to. 1 carries a trend of two rounds on to the next."""

    def __post_init__(self) -> None:
        if not self.max_negative >= 0:
            raise InputError("must be 0 or more", field="generator.max_negative", value=self.max_negative)


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateConfig:
    """Learning from a window of rounds; without it every example is learnt once, when it comes."""

    method: Method = "mix"
    weighing: Weighing = "uniform"
    num_rounds: int = 3
    """b: the rounds that are mixed; of asmg, the checkpoints."""
    mode: Mode = "paper"
    round_seconds: float = 600.0
    """Of event time, in UTC from the epoch on: 86,400 are calendar days."""
    decay: float = 0.5
    """Of `decay`: what each older round counts for one newer."""
    fixed: tuple[float, ...] = ()
    """Of `fixed`: the weights, newest first."""
    eg_rate: float = 0.2
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    reach: float = 2.0
    """How far a negative weight may push a logit to the wrong side of the log odds of the mean label."""
    reservoir: ReservoirConfig = field(default_factory=ReservoirConfig)
    modulator: ModulatorConfig = field(default_factory=ModulatorConfig)
    snapshots: int = 2
    """Paper mode: how many of the models visited in a round's training the gradients are measured at."""
    gram_every: int = 64
    """Live mode: steps between two measurements of gradients."""
    max_round_examples: int = 20_000
    """Live mode: a longer round is thinned evenly on disk."""

    def __post_init__(self) -> None:
        for name in ("num_rounds", "snapshots", "gram_every", "max_round_examples"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=f"update.{name}", value=getattr(self, name))
        if not self.round_seconds >= 1:
            raise InputError("must be at least 1 second", field="update.round_seconds", value=self.round_seconds)
        if self.mode == "live" and not self.has_live_form:
            raise InputError("learns whole rounds only", field="update.mode", value=self.mode,
                             remedy="leave -live out; fgd-B-live and batch-window-B-live learn live")  # fmt: skip
        if not self.reach > 0:
            raise InputError("must be above 0", field="update.reach", value=self.reach)
        if self.weighing == "fixed" and len(self.fixed) != self.num_rounds:
            raise InputError(f"needs {self.num_rounds} weights, newest first", field="update.fixed", value=self.fixed)

    @property
    def round_ms(self) -> int:
        """Milliseconds of a round."""
        return int(self.round_seconds * 1000)

    @property
    def learns_weights(self) -> bool:
        """Whether the weights follow from measured gradients, which are then measured."""
        return self.method == "mix" and self.weighing in ("attention", "linear", "eg", "hindsight")

    @property
    def has_live_form(self) -> bool:
        """Whether it can learn step by step, too."""
        return self.method == "mix" and self.weighing != "hindsight"
