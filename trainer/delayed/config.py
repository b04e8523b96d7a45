"""How a recipe treats labels that may still change; see docs/delayed.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streams.contract.errors import InputError
from trainer.dense_optimizer import DenseOptimizerConfig

MethodName = Literal["plain", "fnw", "fnc", "es-dfm", "defer", "defuse", "bi-defuse"]
LabelsWanted = Literal["window", "at-once", "final"]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadsConfig:
    """The small network that tells late clicks from none; only methods that need it have one."""

    hidden: int = 32
    late_share: float = 0.05
    """Share of an example's clicks that come late, as the untrained heads have it."""
    optimizer: DenseOptimizerConfig = field(
        default_factory=lambda: DenseOptimizerConfig(kind="adam", learning_rate=0.002)
    )

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise InputError("needs a unit or more", field="delayed.heads.hidden", value=self.hidden)
        if not 0.0 < self.late_share < 1.0:
            raise InputError("is a share between 0 and 1, both excluded", field="delayed.heads.late_share",
                             value=self.late_share)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayedConfig:
    """The method, and the labels that an evaluation with delays gives to the recipe."""

    method: MethodName = "plain"
    labels: LabelsWanted = "window"
    """window: after the evaluation's window; at-once: negative at the impression; final: known at the impression,
    which only an evaluation can give."""
    heads: HeadsConfig = field(default_factory=HeadsConfig)
