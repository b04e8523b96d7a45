"""The best fixed mixing weights in hindsight: a control that has seen the future, and no strategy.

A first pass over the same data learns as the batch window does and measures every round's gradients; the
weights on the simplex with the least forecast error over the whole run, sum of a'Ga - 2a'h, are then fixed
for a second pass. It is what exponentiated gradient's regret is counted against. Least forecast error is
not least log loss: another fixed weight, or a learnt one, may predict better.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from streams.command import say
from streams.contract.schema import Schema
from streams.datasets.observed import Observed
from trainer.counting import learnt_schema
from trainer.future.gram import Floats, best_on_simplex, mean_gram
from trainer.future.mixers import RecordedGrams
from trainer.future.paper import PaperRounds
from trainer.instant_join import labelled_batches
from trainer.recipes import RecipeConfig
from trainer.subject import with_counters


def in_hindsight(
    open_data: Callable[[], Iterable[Observed]], schema: Schema, recipe: RecipeConfig, *, device: str = "cpu"
) -> RecipeConfig:
    """The recipe with its fixed weights, after a pass over the data; one that asks for none, as it is.

    The weights are uniform where no round could be measured, which are too few rounds to mix.
    """
    update = recipe.update
    if update is None or update.weighing != "hindsight":
        return recipe
    grams = RecordedGrams(update.num_rounds)
    with tempfile.TemporaryDirectory(prefix="freshet-rounds-") as folder:
        rounds = PaperRounds(learnt_schema(schema, recipe), recipe, Path(folder), device=device, mixer=grams)
        subject = with_counters(rounds, schema, recipe)
        for batch in labelled_batches(open_data(), kind=recipe.kind, batch_size=recipe.batch_size):
            subject.take(batch)
    best = best_weights(grams)
    say(f"{recipe.name}: first pass done; these weights know the future: {', '.join(f'{each:.3f}' for each in best)}")
    return replace(recipe, update=replace(update, weighing="fixed", fixed=tuple(best.tolist())))


def best_weights(measured: RecordedGrams) -> Floats:
    """Those on the simplex (b,) with the least mean forecast error; uniform where nothing was measured."""
    if not measured.grams:
        return measured.weights(0)
    return best_on_simplex([mean_gram(measured.grams).definite()])
