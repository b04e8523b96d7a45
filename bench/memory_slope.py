"""How fast memory grows behind a warm-up, from looks at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.process_memory import Memory
from streams.contract.errors import FreshetError

_CURVE_POINTS = 20


@dataclass(frozen=True, slots=True)
class Samples:
    """Events worked off, and the memory of each process, look by look."""

    num_events: list[int] = field(default_factory=list)
    memory: dict[str, list[Memory]] = field(default_factory=dict)


def slopes(samples: Samples, warm_up_events: float) -> dict[str, Any]:
    """Growth and sizes by process behind the warm-up. Raises FreshetError with too few looks."""
    events = np.array(samples.num_events, dtype=np.float64)
    settled = events >= warm_up_events
    if len(np.unique(events[settled])) < 3:
        raise FreshetError("too few looks behind the warm-up", field="sample_seconds", value=int(settled.sum()),
                           remedy="look more often, or replay more events")  # fmt: skip
    sizes = {
        name: np.array([[memory.resident, memory.anonymous] for memory in seen])[settled]
        for name, seen in samples.memory.items()
    }
    millions = events[settled] / 1e6
    return {
        "slope_mib_per_million_events": {name: _slope(millions, size[:, 0]) for name, size in sizes.items()},
        "anonymous_slope_mib_per_million_events": {name: _slope(millions, size[:, 1]) for name, size in sizes.items()},
        "resident_mib": {name: _ends(size[:, 0]) for name, size in sizes.items()},
        "anonymous_mib": {name: _ends(size[:, 1]) for name, size in sizes.items()},
        "anonymous_mib_by_million_events": {name: _curve(millions, size[:, 1]) for name, size in sizes.items()},
    }


def _slope(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """The median slope over all pairs of looks (Theil and Sen): a checkpoint's short peak does not tilt it."""
    one, other = np.triu_indices(len(x), k=1)
    apart = x[other] > x[one]
    one, other = one[apart], other[apart]
    return round(float(np.median((y[other] - y[one]) / (x[other] - x[one]))), 2)


def _curve(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[list[float]]:
    """At most twenty [million events, MiB], the ends among them: what still rises is told from what has settled."""
    places = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).astype(np.int64))
    return [[round(float(x[place]), 2), round(float(y[place]), 1)] for place in places]


def _ends(size: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"first": round(float(size[0]), 1), "last": round(float(size[-1]), 1),
            "largest": round(float(size.max()), 1)}  # fmt: skip
