"""Training speed: the whole loop against the bare fused step, and Freshet against a plain DLRM at equal quality.

All on one thread of arithmetic a side; Freshet's reading and decoding has a thread of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.equal_ne import EqualConfig, equal_ne
from bench.loop_share import ROWS_A_RECORD, ShareConfig, loop_share
from bench.machine import describe
from bench.vw_peer import vw_pass
from streams.contract.schema import Schema, load_schema
from streams.datasets.registry import schema_path
from streams.simulator.criteo_shaped import CriteoShape, criteo_shaped
from trainer.recipes import recipe

SHARE_GOAL = 0.8
SPEED_GOAL = 3.0
_RECIPES = ("plain-dlrm", "default")


def run(*, quick: bool = False) -> dict[str, Any]:
    """Both ratios with all that they come from; `loop_over_step` is that of the published DLRM at batch 256."""
    share = ShareConfig(rounds=3, examples=5_120, warm_up=5_120) if quick else ShareConfig()
    equal, num_examples = EqualConfig(), 409_600
    if quick:
        equal = EqualConfig(tune_examples=10_240, rounds=1, batch_sizes=(1024,), table_rates=(0.03,),
                            dense_rates=(0.004,), plain_rates=((0.02, 0.002),))  # fmt: skip
        num_examples = 20_480
    return {**describe(share.rounds), **measure(load_criteo_schema(), share, equal, num_examples)}


def measure(schema: Schema, share: ShareConfig, equal: EqualConfig, num_examples: int) -> dict[str, Any]:
    """Runs both parts in temporary folders, the process's thread count restored behind them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="freshet-bench-") as folder:
            shares = {name: loop_share(schema, recipe(name), share, Path(folder) / name) for name in _RECIPES}
            stream = list(criteo_shaped(num_examples, 7, CriteoShape(chunk_size=ROWS_A_RECORD)))
            compared = equal_ne(stream, schema, equal, Path(folder))
            peer = vw_pass(stream, schema, Path(folder))
    finally:
        torch.set_num_threads(before)
    loop_over_step, ratio = shares["plain-dlrm"]["share"], compared["ratio"]
    return {
        "loop_over_step": loop_over_step,
        "loop_over_own_step": shares["plain-dlrm"]["share_of_own_step"],
        "loop_over_step_default": shares["default"]["share"],
        "speed_over_plain_at_equal_ne": ratio,
        "speed_over_plain_in_cpu_time": compared.get("cpu_ratio"),
        "goals": {"loop_over_step": loop_over_step >= SHARE_GOAL,
                  "speed_over_plain_at_equal_ne": ratio is not None and ratio >= SPEED_GOAL},
        "examples": num_examples,
        "loop_share": shares,
        "equal_ne": compared,
        "vowpal_wabbit": peer,
    }  # fmt: skip


def load_criteo_schema() -> Schema:
    """The schema of rows of Criteo's shape."""
    path = schema_path("simulator:criteo")
    assert path is not None
    return load_schema(path)
