"""A recommender and a click model that learnt the same part of MovieLens, and what both say of the same films.

Each user asks once, as a gateway would at the user's first rating of a part: with the features of that rating's
impression, and the likes before it. U users, N films retrieved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from scipy.special import expit

from bench.learn import part_of_file
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.cllm4rec_recipes import recipe_named
from llm_rec.held_out import Part, histories
from llm_rec.recommender import Recommender
from llm_rec.sources import Source
from llm_rec.splits import Split
from llm_rec.train_run import best_temperature
from streams.contract.columns import Array
from streams.contract.events import Impression
from streams.contract.schema import Schema
from streams.contract.values import Floats
from streams.datasets.observed import Observed
from trainer.counting import look
from trainer.instant_join import labelled_batches
from trainer.learner import Learner
from trainer.prepare import Preparer
from trainer.recipes import recipe, with_seed
from trainer.subject import open_subject

_PREDICTED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """One user of a part: the first impression in it, and what the user rated in it, each film once."""

    user: int
    impression: Impression
    films: Array
    liked: Array


@dataclass(frozen=True, slots=True)
class Opinions:
    """Of one user's films: numbers (N,), the recommender's logarithms of their probabilities up to a constant, and
    the click probabilities; the same of the R films `rated`, with `liked` (R,) 0 or 1."""

    user: int
    films: Array
    log_probabilities: Array
    clicks: Array
    rated: Array
    rated_log_probabilities: Array
    rated_clicks: Array
    liked: Array


def fitted_recommender(split: Split, source: Source, seed: int) -> tuple[Recommender, float]:
    """`cllm4rec-small` fitted on the train part, and its temperature, as `freshet recommender train` chooses it."""
    recommender = CLLM4Rec(recipe_named("cllm4rec-small"))
    recommender.fit(split, source.catalogue, seed=seed)
    learnt = np.unique(np.concatenate(split.train))
    known = [valid[np.isin(valid, learnt) & bool(len(train))]
             for train, valid in zip(split.train, split.valid, strict=True)]  # fmt: skip
    return recommender, best_temperature(recommender, replace(split, valid=known))


def trained_click_model(folder: Path, schema: Schema, seed: int) -> Learner:
    """The recipe `default` after one pass over the ratings of the train part, liked or not."""
    config = with_seed(recipe("default"), seed)
    with open_subject(schema, config) as subject:
        for batch in labelled_batches(part_of_file(folder, "train"), kind=config.kind, batch_size=config.batch_size):
            subject.take(batch)
        return subject.learner_of_steps()


def asked_of(folder: Path, part: Part, split: Split) -> list[Asked]:
    """Users that rated in the part, in the order of their first rating; films that nobody ever liked are left out."""
    users = {name: number for number, name in enumerate(split.users)}
    items = {name: number for number, name in enumerate(split.items)}
    first: dict[str, Impression] = {}
    rated: dict[str, dict[int, int]] = {}
    for observed in part_of_file(folder, part):
        shown = observed.impression
        first.setdefault(shown.unit_id, shown)
        if shown.ad_ids[0] in items:
            rated.setdefault(shown.unit_id, {}).setdefault(items[shown.ad_ids[0]], len(observed.feedback))
    return [
        Asked(users[name], shown, np.array(list(rated.get(name, {})), dtype=np.int64),
              np.array(list(rated.get(name, {}).values()), dtype=np.int64))
        for name, shown in first.items()
        if name in users
    ]  # fmt: skip


def opinions_of(
    recommender: Recommender, temperature: float, clicks: Learner, asked: Sequence[Asked], source: Source,
    split: Split, part: Part, num_retrieved: int,
) -> list[Opinions]:  # fmt: skip
    """What both say of the films that the recommender puts first, none liked before, and of those rated in the part."""
    users = np.array([each.user for each in asked], dtype=np.int64)
    known = histories(split, part, users)
    scores = recommender.scores(users, known) / temperature
    retrieved = [_first(row, seen, num_retrieved) for row, seen in zip(scores, known, strict=True)]
    films = [np.concatenate([own, each.films]) for own, each in zip(retrieved, asked, strict=True)]
    probabilities = _click_probabilities(clicks, source, asked, films)
    return [
        Opinions(each.user, own, row[own], p[: len(own)], each.films, row[each.films], p[len(own) :], each.liked)
        for each, own, row, p in zip(asked, retrieved, scores, probabilities, strict=True)
    ]


def _first(scores: Floats, seen: Array, number: int) -> Array:
    """The `number` best (N,), best first, none that was seen; the smaller number first where two are alike."""
    left = scores.copy()
    left[seen] = -np.inf
    order = np.argsort(-left, kind="stable")[:number]
    best: Array = order[np.isfinite(left[order])]
    return best


def _click_probabilities(model: Learner, source: Source, asked: Sequence[Asked], films: Sequence[Array]) -> list[Array]:
    """Of each user's films (N,)."""
    shown = [Observed(_impression(each, source, own)) for each, own in zip(asked, films, strict=True)]
    found = np.concatenate(list(_predicted(model, shown)))
    return list(np.split(found, np.cumsum([len(own) for own in films])[:-1]))


def _predicted(model: Learner, shown: Iterable[Observed]) -> Iterable[Array]:
    prepare = Preparer(model.schema)
    for batch in labelled_batches(shown, kind=model.recipe.kind, batch_size=_PREDICTED_AT_ONCE):
        probabilities: Array = expit(model.predict(look(model.online, prepare(batch))))
        yield probabilities


def _impression(asked: Asked, source: Source, films: Array) -> Impression:
    """The user's impression with these films in the place of its own, of the features that an item comes with."""
    told = [source.catalogue.features[film] for film in films]
    names = [source.interactions.items[film] for film in films]
    columns = {name: [each[name] for each in told] for name in asked.impression.candidates}
    return msgspec.structs.replace(asked.impression, ad_ids=names, candidates=columns)
