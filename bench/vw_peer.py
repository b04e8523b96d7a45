"""Vowpal Wabbit over the same stream, where it is installed (`pip install -r requirements/bench.in`)."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streams.contract.examples import ExampleBatch
from trainer.tally import entropy

_OPTIONS = "--loss_function logistic --ftrl -b 22 --quiet --no_stdin"


def vw_pass(stream: Sequence[ExampleBatch], folder: Path) -> dict[str, Any]:
    """Progressive normalized entropy and examples a second of `--ftrl`; a note alone where it is absent."""
    try:
        vowpalwabbit = importlib.import_module("vowpalwabbit")
    except ImportError:
        return {"note": "not installed: see requirements/bench.in"}
    path = folder / "vw.txt"
    with path.open("w") as file:
        for batch in stream:
            file.writelines(_lines(batch))
    began = time.perf_counter()
    workspace = vowpalwabbit.Workspace(f"{_OPTIONS} --data {path}")
    seconds = time.perf_counter() - began
    loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
    workspace.finish()
    label = np.concatenate([batch.label for batch in stream])
    return {
        "options": _OPTIONS, "normalized_entropy": round(loss / entropy(float(label.mean())), 5),
        "examples_per_second": round(len(label) / seconds),
    }  # fmt: skip


def _lines(batch: ExampleBatch) -> Iterator[str]:
    """One line an example; numbers as log(1 + x). One candidate a request."""
    names, columns = [], []
    for name, column in {**batch.request, **batch.candidate}.items():
        values = np.asarray(column)
        is_number = values.dtype.kind == "f"
        names.append(f"{name}:{{:.4f}}" if is_number else f"{name}_{{}}")
        columns.append((np.log1p(values) if is_number else values).tolist())
    pattern = "{} | " + " ".join(names) + "\n"
    labels = (2 * batch.label.astype(np.int64) - 1).tolist()
    return (pattern.format(*row) for row in zip(labels, *columns, strict=True))
