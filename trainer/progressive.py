"""Progressive validation: every example is predicted, scored, and only then learnt.

Lifetime scores come from sums, those of the newest window from its examples themselves, so its AUC
is exact. A correction is no new example: it was scored when its first label came, and is counted apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.versions.delta import WindowScores
from trainer.tally import Floats, Scores, Tally, exact_auc, log_losses

OTHER_ARMS = "(other)"
_MAX_ARMS = 64
_WINDOW_COLUMNS = {
    "label": "<f4", "logit": "<f4", "weight": "<f4", "true_probability": "<f4", "served_probability": "<f4",
    "served_version": "<i8", "arm": "<i2",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressiveConfig:
    """Examples in the window."""

    window: int = 50_000

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InputError("must be at least 1", field="window", value=self.window)


class Progressive:
    """Scores of predictions made before their examples were learnt, by lifetime, window and arm."""

    def __init__(self, config: ProgressiveConfig) -> None:
        self.config = config
        self.lifetime = Tally()
        self.num_corrections = 0
        self._arms: dict[str, Tally] = {}
        self._ring = {name: np.zeros(config.window, dtype=dtype) for name, dtype in _WINDOW_COLUMNS.items()}
        self._next = 0
        self._filled = 0

    def add(self, examples: ExampleBatch, logit: Array) -> Floats:
        """Scores logits (E,) of examples that are not learnt yet; the log loss (E,) of each, corrections nan."""
        losses = np.full(len(examples), np.nan)
        new: Array | slice = slice(None)
        if examples.correction.any():
            new = np.flatnonzero(~examples.correction)
            self.num_corrections += len(examples) - len(new)
            if not len(new):
                return losses
        request = examples.request_index[new]
        columns = {
            "label": examples.label[new], "logit": logit[new], "weight": examples.weight[new],
            "true_probability": examples.true_probability[new], "served_probability": examples.predicted[new],
            "served_version": examples.version[request],
        }  # fmt: skip
        columns["arm"] = self._arm_codes(examples.arm)[request]
        losses[new] = self._tally(columns)
        self._remember(columns)
        return losses

    def window_scores(self) -> Scores:
        """Scores of the newest `window` examples; the AUC is exact."""
        return _scores_of({name: self._window(name) for name in self._ring})

    def arm_scores(self) -> dict[str, Scores]:
        """Lifetime scores by the arm that made the impression; at most 64 arms are told apart."""
        return {arm: tally.scores() for arm, tally in self._arms.items()}

    def window_arm_scores(self) -> dict[str, Scores]:
        """Scores of each arm's examples within the window."""
        arm = self._window("arm")
        columns = {name: self._window(name) for name in self._ring}
        names = list(self._arms)
        present = np.unique(arm).tolist()
        return {names[n]: _scores_of({name: c[arm == n] for name, c in columns.items()}) for n in present}

    def newest(self) -> WindowScores:
        """The window's examples as a gate wants them, oldest first."""
        logit = self._window("logit").astype(np.float64)
        return WindowScores(
            label=self._window("label"),
            probability=(1.0 / (1.0 + np.exp(-logit))).astype(np.float32),
            served_probability=self._window("served_probability"),
            served_version=self._window("served_version"),
        )

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays, plain values) for a checkpoint."""
        arrays = {f"window.{name}": self._window(name) for name in self._ring}
        arrays |= {f"lifetime.{name}": array for name, array in self.lifetime.state().items()}
        for number, tally in enumerate(self._arms.values()):
            arrays |= {f"arm{number}.{name}": array for name, array in tally.state().items()}
        return arrays, {"arms": list(self._arms), "num_corrections": self.num_corrections}

    def load_state(self, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> None:
        """The inverse of `state`; of a larger window the newest examples are kept."""
        self._next = self._filled = 0
        self._remember({name: arrays[f"window.{name}"] for name in _WINDOW_COLUMNS})
        self.num_corrections = values["num_corrections"]
        self.lifetime.load_state(_under("lifetime.", arrays))
        self._arms = {}
        for number, arm in enumerate(values["arms"]):
            self._arms[arm] = Tally()
            self._arms[arm].load_state(_under(f"arm{number}.", arrays))

    def _arm_codes(self, arms: list[str]) -> Array:
        """The number of each arm (R,) int16, in order of first appearance; new arms beyond the most share one."""
        distinct = dict.fromkeys(arms)
        for arm in distinct:
            if arm not in self._arms:
                name = arm if len(self._arms) < _MAX_ARMS - 1 else OTHER_ARMS
                self._arms.setdefault(name, Tally())
        numbers = {arm: number for number, arm in enumerate(self._arms)}
        other = numbers.get(OTHER_ARMS, 0)
        if len(distinct) == 1:
            return np.full(len(arms), numbers.get(arms[0], other), dtype=np.int16)
        return np.array([numbers.get(arm, other) for arm in arms], dtype=np.int16)

    def _tally(self, columns: Mapping[str, Array]) -> Floats:
        label, logit, weight, true = (
            columns[name].astype(np.float64) for name in ("label", "logit", "weight", "true_probability")
        )
        losses = log_losses(logit, label)
        tallies = list(self._arms.values())
        present = np.flatnonzero(np.bincount(columns["arm"])).tolist()
        for number in present:
            of_arm: Array | slice = columns["arm"] == number if len(present) > 1 else slice(None)
            tally = Tally()
            tally.add(label[of_arm], logit[of_arm], weight[of_arm], losses[of_arm], true[of_arm])
            tallies[number].merge(tally)
            self.lifetime.merge(tally)
        return losses

    def _remember(self, columns: Mapping[str, Array]) -> None:
        """Overwrites the oldest of the window."""
        size = self.config.window
        count = min(len(columns["label"]), size)
        before_end = min(count, size - self._next)
        for name, ring in self._ring.items():
            newest = columns[name][len(columns[name]) - count :]
            ring[self._next : self._next + before_end] = newest[:before_end]
            ring[: count - before_end] = newest[before_end:]
        self._next = (self._next + count) % size
        self._filled = min(self._filled + count, size)

    def _window(self, name: str) -> Array:
        """A column of the window, oldest first; a copy."""
        ring = self._ring[name]
        return ring[: self._filled].copy() if self._filled < len(ring) else np.roll(ring, -self._next)


def _scores_of(columns: Mapping[str, Array]) -> Scores:
    label, logit, weight, true = (
        columns[name].astype(np.float64) for name in ("label", "logit", "weight", "true_probability")
    )
    tally = Tally()
    tally.add(label, logit, weight, log_losses(logit, label), true)
    return replace(tally.scores(), auc=exact_auc(label, logit, weight))


def _under(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
