"""Amazon's sequences."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.errors import FormatError, NotFoundError
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from tests.support.shared_data import shared_data


def read(tmp_path: Path, *rows: str, texts: str = "B1 rose water\nB2 \n", max_bad_lines: int = 0) -> list[Observed]:
    (tmp_path / "user_sequence.txt").write_text("\n".join(rows) + "\n")
    (tmp_path / "item_generative_indexing_phase_0.txt").write_text(texts)
    return list(open_dataset(f"amazon:{tmp_path}", DatasetOptions(max_bad_lines=max_bad_lines)))


def test_each_item_becomes_an_impression_with_those_before_as_history(tmp_path: Path) -> None:
    observed = read(tmp_path, "A1 B1 B2", "A2 B2")
    assert [o.feedback[0].ad_id for o in observed] == ["B1", "B2", "B2"]
    assert [o.impression.user["history"] for o in observed] == [[], ["B1"], []]
    assert [sorted(o.impression.ad_ids) for o in observed] == [["B1"], ["B1", "B2"], ["B1", "B2"]]
    times = [o.impression.event_time_ms for o in observed]
    assert [time - times[0] for time in times] == [0, 1_000, 2_000]


def test_words_are_those_of_the_item_and_none_where_it_has_no_text(tmp_path: Path) -> None:
    (first, second, _) = (o.impression for o in read(tmp_path, "A1 B1 B2 B1"))
    assert first.candidates["words"] == [["rose", "water"]]
    assert dict(zip(second.ad_ids, second.candidates["words"], strict=True)) == {"B1": ["rose", "water"], "B2": []}


@pytest.mark.parametrize("bad", ["A1", "", "A1 B1  B2"])
def test_malformed_sequence_names_file_and_line(tmp_path: Path, bad: str) -> None:
    with pytest.raises(FormatError, match=r"user_sequence\.txt:2: "):
        read(tmp_path, "A1 B1", bad)
    assert len(read(tmp_path, "A1 B1", bad, "A2 B1", max_bad_lines=1)) == 2


def test_malformed_text_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"phase_0\.txt:1: "):
        read(tmp_path, "A1 B1", texts="B1\n")


def test_missing_texts_are_refused_on_opening(tmp_path: Path) -> None:
    (tmp_path / "user_sequence.txt").write_text("A1 B1\n")
    with pytest.raises(NotFoundError, match="item_generative_indexing_phase_0"):
        open_dataset(f"amazon:{tmp_path}")


def test_shared_log_has_as_many_events_as_stated() -> None:
    dataset = open_dataset(f"amazon:{shared_data('amazon_beauty')}", DatasetOptions(num_negatives=0))
    users, events = set(), 0
    for observed in dataset:
        users.add(observed.impression.unit_id)
        events += 1
    assert (len(users), events) == (22_363, 198_502)
