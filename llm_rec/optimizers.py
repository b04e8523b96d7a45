"""Adam for each set of ID embeddings, and for the language model where it learns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from llm_rec.models import Models
from llm_rec.schedule import ScheduleConfig, Stage, Task

Owner = Literal["collaborative", "content"]
_OPTIMIZERS = {"collaborative": "collaborative", "bias": "collaborative", "content": "content", "backbone": "backbone"}
"""Which of the optimizers moves what `Models.learnt` names so; what else it names is chosen, not learnt."""


def owner_of(task: Task) -> Owner:
    """Whose step an epoch of the task takes."""
    return "content" if task == "content" else "collaborative"


def moved(models: Models, tasks: Collection[Task]) -> dict[str, dict[str, nn.Parameter]]:
    """Optimizer -> name as in `Models.learnt` -> what it moves in a run of those tasks."""
    acting = {"backbone", *map(owner_of, tasks)}
    groups: dict[str, dict[str, nn.Parameter]] = {}
    for name, parameter in models.learnt():
        optimizer = _OPTIMIZERS.get(name.partition(".")[0])
        if optimizer in acting:
            groups.setdefault(optimizer, {})[name] = parameter
    return groups


class Optimizers:
    """Adam without decay or schedule; a set's step moves that set alone, and the backbone where it learns."""

    def __init__(
        self, groups: Mapping[str, Mapping[str, nn.Parameter]], schedule: ScheduleConfig, stage: Stage
    ) -> None:
        """`groups` are what `moved` gives."""
        rate = schedule.finetuning_rate if stage == "fine-tuning" else schedule.pretraining_rate
        self._of = {
            name: torch.optim.Adam(
                list(group.values()), lr=schedule.backbone_rate if name == "backbone" else rate, fused=True
            )
            for name, group in groups.items()
        }

    def descend(self, loss: Tensor, owner: Owner) -> None:
        """One step down the loss."""
        for optimizer in self._of.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, optimizer in self._of.items():
            if name in (owner, "backbone"):
                optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors by `OPTIMIZER/PARAMETER/PART`."""
        return {
            f"{name}/{number}/{part}": tensor
            for name, optimizer in self._of.items()
            for number, parts in optimizer.state_dict()["state"].items()
            for part, tensor in parts.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""
        for name, optimizer in self._of.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in tensors.items():
                of, number, part = key.split("/")
                if of == name:
                    state.setdefault(int(number), {})[part] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
