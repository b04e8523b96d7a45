"""What the settings of all peers have in common; each peer's own stand beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NumberForm = Literal["values", "buckets", "both"]
"""How a learner that is linear in its features sees a number: standardised, as the bucket it falls into, or as both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerConfig:
    """Which other learner learns, and how."""

    seed: int = 0
    """Of whatever the peer draws by chance; those that draw nothing learn the same with every seed."""
