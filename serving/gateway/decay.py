"""When decayed counts are due to fade, on the data's clock."""

from __future__ import annotations

_FOLDS_PER_HALF_LIFE = 8


class DecayClock:
    """Follows the newest event time. Counts are folded eight times a half-life, not at every event."""

    def __init__(self, half_life_ms: int) -> None:
        self._half_life_ms = half_life_ms
        self._folded_ms: int | None = None

    def elapsed_ms(self, now_ms: int) -> tuple[int, bool]:
        """(milliseconds by which counts have aged since they were last folded, whether a fold is due).

        At most a half-life: one event with a wrong clock must not wipe out everything that is remembered.
        """
        if self._folded_ms is None or now_ms < self._folded_ms - self._half_life_ms:
            return 0, True
        elapsed_ms = max(0, now_ms - self._folded_ms)
        return min(elapsed_ms, self._half_life_ms), elapsed_ms >= self._half_life_ms / _FOLDS_PER_HALF_LIFE

    def folded(self, now_ms: int) -> None:
        """Counts were folded at this time."""
        self._folded_ms = now_ms

    def factor(self, elapsed_ms: int) -> float:
        """What is left of a count after so long."""
        left: float = 0.5 ** (elapsed_ms / self._half_life_ms)
        return left
