"""Avazu's rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.errors import FormatError
from streams.datasets.observed import Observed
from streams.datasets.options import DatasetOptions
from streams.datasets.registry import open_dataset
from tests.support.shared_data import shared_data

HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,"
    "device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
ROW = "7,0,14102100,1005,0,1fb,f38,289,ecad,7801,07d,a99f214a,ddd2,44956a24,1,2,15706,320,50,1722,0,35,-1,79"


def read(tmp_path: Path, *rows: str, header: str = HEADER, max_bad_lines: int = 0) -> list[Observed]:
    path = tmp_path / "train.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return list(open_dataset(f"avazu:{path}", DatasetOptions(max_bad_lines=max_bad_lines)))


def test_rows_become_impressions_of_one_candidate_in_their_hour(tmp_path: Path) -> None:
    first, second, later = read(tmp_path, ROW, ROW.replace("7,0,", "8,1,"), ROW.replace("14102100", "14102101"))
    assert first.impression.event_time_ms == 1_413_849_600_000  # 2014-10-21 00:00 UTC
    assert second.impression.event_time_ms - first.impression.event_time_ms == 1
    assert later.impression.event_time_ms - first.impression.event_time_ms == 3_600_000
    assert (len(first.feedback), len(second.feedback)) == (0, 1)
    assert first.impression.ad_ids == ["15706"]
    assert (first.impression.context["hour"], first.impression.context["weekday"]) == (0, 1)


def test_device_without_an_id_is_told_apart_by_address_and_model(tmp_path: Path) -> None:
    nameless, named = read(tmp_path, ROW, ROW.replace("a99f214a", "c0ffee"))
    assert nameless.impression.unit_id == "ddd2-44956a24"
    assert named.impression.unit_id == "c0ffee"


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (ROW.replace("7,0,", "7,x,"), "click"),
        (ROW.replace("14102100", "141021"), "hour"),
        (ROW.replace("14102100", "14102000"), "timestamp"),
        (ROW[:40], "line"),
    ],
)
def test_malformed_row_names_file_line_and_field(tmp_path: Path, bad: str, field: str) -> None:
    with pytest.raises(FormatError, match=r"train\.csv:3: ") as raised:
        read(tmp_path, ROW, bad, ROW)
    assert raised.value.field == field
    assert len(read(tmp_path, ROW, bad, ROW, max_bad_lines=1)) == 2


@pytest.mark.parametrize("header", ["", HEADER.replace("banner_pos", "pos")])
def test_header_that_lacks_a_column_is_refused_on_opening(tmp_path: Path, header: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(header)
    with pytest.raises(FormatError, match="banner_pos"):
        open_dataset(f"avazu:{path}")


def test_shared_log_has_as_many_rows_as_stated() -> None:
    assert sum(1 for _ in open_dataset(f"avazu:{shared_data('avazu/train.csv')}")) == 8_087
