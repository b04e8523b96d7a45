"""What a scorer is started with."""

from __future__ import annotations

from dataclasses import dataclass

from streams.contract.errors import InputError

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScorerConfig:
    """Addresses, memory and patience of one scorer. Passwords come from the environment alone."""

    model: str = "ctr"
    log: str = ""
    redis: str = ""

    # memory
    max_hot_rows: int = 1_000_000
    max_unknown_ids: int = 200_000

    # processor
    num_threads: int = 1
    precision: str = "float32"
    """Of wide hidden layers. "bfloat16" is faster where the processor multiplies it (AMX), and changes scores a
    little: served and trained numbers then agree to about 1e-3 instead of 1e-6."""
    warm_up_candidates: tuple[int, ...] = (1, 32, 256, 1024)

    # patience
    live_poll_seconds: float = 0.1
    log_poll_seconds: float = 0.2
    catch_up_timeout_seconds: float = 0.2
    store_timeout_seconds: float = 0.25
    """A batch that waited so long for the store goes on without, and the next ones too until it is seen to answer."""
    load_timeout_seconds: float = 60.0
    stale_after_seconds: float = 2.0

    def __post_init__(self) -> None:
        for name in ("log", "redis", "model"):
            if not getattr(self, name):
                raise InputError("is not set", field=name, remedy=f"give the scorer its {name}")
        if self.precision not in PRECISIONS:
            raise InputError("is no precision", field="precision", value=self.precision,
                             remedy=f"use {' or '.join(PRECISIONS)}")  # fmt: skip
        for name in ("max_hot_rows", "max_unknown_ids", "num_threads"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=name, value=getattr(self, name))
