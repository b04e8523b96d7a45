"""The names of recipes that learn from a window of rounds.

FAMILY-B[-linear | -eg][-live]      batch-window-3   fgd-3   fgd-3-linear   fgd-5-eg   decay-3-live
"""

from __future__ import annotations

import re

from trainer.future.config import UpdateConfig, Weighing

_FAMILIES: dict[str, Weighing] = {
    "batch-window": "uniform", "window": "uniform", "fixed-uniform": "uniform",
    "newest": "newest", "fixed-newest": "newest",
    "decay": "decay", "fixed-decay": "decay",
    "random": "random", "fixed-random": "random",
    "fgd": "attention", "fgd-linear": "linear", "fgd-eg": "eg",
}  # fmt: skip
_NAME = re.compile(r"(?P<family>[a-z-]+)-(?P<rounds>[1-9]\d?)(?P<variant>-linear|-eg)?(?P<live>-live)?")

COMMON = ("batch-window-3", "fgd-3", "fgd-3-linear", "fgd-3-eg", "newest-3", "decay-3", "random-3")
"""Names to list; others are made of the same parts."""


def update_named(name: str) -> UpdateConfig | None:
    """What the name says, or None where it is none of these."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    weighing = _FAMILIES.get(match["family"] + (match["variant"] or ""))
    if weighing is None:
        return None
    return UpdateConfig(weighing=weighing, num_rounds=int(match["rounds"]), mode="live" if match["live"] else "paper")
