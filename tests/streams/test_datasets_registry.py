"""FORMAT:PATH, and the schemas that come with the formats."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from streams.contract.columns import column_from_values
from streams.contract.errors import InputError
from streams.contract.features import FeatureTransform
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import FORMATS, open_dataset, schema_path
from tests.support.shared_data import shared_data

SHARED = {
    "criteo": "criteo/train.tsv",
    "avazu": "avazu/train.csv",
    "mind": "mind",
    "globo": "globo",
    "movielens": "movielens_1m",
    "amazon": "amazon_beauty",
}
SIMULATED = ["simulator:small", "simulator:criteo"]


@pytest.mark.parametrize("spec", ["mind", "mind:", "movies:/data", "", ":x", "/data/mind"])
def test_spec_that_is_no_format_and_path_is_refused_with_those_there_are(spec: str) -> None:
    with pytest.raises(InputError) as raised:
        open_dataset(spec)
    assert (raised.value.field, raised.value.value) == ("data", spec)
    assert all(name in str(raised.value.remedy) for name in FORMATS)


def test_missing_path_is_refused_on_opening(tmp_path: Path) -> None:
    for name in FORMATS[:-1]:
        with pytest.raises(InputError) as raised:
            open_dataset(f"{name}:{tmp_path / 'none'}")
        assert str(tmp_path / "none") in str(raised.value), name


def test_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="small, drift, sessions, delayed, large"):
        open_dataset("simulator:huge")


@pytest.mark.parametrize(
    "options",
    [{"seed": -1}, {"max_bad_lines": -1}, {"num_negatives": -1}, {"max_impressions": -1}, {"negatives": "hard"}],
)
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, object]) -> None:
    with pytest.raises(InputError) as raised:
        DatasetOptions(**options)  # type: ignore[arg-type]
    assert raised.value.field == next(iter(options))
    assert raised.value.remedy


def test_max_impressions_is_how_many_come() -> None:
    assert len(list(open_dataset("simulator:small", DatasetOptions(max_impressions=7)))) == 7


def check_features(spec: str) -> None:
    """The impressions carry features of the schema alone, each feature comes, and all can be transformed."""
    dataset = open_dataset(spec)
    assert dataset.schema is not None
    transform = FeatureTransform(dataset.schema)
    seen: set[str] = set()
    for observed in islice(dataset, 1_000):
        shown = observed.impression
        request = {**shown.user, **shown.context}
        transform.check_names(list(request), of_request=True, where="request")
        transform.check_names(list(shown.candidates), of_request=False, where="candidates")
        seen |= request.keys() | shown.candidates.keys()
        batch = transform(
            {name: column_from_values([value]) for name, value in request.items()},
            {name: column_from_values(values) for name, values in shown.candidates.items()},
            np.zeros(len(shown.ad_ids), dtype=np.int32),
            num_requests=1,
        )
        assert np.isfinite(batch.candidate.dense).all()
    absent = {feature.name for feature in dataset.schema.features} - seen
    assert absent <= {"gender", "age", "occupation"}


@pytest.mark.parametrize("name", SHARED)
def test_shared_log_s_impressions_fit_their_schema(name: str) -> None:
    check_features(f"{name}:{shared_data(SHARED[name])}")


@pytest.mark.parametrize("spec", SIMULATED)
def test_simulated_impressions_fit_their_schema(spec: str) -> None:
    check_features(spec)


def test_schema_files_are_each_of_a_format() -> None:
    specs = [*(f"{name}:x" for name in FORMATS), "simulator:criteo"]
    known = {path for path in map(schema_path, specs) if path}
    folder = next(iter(known)).parent
    assert set(folder.glob("*.toml")) == known
