"""`freshet recommender train`: likes of a data set in, a model folder out.

OUT/fitting    the run between epochs: the same command goes on where a killed one stopped
OUT/model      what is learnt, once it is (llm_rec/model_folder.py)
"""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from scipy.special import logsumexp

from llm_rec.baselines.popularity import DAY_MS
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.cllm4rec_recipes import recipe_named
from llm_rec.held_out import measure
from llm_rec.model_folder import LearntModel, has_model, learnt_by, write_model
from llm_rec.recommender import Recommender
from llm_rec.sources import TEST, TRAIN, Source, load, part_of
from llm_rec.splits import Split, last_split, time_split
from streams.command import Result, say
from streams.contract.columns import Array
from streams.contract.errors import ConflictError, InputError
from streams.contract.recommender import Item
from streams.outputs import check_folder
from streams.ranges import check_seed, check_threads

_TEMPERATURES = 2.0 ** np.arange(-2, 4.25, 0.25)


def train(args: Namespace) -> Result:
    """Fits and writes. Raises InputError, NotFoundError, FormatError, ConflictError where a model lies there."""
    began, out = time.monotonic(), Path(args.out)
    config = recipe_named(args.recipe)
    _check(args)
    torch.set_num_threads(args.threads)
    source = learnt_part(load(args.data, least_likes=args.least_likes, max_bad_lines=args.max_bad_lines), args.split)
    split = time_split(source) if args.split == "time" else last_split(source)
    likes = _known(split)
    say(f"{sum(map(len, likes))} likes of {len(split.users)} users and {len(split.items)} items")
    recommender = CLLM4Rec(config, folder=out / "fitting")
    recommender.fit(split, source.catalogue, seed=args.seed)
    validation = _validation(recommender, split)
    temperature = best_temperature(recommender, split)
    counts, newest_time_ms = decayed_counts(source, split, args.half_life_days)
    write_model(out, LearntModel(
        config=config, users=split.users, items=items_of(source), learnt=learnt_by(recommender.models),
        histories=likes, counts=counts, newest_time_ms=newest_time_ms, half_life_days=args.half_life_days,
        temperature=temperature, validation=validation,
    ))  # fmt: skip
    shutil.rmtree(out / "fitting")
    return {
        "users": len(split.users), "items": len(split.items), "likes": sum(map(len, likes)), "recipe": config.name,
        "split": args.split, "seconds": time.monotonic() - began, "validation": validation, "out": str(out),
    }  # fmt: skip


def _check(args: Namespace) -> None:
    """What can be told before anything is read."""
    if args.least_likes < 1:
        raise InputError("must be 1 or more", field="least_likes", value=args.least_likes, remedy="leave it out for 1")
    check_threads(args.threads)
    check_seed(args.seed)
    if not args.half_life_days > 0:
        raise InputError("must be above 0", field="half_life_days", value=args.half_life_days,
                         remedy="leave it out for 90 days")  # fmt: skip
    if has_model(args.out):
        raise ConflictError("holds a model already", field="out", value=str(args.out), remedy="give another folder")
    check_folder(args.out, field="out")


def learnt_part(source: Source, split: str) -> Source:
    """What a model of that split may know: everything, or the file's train part and of validation what train knows.

    Raises InputError where the file does not mark its parts.
    """
    if split == "all":
        return source
    if source.part is None:
        raise InputError("marks no train, valid and test, so nothing is left to replay", field="split",
                         value=source.spec, remedy="use --split all")  # fmt: skip
    likes, learnt = source.interactions, source.part == TRAIN
    known = np.isin(likes.user, likes.user[learnt]) & np.isin(likes.item, likes.item[learnt])
    kept = learnt | (known & (source.part != TEST))
    if not learnt.any():
        raise InputError("has no likes of its train part", field="data", value=source.spec, remedy="use --split all")
    return part_of(source, kept)


def items_of(source: Source) -> tuple[Item, ...]:
    """The catalogue's items in the order of their numbers."""
    told = zip(source.interactions.items, source.catalogue.texts, source.catalogue.features, strict=True)
    return tuple(Item(name, text, features) for name, text, features in told)


def decayed_counts(source: Source, split: Split, half_life_days: float) -> tuple[Array, int]:
    """(counts (J,) of what the model knows, time of the newest in ms); undecayed and 0 where there is no time."""
    likes = source.interactions
    kept = np.ones(len(likes.item), dtype=np.bool_)
    if split.name == "time" and source.part is not None:
        kept = source.part == TRAIN
    newest_ms = int(likes.time_ms[kept].max()) if source.has_time else 0
    ages_days = (newest_ms - likes.time_ms[kept]) / DAY_MS if source.has_time else np.zeros(int(kept.sum()))
    weights = 0.5 ** (ages_days / half_life_days)
    return np.bincount(likes.item[kept], weights=weights, minlength=len(likes.items)), newest_ms


def best_temperature(recommender: Recommender, split: Split) -> float:
    """Of 0.25 to 16, what makes the validation likes likeliest, the history left out of the softmax; 1 without any."""
    losses = np.zeros(len(_TEMPERATURES))
    for user, wanted in enumerate(split.valid):
        if not len(wanted):
            continue
        scores = recommender.scores(np.array([user]), [split.train[user]])[0].astype(np.float64)
        scores[split.train[user]] = -np.inf
        scaled = scores / _TEMPERATURES[:, None]
        losses += len(wanted) * logsumexp(scaled, axis=1) - scaled[:, wanted].sum(axis=1)
    return float(_TEMPERATURES[losses.argmin()]) if losses.any() else 1.0


def _known(split: Split) -> list[Array]:
    """Each user's likes that the model begins with: where nothing is replayed, those of validation, too."""
    if split.name == "time":
        return split.train
    return [np.concatenate(parts) for parts in zip(split.train, split.valid, strict=True)]


def _validation(recommender: CLLM4Rec, split: Split) -> dict[str, float]:
    found = measure(recommender, split, "valid")
    means = {name: float(values.mean()) if len(values) else float("nan") for name, values in found.values.items()}
    return {"users": float(len(found.users)), **means}
