"""The mixer that a recipe asks for."""

from __future__ import annotations

from streams.contract.schema import Schema
from trainer.future.config import UpdateConfig
from trainer.future.exponentiated import ExponentiatedGradient
from trainer.future.generator import LearnedWeights
from trainer.future.mixers import FixedWeights, Mixer, RandomWeights, RecordedGrams, decaying, newest_only, uniform


def build_mixer(config: UpdateConfig, schema: Schema, seed: int) -> Mixer:
    """As `config.weighing` says; `seed` draws the generator's first values and the random weights."""
    b = config.num_rounds
    match config.weighing:
        case "uniform":
            return uniform(b)
        case "newest":
            return newest_only(b)
        case "decay":
            return decaying(b, config.decay)
        case "random":
            return RandomWeights(b, seed)
        case "fixed":
            return FixedWeights(config.fixed)
        case "hindsight":
            return RecordedGrams(b)
        case "eg":
            return ExponentiatedGradient(b, config.eg_rate)
        case "attention" | "linear":
            softmax = config.weighing == "attention"
            return LearnedWeights(b, num_dense(schema), config.generator, softmax=softmax, seed=seed)


def num_dense(schema: Schema) -> int:
    """Dense values of a request and a candidate together."""
    return len(schema.dense(of_request=True)) + len(schema.dense(of_request=False))
