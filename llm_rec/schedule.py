"""How long and in which order CLLM4Rec learns.

warm-up      content
pretraining  collaborative, content, collaborative, content, ...
fine-tuning  recommend, (validation,) content, recommend, ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streams.contract.errors import InputError

Stage = Literal["warm-up", "pretraining", "fine-tuning"]
Task = Literal["collaborative", "content", "recommend"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """Epochs of each stage, rates of Adam, rows a step; the defaults are those of the reference code."""

    warm_up_epochs: int = 10
    pretraining_epochs: int = 100
    """Of each of the two tasks."""
    finetuning_epochs: int = 150
    """Of each of the two tasks; 0: the pretrained model is asked for the next item."""
    pretraining_rate: float = 1e-3
    finetuning_rate: float = 1e-4
    backbone_rate: float = 1e-4
    """Of the language model's own weights, where they learn."""
    batch_size: int = 20
    choose: Literal["validation", "last"] = "validation"
    """Which fine-tuning epoch is kept: the best by Recall@20 + Recall@40 + NDCG@100, or the last. Without fine-tuning
    it is one of pretraining."""
    masked_share: float = 0.2
    """Of a user's items, how many fine-tuning masks; at least one."""
    left_out_share: float = 0.0
    """Of a user's likes, where there are three or more, how many an interaction document leaves out, drawn anew each
    epoch: what is behind a gap is the next like, too."""
    average: float = 0.0
    """How much of the running mean of the weights, which is what is kept, stays at each step; 0: no mean."""
    anonymous_share: float = 0.0
    """Of the interaction documents and fine-tuning prompts, how many leave the user out: what unknown users meet."""

    def __post_init__(self) -> None:
        for name in ("warm_up_epochs", "pretraining_epochs", "finetuning_epochs"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=f"schedule.{name}", value=getattr(self, name))
        if self.batch_size < 1:
            raise InputError("must be 1 or more", field="schedule.batch_size", value=self.batch_size)
        for name in ("masked_share", "anonymous_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError("is a share, 0 to 1", field=f"schedule.{name}", value=getattr(self, name))
        for name in ("left_out_share", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError("must be 0 or more and below 1", field=f"schedule.{name}", value=getattr(self, name))

    @property
    def kept(self) -> Task:
        """Of which task an epoch's end may be what is kept."""
        return "recommend" if self.finetuning_epochs else "collaborative"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass of one task; `number` counts within stage and task from 0, `last` is how many there are."""

    stage: Stage
    task: Task
    number: int
    of: int

    @property
    def regularised(self) -> bool:
        """Whether the two sets are held together: not in the warm-up."""
        return self.stage != "warm-up"

    def __str__(self) -> str:
        return f"{self.stage}, {self.task} {self.number + 1} of {self.of}"


def plan(schedule: ScheduleConfig, *, with_content: bool) -> list[Epoch]:
    """All epochs in their order; without those of content where there are no texts."""
    epochs = [Epoch("warm-up", "content", n, schedule.warm_up_epochs) for n in range(schedule.warm_up_epochs)]
    epochs += _alternating("pretraining", "collaborative", schedule.pretraining_epochs)
    epochs += _alternating("fine-tuning", "recommend", schedule.finetuning_epochs)
    return [epoch for epoch in epochs if with_content or epoch.task != "content"]


def _alternating(stage: Stage, first: Task, num_epochs: int) -> list[Epoch]:
    return [Epoch(stage, task, n, num_epochs) for n in range(num_epochs) for task in (first, "content")]
