"""How well recommenders find what users liked next: all recipes on real likes, chosen on validation alone.

movielens   the file's own split in time, and a random one
amazon      its 7-core (4,322 users, 2,423 items), split by each user's order: small enough for two cores
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.machine import describe
from llm_rec.baselines.early_stop import CHOSEN_BY
from llm_rec.choice import Outcome, choose_and_measure
from llm_rec.comparison import compare, render
from llm_rec.held_out import HeldOutConfig, histories
from llm_rec.interactions import Catalogue
from llm_rec.recipes import BASE, RECIPES, Recipe
from llm_rec.sources import load
from llm_rec.splits import Split, split_by
from streams.command import say
from streams.contract.errors import InputError, NotFoundError

_DEFAULT = Path(__file__).parents[2] / "shared" / "data"
SPLIT_SEED = 98765


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A data set, how it is divided, and how small it is made (its k-core)."""

    data: str
    split: str
    least_likes: int = 1


CASES = {
    "movielens-time": Case(data="movielens:{folder}/movielens_1m", split="time"),
    "movielens-random": Case(data="movielens:{folder}/movielens_1m", split="random"),
    "amazon-order": Case(data="amazon:{folder}/amazon_beauty", split="time", least_likes=7),
}
QUICK = "movielens-time"


def run(*, quick: bool = False) -> dict[str, Any]:
    """`data_sets`: for each case `results`, `paired`, the same of `new_items`, what was chosen, and what left out;
    `results`: those of the split in time, which is the one that matters live.

    Raises NotFoundError where no data are there at all.
    """
    seeds = (0,) if quick else (0, 1, 2)
    cases = {QUICK: CASES[QUICK]} if quick else CASES
    folder = data_folder()
    before = torch.get_num_threads()
    # as many threads as cores wait for each other where other work runs
    torch.set_num_threads(1)
    try:
        found = {name: _case(name, case, folder, seeds) for name, case in cases.items()}
    finally:
        torch.set_num_threads(before)
    return {
        **describe(len(seeds)), "seeds": list(seeds), "results": found[QUICK].get("results", {}), "data_sets": found,
    }  # fmt: skip


def data_folder() -> Path:
    """Where the data sets lie. Raises NotFoundError where there is no such folder."""
    folder = Path(os.environ.get("FRESHET_SHARED_DATA", _DEFAULT))
    if not folder.is_dir():
        raise NotFoundError("there is no such folder", field="FRESHET_SHARED_DATA", value=str(folder),
                            remedy="set it to the folder that holds movielens_1m and amazon_beauty")  # fmt: skip
    return folder


def _case(name: str, case: Case, folder: Path, seeds: tuple[int, ...]) -> dict[str, Any]:
    try:
        source = load(case.data.format(folder=folder), least_likes=case.least_likes)
    except NotFoundError as error:
        say(f"{name} is left out: {error}")
        return {"left_out": str(error)}
    split = split_by(case.split, source, seed=SPLIT_SEED)
    about = {"split": case.split, "least_likes": case.least_likes, **facts(split)}
    say(f"\n{name}: {', '.join(f'{key} {value}' for key, value in about.items())}")
    return {**about, **measure_all(RECIPES, split, source.catalogue, seeds)}


def measure_all(
    recipes: dict[str, Recipe], split: Split, catalogue: Catalogue, seeds: tuple[int, ...]
) -> dict[str, Any]:
    """Every recipe that can be fitted, against the one named BASE; the table goes to standard error."""
    outcomes: dict[str, Outcome] = {}
    left_out = {}
    for name, recipe in recipes.items():
        try:
            outcomes[name] = choose_and_measure(recipe, split, catalogue, seeds, HeldOutConfig())
        except InputError as error:
            left_out[name] = str(error)
            say(f"{name} is left out: {error}")
            continue
        say(_progress(name, outcomes[name]))
    comparison = compare({name: outcome.per_seed for name, outcome in outcomes.items()}, base=BASE)
    say(render(comparison))
    chosen = {name: {"chosen": outcome.chosen, "tried": outcome.tried, "processor_seconds": outcome.seconds}
              for name, outcome in outcomes.items()}  # fmt: skip
    return {**comparison.as_dict(), "new_items": _new_items(outcomes), "chosen": chosen, "left_out": left_out}


def _new_items(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """The comparison over test likes of items that nobody in training liked; empty where there are none."""
    if not len(outcomes[BASE].new_items[0].users):
        return {}
    comparison = compare({name: outcome.new_items for name, outcome in outcomes.items()}, base=BASE)
    say(f"new items alone, {comparison.num_users} users:\n{render(comparison)}")
    return comparison.as_dict()


def _progress(name: str, outcome: Outcome) -> str:
    tried = ", ".join(f"{label}: {value:.4f}" for label, value in outcome.tried.items())
    grid = f" of ({tried} {CHOSEN_BY} on validation)" if tried else ""
    return f"{name}: {outcome.chosen}{grid}, {outcome.seconds:.0f} s of the processor"


def facts(split: Split) -> dict[str, int]:
    """How much there is: users, items, likes of each part, and what at test was never learnt from."""
    asked = np.array([user for user, items in enumerate(split.test) if len(items)], dtype=np.int64)
    learnt = np.unique(np.concatenate(split.train))
    return {
        "num_users": len(split.users), "num_items": len(split.items),
        "train": sum(map(len, split.train)), "valid": sum(map(len, split.valid)), "test": sum(map(len, split.test)),
        "users_asked": len(asked),
        "users_without_history": sum(not len(history) for history in histories(split, "test", asked)),
        "items_without_likes": len(np.setdiff1d(np.concatenate(split.test), learnt)),
    }  # fmt: skip
