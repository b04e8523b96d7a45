"""How well recommenders find what users liked next: all recipes on real likes, chosen on validation alone.

movielens   the file's own split in time, and a random one
amazon      its 7-core (4,322 users, 2,423 items), split by each user's order: what two cores learn in an hour
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe
from bench.recommend_cases import Case, outcomes_of
from llm_rec.choice import Outcome
from llm_rec.comparison import compare, render
from llm_rec.held_out import histories
from llm_rec.recipes import BASE, OURS, RECIPES
from llm_rec.splits import Split
from streams.command import say
from streams.contract.errors import NotFoundError

_DEFAULT = Path(__file__).parents[2] / "shared" / "data"
_FOLDER = "FRESHET_SHARED_DATA"
_REMEDY = "set it to the folder that holds movielens_1m and amazon_beauty"
CASES = {
    "amazon-order": Case(data="amazon:{folder}/amazon_beauty", split="time", least_likes=7),
    "movielens-random": Case(data="movielens:{folder}/movielens_1m", split="random"),
    "movielens-time": Case(data="movielens:{folder}/movielens_1m", split="time"),
}
QUICK = "movielens-time"


def run(*, quick: bool = False) -> dict[str, Any]:
    """`data_sets`: for each case `results`, `paired` with popularity and `paired_with_ours`, the same of `new_items`,
    what was chosen, and what left out; `results`: those of the split in time, which is the one that matters live.

    Raises NotFoundError where no data are there at all.
    """
    seeds = (0,) if quick else (0, 1, 2)
    cases = {QUICK: CASES[QUICK]} if quick else CASES
    found = measured(cases, tuple(RECIPES), data_folder(), seeds)
    return {
        **describe(len(seeds)), "seeds": list(seeds), "results": found[QUICK].get("results", {}), "data_sets": found,
    }  # fmt: skip


def data_folder() -> Path:
    """Where the data sets lie. Raises NotFoundError where there is no such folder."""
    folder = Path(os.environ.get(_FOLDER, _DEFAULT))
    if not folder.is_dir():
        raise NotFoundError("there is no such folder", field=_FOLDER, value=str(folder), remedy=_REMEDY)
    return folder


def measured(
    cases: dict[str, Case], recipes: tuple[str, ...], folder: Path, seeds: tuple[int, ...]
) -> dict[str, dict[str, Any]]:
    """Every recipe on each case whose data are there; tables go to standard error.

    Raises NotFoundError where no data are there at all.
    """
    about = {name: _about(name, case, folder) for name, case in cases.items()}
    there = {name: cases[name] for name, told in about.items() if "left_out" not in told}
    if not there:
        raise NotFoundError("holds none of the data sets", field=_FOLDER, value=str(folder), remedy=_REMEDY)
    outcomes = outcomes_of(there, recipes, folder, seeds)
    return {name: about[name] | (summed_up(name, outcomes[name]) if name in there else {}) for name in cases}


def _about(name: str, case: Case, folder: Path) -> dict[str, Any]:
    try:
        split, _ = case.read(folder)
    except NotFoundError as error:
        say(f"{name} is left out: {error}")
        return {"left_out": str(error)}
    about = {"split": case.split, "least_likes": case.least_likes, **facts(split)}
    say(f"{name}: {', '.join(f'{key} {value}' for key, value in about.items())}")
    return about


def summed_up(case: str, found: dict[str, Outcome | str]) -> dict[str, Any]:
    """Every recipe that could be fitted, against the one named BASE; the table goes to standard error."""
    outcomes = {name: outcome for name, outcome in found.items() if not isinstance(outcome, str)}
    left_out = {name: why for name, why in found.items() if isinstance(why, str)}
    per_seed = {name: outcome.per_seed for name, outcome in outcomes.items()}
    comparison = compare(per_seed, base=BASE, further_bases=[OURS] if OURS in per_seed else [])
    say(f"\n{case}:\n{render(comparison)}")
    chosen = {name: {"chosen": outcome.chosen, "tried": outcome.tried, "processor_seconds": outcome.seconds}
              for name, outcome in outcomes.items()}  # fmt: skip
    return {**comparison.as_dict(), "paired_with_ours": comparison.paired_with.get(OURS, {}),
            "new_items": _new_items(case, outcomes), "chosen": chosen, "left_out": left_out}  # fmt: skip


def _new_items(case: str, outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """The comparison over test likes of items that nobody in training liked; empty where there are none."""
    if not len(outcomes[BASE].new_items[0].users):
        return {}
    comparison = compare({name: outcome.new_items for name, outcome in outcomes.items()}, base=BASE)
    say(f"{case}, new items alone, {comparison.num_users} users:\n{render(comparison)}")
    return comparison.as_dict()


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
