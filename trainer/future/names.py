"""The names of recipes that learn from a window of rounds.

FAMILY-B[-linear | -eg][-live]      batch-window-3   fgd-3   fgd-3-linear   fgd-5-eg   decay-3-live   asmg-linear-3
"""

from __future__ import annotations

import re
from dataclasses import replace

from trainer.future.config import UpdateConfig
from trainer.strategies.config import ModulatorConfig

_FAMILIES = {
    **dict.fromkeys(("batch-window", "window", "fixed-uniform"), UpdateConfig(weighing="uniform")),
    **dict.fromkeys(("newest", "fixed-newest"), UpdateConfig(weighing="newest")),
    **dict.fromkeys(("decay", "fixed-decay"), UpdateConfig(weighing="decay")),
    **dict.fromkeys(("random", "fixed-random"), UpdateConfig(weighing="random")),
    "fgd": UpdateConfig(weighing="attention"),
    "fgd-linear": UpdateConfig(weighing="linear"),
    "fgd-eg": UpdateConfig(weighing="eg"),
    "hindsight": UpdateConfig(weighing="hindsight"),
    "spmf": UpdateConfig(method="spmf"),
    "asmg-linear": UpdateConfig(method="asmg", modulator=ModulatorConfig(kind="linear")),
    "asmg-gru": UpdateConfig(method="asmg", modulator=ModulatorConfig(kind="gru")),
}
_SHORT = {"asmg-gru": "asmg-gru-3"}
_NAME = re.compile(r"(?P<family>[a-z-]+)-(?P<rounds>[1-9]\d?)(?P<variant>-linear|-eg)?(?P<live>-live)?")

COMMON = (
    "batch-window-3", "fgd-3", "fgd-3-linear", "fgd-3-eg", "newest-3", "decay-3", "random-3", "hindsight-3",
    "spmf-3", "asmg-linear-3", "asmg-gru-3",
)  # fmt: skip
"""Names to list; others are made of the same parts."""


def update_named(name: str) -> UpdateConfig | None:
    """What the name says, or None where it is none of these. Raises InputError for a live form that is not there."""
    match = _NAME.fullmatch(_SHORT.get(name, name))
    if match is None:
        return None
    update = _FAMILIES.get(match["family"] + (match["variant"] or ""))
    if update is None:
        return None
    return replace(update, num_rounds=int(match["rounds"]), mode="live" if match["live"] else "paper")
