"""Every recipe on every data set, one on each core at a time and each in one thread: more would wait for each other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from llm_rec.baselines.early_stop import CHOSEN_BY
from llm_rec.choice import Outcome, choose_and_measure
from llm_rec.held_out import HeldOutConfig
from llm_rec.interactions import Catalogue
from llm_rec.ranking_metrics import METRICS
from llm_rec.recipes import recipe
from llm_rec.sources import load
from llm_rec.splits import Split, split_by
from streams.command import say
from streams.contract.errors import InputError

SPLIT_SEED = 98765


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A data set, how it is divided, and how small it is made (its k-core)."""

    data: str
    split: str
    least_likes: int = 1

    def read(self, folder: Path) -> tuple[Split, Catalogue]:
        """Its likes, divided, and its items. Raises NotFoundError where the folder has no such data."""
        source = load(self.data.format(folder=folder), least_likes=self.least_likes)
        return split_by(self.split, source, seed=SPLIT_SEED), source.catalogue


def outcomes_of(
    cases: dict[str, Case], recipes: Iterable[str], folder: Path, seeds: tuple[int, ...]
) -> dict[str, dict[str, Outcome | str]]:
    """Case -> recipe -> what it reached, or why it was left out. The last recipes begin first: they take longest."""
    recipes = list(recipes)
    work = [(case, name) for case in cases for name in reversed(recipes)]
    found: dict[str, dict[str, Outcome | str]] = {case: {} for case in cases}
    context, workers = multiprocessing.get_context("spawn"), min(len(work), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_in_one_thread) as pool:
        begun = {pool.submit(_outcome, cases[case], name, folder, seeds): (case, name) for case, name in work}
        for done in as_completed(begun):
            case, name = begun[done]
            found[case][name] = done.result()
            say(f"{case}, {name}: {_told(found[case][name])}")
    return {case: {name: found[case][name] for name in recipes} for case in cases}


def _in_one_thread() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def _outcome(case: Case, name: str, folder: Path, seeds: tuple[int, ...]) -> Outcome | str:
    split, catalogue = _read(case, folder)
    try:
        return choose_and_measure(recipe(name), split, catalogue, seeds, HeldOutConfig())
    except InputError as error:
        return str(error)


@lru_cache(maxsize=1)
def _read(case: Case, folder: Path) -> tuple[Split, Catalogue]:
    """Read once in each process and case."""
    return case.read(folder)


def _told(outcome: Outcome | str) -> str:
    if isinstance(outcome, str):
        return f"left out: {outcome}"
    tried = ", ".join(f"{label}: {value:.4f}" for label, value in outcome.tried.items())
    grid = f" of ({tried} {CHOSEN_BY} on validation)" if tried else ""
    means = (sum(float(each.values[metric].mean()) for each in outcome.per_seed) for metric in METRICS)
    found = ", ".join(f"{mean / len(outcome.per_seed):.4f}" for mean in means)
    return f"{outcome.chosen}{grid}, test {found}, {outcome.seconds:.0f} s of the processor"
