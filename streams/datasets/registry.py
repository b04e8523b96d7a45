"""`FORMAT:PATH` to a stream of observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from streams.contract.errors import InputError
from streams.contract.schema import Schema, load_schema
from streams.datasets.amazon import open_amazon
from streams.datasets.avazu import open_avazu
from streams.datasets.badlines import BadLines
from streams.datasets.criteo import open_criteo
from streams.datasets.events_jsonl import open_events_jsonl
from streams.datasets.globo import open_globo
from streams.datasets.mind import open_mind
from streams.datasets.movielens import open_movielens
from streams.datasets.observed import Dataset, Observed
from streams.datasets.options import DatasetOptions
from streams.simulator.presets import CRITEO_PRESET, open_simulator

Opener = Callable[[Path, DatasetOptions, BadLines], Iterator[Observed]]

READERS: dict[str, Opener] = {
    "criteo": open_criteo,
    "avazu": open_avazu,
    "mind": open_mind,
    "globo": open_globo,
    "movielens": open_movielens,
    "amazon": open_amazon,
    "jsonl": open_events_jsonl,
}
SIMULATOR = "simulator"
FORMATS = (*READERS, SIMULATOR)

_SCHEMAS = Path(__file__).parent.parent / "schemas"


def split_spec(spec: str) -> tuple[str, str]:
    """(format, path or preset). Raises InputError for an unknown format or nothing behind the colon."""
    name, colon, rest = spec.partition(":")
    if name not in FORMATS or not colon or not rest:
        usable = ", ".join([*(f"{reader}:PATH" for reader in READERS), f"{SIMULATOR}:PRESET"])
        raise InputError("is not FORMAT:PATH", field="data", value=spec, remedy=f"use one of {usable}")
    return name, rest


def open_dataset(spec: str, options: DatasetOptions | None = None) -> Dataset:
    """Opens the data set, checks that its files are there, and reads nothing yet but headers and catalogues.

    Raises InputError (unknown format or preset, missing file); the iteration raises FormatError
    naming file, line, field and remedy at a malformed line beyond `options.max_bad_lines`.
    """
    options = options or DatasetOptions()
    name, rest = split_spec(spec)
    bad_lines = BadLines(options.max_bad_lines)
    if name == SIMULATOR:
        observed = open_simulator(rest, options)
    else:
        observed = READERS[name](Path(rest).expanduser(), options, bad_lines)
    return Dataset(
        spec=spec,
        format=name,
        schema=dataset_schema(spec),
        bad_lines=bad_lines,
        observed=islice(observed, options.max_impressions),
    )


def dataset_schema(spec: str) -> Schema | None:
    """The feature schema that comes with the data set; None for jsonl, whose features are the user's own."""
    path = schema_path(spec)
    return load_schema(path) if path else None


def schema_path(spec: str) -> Path | None:
    """The TOML file of the data set's schema; None for jsonl."""
    name, rest = split_spec(spec)
    if name == "jsonl":
        return None
    if name == SIMULATOR and rest == CRITEO_PRESET:
        return _SCHEMAS / "criteo_shaped.toml"
    return _SCHEMAS / f"{name}.toml"
