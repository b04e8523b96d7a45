"""Two communities of users who like none of each other's items, each with one like of their own withheld."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llm_rec.backbone import BackboneConfig
from llm_rec.config import Cllm4recConfig
from llm_rec.interactions import Catalogue
from llm_rec.schedule import ScheduleConfig
from llm_rec.splits import Split
from llm_rec.switches import Switches

NUM_USERS = 12
NUM_ITEMS = 12
TINY = Cllm4recConfig(
    name="tiny",
    backbone=BackboneConfig(kind="tiny"),
    id_std=None,
    schedule=ScheduleConfig(
        warm_up_epochs=1, pretraining_epochs=12, finetuning_epochs=12,
        pretraining_rate=0.02, finetuning_rate=0.02, batch_size=6, choose="last",
    ),
)  # fmt: skip
SHORT = replace(
    TINY, schedule=replace(TINY.schedule, warm_up_epochs=1, pretraining_epochs=1, finetuning_epochs=2)
)  # fmt: skip


def two_communities() -> Split:
    """Users and items of one parity like each other; user u's withheld item is test and validation."""
    train, withheld = [], []
    for user in range(NUM_USERS):
        own = np.arange(user % 2, NUM_ITEMS, 2)
        left_out = own[user // 2 % len(own)]
        train.append(own[own != left_out])
        withheld.append(np.array([left_out]))
    names = tuple(str(number) for number in range(NUM_USERS))
    return Split("time", names, names, train, withheld, withheld)


def coloured() -> Catalogue:
    """The items' texts tell the communities apart."""
    return Catalogue(tuple(f"{('blue', 'red')[item % 2]} thing {item}" for item in range(NUM_ITEMS)))


def with_switches(config: Cllm4recConfig, switches: Switches) -> Cllm4recConfig:
    """The config with other switches."""
    return replace(config, switches=switches)


def quiet(message: str) -> None:
    """Takes progress and says nothing."""
