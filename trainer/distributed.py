"""Which of how many trainers this process is, as `torchrun` says in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from streams.contract.errors import InputError


@dataclass(frozen=True, slots=True)
class Place:
    """Trainer `rank` of `world_size`. It reads the partitions p with p % world_size == rank; rank 0 publishes."""

    rank: int = 0
    world_size: int = 1


def place_from(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that RANK and WORLD_SIZE name; alone where they are unset.

    Raises InputError where they are no numbers, or name more than one trainer: tables and dense
    gradients are not exchanged between trainers.
    """
    place = Place(_number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1))
    if place.world_size != 1:
        raise InputError("only one trainer process is supported", field="WORLD_SIZE", value=place.world_size,
                         remedy="run with torchrun --nproc-per-node 1 --nnodes 1, or without torchrun")  # fmt: skip
    return place


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if text and not text.isdigit():
        raise InputError("is not a number", field=name, value=text, remedy="unset it, or start with torchrun")
    return int(text) if text else default
