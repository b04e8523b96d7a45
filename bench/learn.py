"""What learning likes as they come is worth to a recommender: MovieLens' train part is fitted, the rest is replayed.

Three learners look at the same likes: one that learns all, one whose histories and counts grow but whose rows stay, and
one that stays as it was fitted. Settings are chosen on the file's valid part; its test part follows it in time.
"""

from __future__ import annotations

import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import describe
from bench.recommend import data_folder
from llm_rec.live.config import LEARNING, LearnConfig
from llm_rec.live.learner import LiveLearner
from llm_rec.live.progressive import FIGURES
from llm_rec.model_folder import LearntModel, read_model
from llm_rec.train_run import train
from streams.command import say
from streams.contract.columns import Array
from streams.datasets.badlines import BadLines
from streams.datasets.lines import parse_lines, read_lines
from streams.datasets.movielens import events_file, open_movielens, parse_rating
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from trainer.instant_join import labelled_batches

PARTS = ("valid", "test")
RATES = (0.03, 0.1, 0.3)
_EVERY_LIKE = 1 << 30
_BLOCK = 100
"""Likes whose mean counts as one: a user's likes come in a row and are alike."""


def run(*, quick: bool = False) -> dict[str, Any]:
    """`learners`: figures of each part by learner, `paired` to the one that stays as it was fitted; `rates` on valid.

    Raises NotFoundError where the data are not there.
    """
    folder = data_folder() / "movielens_1m"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="freshet-bench-") as out:
            fitted = train(Namespace(
                data=f"movielens:{folder}", recipe="cllm4rec-small", out=Path(out), seed=0, least_likes=1,
                max_bad_lines=0, split="time", threads=1, half_life_days=90.0,
            ))  # fmt: skip
            model = read_model(Path(out))
        rates = {} if quick else {rate: _replayed(model, folder, PARTS[:1], rate=rate) for rate in RATES}
        learners = {each: _replayed(model, folder, PARTS, learning=each) for each in LEARNING}
    finally:
        torch.set_num_threads(before)
    base = learners["nothing"]
    return {
        **describe(1), "fitted": {name: fitted[name] for name in ("users", "items", "likes", "seconds", "validation")},
        "rates": {str(rate): told["valid"]["figures"] for rate, told in rates.items()},
        "learners": {name: {part: _shown(of[part], base[part]) for part in PARTS} for name, of in learners.items()},
    }  # fmt: skip


def _replayed(model: LearntModel, folder: Path, parts: tuple[str, ...], **changes: Any) -> dict[str, dict[str, Any]]:
    """Part -> its figures, each like's (L, 5), and likes a second of processor time."""
    learner = LiveLearner(model, LearnConfig(window=_EVERY_LIKE, **changes))
    told: dict[str, dict[str, Any]] = {}
    for part in parts:
        first, began = learner.progressive.num_likes, time.process_time()
        for batch in labelled_batches(part_of_file(folder, part), kind="click", batch_size=learner.config.batch_size):
            learner.learn(batch)
        each = learner.progressive.window[first:]
        told[part] = {
            "likes": len(each), "figures": dict(zip(FIGURES, each.mean(axis=0).tolist(), strict=True)), "each": each,
            "likes_per_processor_second": len(each) / (time.process_time() - began),
        }  # fmt: skip
        say(f"{changes} {part}: {told[part]['figures']}")
    return told


def part_of_file(folder: Path, part: str) -> Iterator[Observed]:
    """The ratings that MovieLens' file marks as train, valid or test, in the order of time."""
    path = events_file(folder)
    assert path is not None
    marks = parse_lines(read_lines(path, BadLines()), parse_rating, BadLines())
    seen = open_movielens(folder, DatasetOptions(), BadLines())
    return (observed for observed, row in zip(seen, marks, strict=True) if row.split == part)


def _shown(told: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in told.items() if name != "each"}
    return {**shown, "paired": _paired(told["each"] - base["each"])}


def _paired(differences: Array) -> dict[str, dict[str, float]]:
    """Figure -> mean difference of likes (L, 5), and its standard error from means of blocks in the order of time."""
    blocks = [differences[start : start + _BLOCK] for start in range(0, len(differences), _BLOCK)]
    of_blocks = np.array([block.mean(axis=0) for block in blocks])
    spread = of_blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)) if len(blocks) > 1 else np.full(len(FIGURES), np.nan)
    means = differences.mean(axis=0)
    return {name: {"delta": float(means[n]), "stderr": float(spread[n])} for n, name in enumerate(FIGURES)}
