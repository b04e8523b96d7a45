"""Vowpal Wabbit's online linear learners, by its own option names.

Every id is a feature of value 1 over the size of its bag, every number one of its value and its bucket, all in one
namespace, so that `-q ::` crosses everything with everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from streams.contract.schema import Schema
from trainer.peers.config import NumberForm, PeerConfig
from trainer.peers.flat import Flat, num_numbers, words_of
from trainer.peers.number_forms import NumberForms
from trainer.peers.packages import imported
from trainer.peers.peer import ExamplePeer


@dataclass(frozen=True, kw_only=True, slots=True)
class VwConfig(PeerConfig):
    """Vowpal Wabbit's options; None leaves one at its default."""

    learner: Literal["ftrl", "coin"] = "ftrl"
    """`ftrl`: FTRL-proximal (McMahan et al. 2013); `coin`: coin betting (Orabona and Pal 2016)."""
    quadratic: bool = False
    """`-q ::`: a weight for every pair of features."""
    bits: int = 22
    """`-b`: 2^bits weights, which features and pairs share by hash."""
    alpha: float | None = None
    beta: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    numbers: NumberForm = "both"


def vw_options(config: VwConfig) -> str:
    """The options that make this learner."""
    parts = [f"--loss_function logistic --{config.learner} -b {config.bits} --quiet --no_stdin"]
    if config.quadratic:
        parts.append("-q ::")
    for name, value in (("ftrl_alpha", config.alpha), ("ftrl_beta", config.beta)):
        if value is not None:
            parts.append(f"--{name} {value:g}")
    for name, value in (("l1", config.l1), ("l2", config.l2)):
        if value:
            parts.append(f"--{name} {value:g}")
    return " ".join(parts)


class VwText:
    """Examples as lines of Vowpal Wabbit's input, without labels."""

    def __init__(self, schema: Schema, config: VwConfig) -> None:
        width = num_numbers(schema)
        self._forms = NumberForms(width, config.numbers)
        shown = width if config.numbers != "buckets" else 0
        self._pattern = "".join(f" n{number}:%.5g" for number in range(shown))

    def __call__(self, flat: Flat) -> list[str]:
        """One line an example."""
        flat = self._forms(flat)
        words = words_of(flat)
        ends = words.ends.tolist()
        each = [
            f"{name}" if weight == 1.0 else f"{name}:{weight:.5g}"
            for name, weight in zip(words.names.tolist(), words.weights.tolist(), strict=True)
        ]
        return [
            f"| {' '.join(each[start:end])}{self._pattern % tuple(numbers)}"
            for start, end, numbers in zip([0, *ends[:-1]], ends, flat.dense.tolist(), strict=True)
        ]


def labelled(line: str, label: float, weight: float) -> str:
    """The line with its label: 1 for a click, -1 for none, and how much it weighs."""
    return f"{2 * label - 1:g} {weight:g} {line}"


class VowpalWabbit(ExamplePeer):
    """One workspace."""

    def __init__(self, schema: Schema, config: VwConfig) -> None:
        """Raises InputError where the package is absent."""
        self._text = VwText(schema, config)
        self._workspace = imported("vowpalwabbit", package="vowpalwabbit").Workspace(vw_options(config))

    def read(self, flat: Flat) -> list[Any]:
        return self._text(flat)

    def predict(self, example: str) -> float:
        return float(self._workspace.predict(example))

    def learn(self, example: str, label: float, weight: float) -> None:
        self._workspace.learn(labelled(example, label, weight))

    def close(self) -> None:
        self._workspace.finish()
