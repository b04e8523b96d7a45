"""Settings of the update strategies that are no mixing of rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streams.contract.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig:
    """A second loss from the model's own scores of a round ago: (1 - share) * cross-entropy + share * that."""

    loss: Literal["worse", "distil"]
    """worse: what the probability is further from the label than before (ReLoop); distil: cross-entropy to the
    teacher's probabilities (IncCTR)."""
    share: float
    temperature: float = 1.0
    """Of `distil`: both logits are divided by it."""
    round_seconds: float = 600.0
    """Of event time: the teacher is the model as it stood when the present round began."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError("must be from 0 to 1", field="teacher.share", value=self.share)
        if not self.temperature > 0:
            raise InputError("must be above 0", field="teacher.temperature", value=self.temperature)
        if not self.round_seconds >= 1:
            raise InputError("must be at least 1 second", field="teacher.round_seconds", value=self.round_seconds)

    @property
    def round_ms(self) -> int:
        """Milliseconds of a round."""
        return int(self.round_seconds * 1000)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReservoirConfig:
    """How much of the past SPMF keeps, and how much of it a round learns again."""

    fraction: float = 0.3
    """Size of the reservoir, as a share of the examples of the first b rounds."""
    replay: float = 0.1
    """Examples replayed in a round, as a share of its own."""

    def __post_init__(self) -> None:
        for name in ("fraction", "replay"):
            if not getattr(self, name) > 0:
                raise InputError("must be above 0", field=f"reservoir.{name}", value=getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModulatorConfig:
    """How ASMG makes the served weights of those of the last checkpoints, and how it learns to."""

    kind: Literal["linear", "gru"] = "gru"
    hidden: int = 4
    learning_rate: float = 0.01
    """Of Adam."""
    epochs: int = 1
    """Passes over the newest round."""
    batch_size: int = 1024

    def __post_init__(self) -> None:
        for name in ("hidden", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=f"modulator.{name}", value=getattr(self, name))
