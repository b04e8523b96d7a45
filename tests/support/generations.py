"""A small generation, and rows and ads for it."""

from __future__ import annotations

import numpy as np

from streams.contract.columns import Array
from streams.contract.manifest import Generation, Manifest, Rows
from streams.contract.schema import Schema, parse_schema, schema_to_json

DIM = 4
SCHEMA = parse_schema(
    """
    name = "ads"
    features = [
      {name = "user", scope = "user", kind = "categorical", dim = 4},
      {name = "ad", scope = "ad", kind = "categorical", dim = 4},
      {name = "campaign", scope = "ad", kind = "categorical", dim = 4},
      {name = "words", scope = "ad", kind = "multivalued", dim = 4},
      {name = "advertiser", scope = "ad", kind = "categorical", dim = 4},
    ]
    crosses = [{name = "user_x_campaign", features = ["user", "campaign"], dim = 4}]
    """
)
AD_KEYS = ("ad", "campaign", "advertiser")


def generation(number: int = 1, *, encoding: str = "fp32", schema: Schema = SCHEMA, model: str = "ads") -> Generation:
    """Generation `number` of the schema."""
    return Generation(
        model=model, generation=number, first_version=1, feature_hash=schema.hash, schema=schema_to_json(schema),
        tables=schema.tables, network={"kind": "test"}, row_encoding=encoding,
    )  # fmt: skip


def manifest(version: int, number: int = 1, *, model: str = "ads") -> Manifest:
    """Version `version` of generation `number`."""
    return Manifest(model=model, version=version, parent=version - 1, generation=number, feature_hash=SCHEMA.hash)


def rows(ids: list[int], fill: float | None = None, *, seed: int = 0) -> Rows:
    """Rows of `ids`: all `fill`, or random."""
    random: Array = np.random.default_rng(seed).normal(size=(len(ids), DIM)).astype(np.float32)
    values = random if fill is None else np.full((len(ids), DIM), fill, dtype=np.float32)
    return Rows(np.array(ids, dtype=np.int64), values)


def ids(*values: int) -> Array:
    """An int64 array."""
    return np.array(values, dtype=np.int64)
