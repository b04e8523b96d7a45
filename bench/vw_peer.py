"""Vowpal Wabbit over a whole stream from a file: the peer `vw-ftrl` at its own speed, no Python between examples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streams.contract.errors import InputError
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureTransform
from streams.contract.schema import Schema
from trainer.peers.flat import flattened
from trainer.peers.named import vw_ftrl
from trainer.peers.packages import imported
from trainer.peers.vw import VwText, labelled, vw_options
from trainer.prepare import transform
from trainer.tally import entropy


def vw_pass(stream: Sequence[ExampleBatch], schema: Schema, folder: Path) -> dict[str, Any]:
    """Progressive normalized entropy and examples a second; a note alone where the package is absent."""
    try:
        vowpalwabbit = imported("vowpalwabbit", package="vowpalwabbit")
    except InputError as error:
        return {"note": str(error)}
    path, options = folder / "vw.txt", vw_options(vw_ftrl())
    with path.open("w") as file:
        file.writelines(f"{line}\n" for line in _lines(stream, schema))
    began = time.perf_counter()
    workspace = vowpalwabbit.Workspace(f"{options} --data {path}")
    seconds = time.perf_counter() - began
    loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
    workspace.finish()
    label = np.concatenate([batch.label for batch in stream])
    return {
        "options": options, "normalized_entropy": round(loss / entropy(float(label.mean())), 5),
        "examples_per_second": round(len(label) / seconds),
    }  # fmt: skip


def _lines(stream: Sequence[ExampleBatch], schema: Schema) -> Iterator[str]:
    text, to_features = VwText(schema, vw_ftrl()), FeatureTransform(schema)
    for batch in stream:
        flat = flattened(transform(batch, to_features))
        yield from map(labelled, text(flat), batch.label.tolist(), batch.weight.tolist())
