"""A recommender's embeddings as first values of another model's rows: fewer dimensions, one scale.

    embeddings (N, d) ── less their mean ── first D principal directions ── at one scale ──> rows (N, D)

The CTR model then begins a known item's or user's row where the recommender would have it, and learns on from
there: the paper's use of CLLM4Rec's embeddings in a two-tower model (Zhu et al. 2024, section 4.6).
"""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from llm_rec.model_folder import read_model
from streams.command import Result
from streams.contract.columns import Array
from streams.contract.errors import InputError
from streams.contract.schema import Feature, Schema, load_schema
from streams.contract.values import Floats, ids_of
from streams.outputs import check_file

DEVIATION = 0.05
"""Root mean square of the rows' entries."""


@dataclass(frozen=True, slots=True)
class Named:
    """Embeddings (N, d) float32 of N names, as they stand in events."""

    names: Sequence[str]
    embeddings: Floats


def export(args: Namespace) -> Result:
    """What `freshet recommender rows` does. Raises InputError, NotFoundError, FormatError."""
    asked = {"item": args.item_feature, "user": args.user_feature}
    if not any(asked.values()):
        raise InputError("no feature is named", field="item-feature", remedy="give --item-feature or --user-feature")
    if not 0 < args.deviation < math.inf:
        raise InputError("must be above 0 and finite", field="deviation", value=args.deviation, remedy="leave it out")
    schema, model = load_schema(args.schema), read_model(args.folder)
    check_file(args.out, field="out")
    table = model.learnt["collaborative"].numpy()
    users = len(model.users)
    named = {
        "item": Named([item.name for item in model.items], table[users:]),
        "user": Named(model.users, table[:users]),
    }
    of_feature = {feature: named[kind] for kind, feature in asked.items() if feature}
    rows = write_starting_rows(args.out, schema, of_feature, deviation=args.deviation)
    return {"rows": rows, "out": str(args.out)}


def write_starting_rows(
    path: Path, schema: Schema, of_feature: Mapping[str, Named], *, deviation: float = DEVIATION
) -> dict[str, int]:
    """Writes the rows of each feature's table into a safetensors file; returns table -> how many.

    Raises InputError for a feature that the schema does not have or that has no ids, and for names that the
    feature cannot have.
    """
    tensors: dict[str, Array] = {}
    for name, named in of_feature.items():
        feature = _feature(schema, name)
        ids = ids_of(feature, _values(feature, named.names))
        _, first = np.unique(ids, return_index=True)
        rows = reduced(named.embeddings, feature.dim, deviation)
        table = feature.table or feature.name
        tensors[f"{table}/ids"], tensors[f"{table}/rows"] = ids[first], rows[first]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return {name.removesuffix("/ids"): len(held) for name, held in tensors.items() if name.endswith("/ids")}


def reduced(embeddings: Floats, dim: int, deviation: float) -> Floats:
    """Rows (N, dim): principal components of embeddings (N, d), zeros behind the d-th; their mean square is
    deviation^2."""
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    _, directions = np.linalg.eigh(centred.T @ centred)
    kept = directions[:, ::-1][:, :dim]
    # an eigenvector's sign is its library's choice; this makes it the data's
    kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    rows = np.zeros((len(embeddings), dim))
    rows[:, : kept.shape[1]] = centred @ kept
    size = np.sqrt(np.square(rows).mean())
    return (rows * (deviation / size if size > 0 else 0.0)).astype(np.float32)


def _feature(schema: Schema, name: str) -> Feature:
    found = next((feature for feature in schema.features if feature.name == name), None)
    if found is None or found.kind == "dense":
        known = [feature.name for feature in schema.features if feature.kind != "dense"]
        raise InputError("is no feature with ids of that schema", field="feature", value=name,
                         remedy=f"use one of {', '.join(known)}")  # fmt: skip
    return found


def _values(feature: Feature, names: Sequence[str]) -> Sequence[str | int]:
    if feature.dtype == "string":
        return list(names)
    try:
        return [int(name) for name in names]
    except ValueError as error:
        raise InputError("has whole numbers, and the recommender's names are others", field=feature.name,
                         value=str(error), remedy="name a feature of strings") from error  # fmt: skip
