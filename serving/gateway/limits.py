"""How many requests at once, how long each may take, how large it may be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from streams.contract.errors import BackPressureError, InputError, TooLargeError

MAX_DEADLINE_MS = 60_000


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsConfig:
    """Bounds on requests."""

    max_in_flight: int = 128
    """Scoring requests being answered at once; one more gets 429."""
    deadline_ms: int = 500
    """Where the request has no `x-deadline-ms`."""
    max_body_bytes: int = 8 * 1024 * 1024
    retry_after_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "deadline_ms", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise InputError("must be at least 1", field=f"limits.{name}", value=getattr(self, name))


class InFlight:
    """Bounded concurrency: a context that is refused, not queued for, when full. For one event loop."""

    def __init__(self, limits: LimitsConfig) -> None:
        self.count = 0
        self._limits = limits

    def __enter__(self) -> None:
        if self.count >= self._limits.max_in_flight:
            raise BackPressureError(
                f"{self.count} requests are being answered already",
                remedy="send it again after Retry-After, or add a gateway",
                retry_after_seconds=self._limits.retry_after_seconds,
            )
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.count -= 1


def deadline_seconds(header: bytes | None, limits: LimitsConfig) -> float:
    """When the answer is due (`time.monotonic()` seconds), from the header `x-deadline-ms`. Raises InputError."""
    if header is None:
        return time.monotonic() + limits.deadline_ms / 1000
    text = header.decode("latin-1").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not 1 <= int(text) <= MAX_DEADLINE_MS:
        raise InputError("is not a deadline", field="x-deadline-ms", value=text,
                         remedy=f"send 1 to {MAX_DEADLINE_MS} milliseconds")  # fmt: skip
    return time.monotonic() + int(text) / 1000


def check_body_bytes(num_bytes: int, limits: LimitsConfig) -> None:
    """Raises TooLargeError where a body of so many bytes is too large."""
    if num_bytes > limits.max_body_bytes:
        raise TooLargeError("the body is too large", field="body", value=f"{num_bytes} bytes",
                            remedy=f"send at most {limits.max_body_bytes} bytes a request")  # fmt: skip
