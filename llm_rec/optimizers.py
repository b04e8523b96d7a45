"""Adam for each set of ID embeddings, and for the language model where it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from llm_rec.models import Models
from llm_rec.schedule import ScheduleConfig, Stage

Owner = Literal["collaborative", "content"]


class Optimizers:
    """Adam without decay or schedule; a set's step moves that set alone, and the backbone where it learns."""

    def __init__(self, models: Models, schedule: ScheduleConfig, stage: Stage) -> None:
        rate = schedule.finetuning_rate if stage == "fine-tuning" else schedule.pretraining_rate
        self._of: dict[str, torch.optim.Adam] = {
            "collaborative": torch.optim.Adam([models.collaborative.table, *_bias(models)], lr=rate, fused=True),
            "content": torch.optim.Adam([models.content.table], lr=rate, fused=True),
        }
        weights = [parameter for _, parameter in models.backbone.parameters()]
        if weights:
            self._of["backbone"] = torch.optim.Adam(weights, lr=schedule.backbone_rate, fused=True)

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


def _bias(models: Models) -> list[nn.Parameter]:
    return [] if models.bias is None else [models.bias]
