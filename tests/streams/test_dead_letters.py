"""Dead letters over the wire."""

from __future__ import annotations

import pytest

from streams.contract.errors import FormatError
from streams.join.dead_letters import MAX_VALUE_BYTES, UNDECODABLE, dead_letter, decode_dead_letter, encode_dead_letter
from streams.log.event_log import Record, TopicPartition


def test_dead_letter_keeps_reason_place_and_bytes() -> None:
    letter = dead_letter(Record(TopicPartition("events", 3), 7, b"key", b"\xff\x00", 0), UNDECODABLE, "why")
    assert decode_dead_letter(encode_dead_letter(letter)) == letter
    assert (letter.topic, letter.partition, letter.offset, letter.key) == ("events", 3, 7, b"key")
    assert (letter.value, letter.num_bytes) == (b"\xff\x00", 2)


def test_longest_records_are_cut_and_their_size_kept() -> None:
    record = Record(TopicPartition("events", 0), 0, None, b"x" * 1_000_000, 0)
    letter = dead_letter(record, UNDECODABLE, "why")
    assert (len(letter.value), letter.num_bytes) == (MAX_VALUE_BYTES, 1_000_000)


def test_other_bytes_raise_format_error() -> None:
    with pytest.raises(FormatError):
        decode_dead_letter(b"nonsense")
