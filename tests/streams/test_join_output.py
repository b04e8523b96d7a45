"""Records of examples, of bounded size."""

from __future__ import annotations

from streams.contract.examples import ExampleBatch, Mark, decode_examples
from streams.join.example_builder import Emission
from streams.join.output import HARD_LIMIT_BYTES, DiscardedOutput, JoinOutput, fits
from tests.support.joining import flatten, impression, records_of


def _emission(number: int, *, kind: str = "click", ads: str = "ab") -> Emission:
    shown = impression(f"i{number}", number, ads)
    return Emission(kind=kind, impression=shown, num_bytes=200, rows=range(len(ads)), decided_ingest_ms=0)


def test_emissions_of_one_kind_make_one_record() -> None:
    out = JoinOutput()
    for number in range(3):
        out.emit(_emission(number))
    out.flush()
    assert [len(flatten([record])) for record in out.records] == [6]


def test_record_ends_at_a_mark_a_change_of_kind_and_the_size() -> None:
    out = JoinOutput(record_bytes=1000)
    for number in range(4):
        out.emit(_emission(number))
    out.mark(Mark())
    out.emit(_emission(4))
    out.emit(_emission(5, kind="view"))
    out.flush()
    assert [len(flatten([record])) for record in out.records] == [6, 2, 1, 2, 2]
    assert out.stats.examples == {"click": 10, "view": 2}


def test_batch_that_outgrows_the_estimate_is_split_below_the_hard_limit() -> None:
    ads = [f"{number}" for number in range(40)]
    bags = [[1] * 10_000 for _ in ads]
    shown = impression("i", 0, ad_ids=ads, candidates={"bag": bags})
    out = JoinOutput()
    out.emit(Emission(kind="click", impression=shown, num_bytes=400_000, rows=range(40), decided_ingest_ms=0))
    out.flush()
    decoded = [decode_examples(record) for record in out.records]
    assert all(len(record) <= HARD_LIMIT_BYTES for record in out.records)
    assert [ad for batch in decoded if isinstance(batch, ExampleBatch) for ad in batch.ad_id] == ads


def test_impression_fits_by_its_largest_candidate() -> None:
    many = impression("i", 0, candidates={"bag": [[1] * 100_000, [1]]})
    large = impression("i", 0, candidates={"bag": [[1] * 200_000, [1]]})
    assert fits(many, 100_000)
    assert not fits(large, 200_000)


def test_discarded_output_keeps_nothing() -> None:
    out = DiscardedOutput()
    out.emit(_emission(0))
    out.mark(Mark())
    out.bury(records_of([b""])[0], "reason", "detail")
    out.flush()
    assert (out.records, out.dead_letters, out.stats.as_dict()["examples"]) == ([], [], {})
