"""What the schema says of online counters: decayed shows and outcomes of a key, as dense values of the model.

[[counters]]
name = "article"
key = ["article_id"]                        # single-valued categorical features; several make one key together
half_lives_seconds = [600, 3600, 86400]
outcome = "click"                           # the kind of feedback that is counted, the recipe's own
smoothing = 20                              # shows that the prior weighs in the smoothed rate
capacity = 200_000                          # keys kept; beyond it those with the least decayed weight go
horizon_seconds = 7200                      # how late a label may come for its example still to get its counters

Each counter adds three dense values a half-life: scaled ln(1 + shows) and ln(1 + outcomes), and the lift, ln(smoothed
rate / prior). The prior is the decayed rate of everything; its logarithm is one more dense value of the request,
once for each half-life in use. As features they stand behind all others, with names such as `article.lift.600`;
nobody sends them: trainer and scorer fill them in.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.contract.errors import InputError

VALUES = ("shows", "outcomes", "lift")
"""Dense values of one counter at one half-life."""
TABLE_PREFIX = "counter."
"""Tables of counters begin with it, and no others."""
MAX_KEYS = (1 << 21) - 2
"""Keys of all counters together."""
_MAX_HALF_LIVES = 8


class Counter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decayed shows and outcomes of one key. Half-lives and horizon are on the data's clock."""

    name: str
    key: tuple[str, ...]
    half_lives_seconds: tuple[float, ...] = (600.0, 3600.0, 86_400.0)
    outcome: str = "click"
    smoothing: float = 20.0
    capacity: int = 200_000
    horizon_seconds: float = 7200.0

    @property
    def values(self) -> list[str]:
        """Names of the dense values that it adds to its side, in order."""
        return [f"{self.name}.{value}.{life:g}" for value in VALUES for life in self.half_lives_seconds]


def half_lives_of(counters: Sequence[Counter]) -> tuple[float, ...]:
    """The distinct half-lives in seconds, shortest first."""
    return tuple(sorted({half_life for counter in counters for half_life in counter.half_lives_seconds}))


def prior_values(counters: Sequence[Counter]) -> list[str]:
    """Names of the dense values that the rate of everything adds to the request, before those of its counters."""
    return [f"everything.prior.{life:g}" for life in half_lives_of(counters)]


def check_counters(counters: Sequence[Counter]) -> None:
    """Raises InputError naming the counter's field."""
    for counter in counters:
        _check(counter)
    if len({counter.outcome for counter in counters}) > 1:
        raise InputError("all counters count one kind of feedback", field="counters.outcome",
                         value=sorted({counter.outcome for counter in counters}),
                         remedy="give them the kind that the recipe learns")  # fmt: skip
    num_keys = sum(counter.capacity for counter in counters)
    if num_keys > MAX_KEYS:
        raise InputError(f"the counters keep more than {MAX_KEYS} keys in all", field="counters.capacity",
                         value=num_keys, remedy="lower some")  # fmt: skip


def _check(counter: Counter) -> None:
    lives = counter.half_lives_seconds
    if not 1 <= len(lives) <= _MAX_HALF_LIVES or list(lives) != sorted(set(lives)) or lives[0] <= 0:
        raise InputError(f"must be 1 to {_MAX_HALF_LIVES} rising numbers above 0",
                         field=f"{counter.name}.half_lives_seconds", value=lives)  # fmt: skip
    for name in ("smoothing", "capacity", "horizon_seconds"):
        if getattr(counter, name) <= 0:
            raise InputError("must be above 0", field=f"{counter.name}.{name}", value=getattr(counter, name))
