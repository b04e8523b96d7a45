"""Dead letters: records that could not be used, with the reason and their original bytes."""

from __future__ import annotations

import msgspec

from streams.contract.errors import FormatError
from streams.log.event_log import Record

MAX_VALUE_BYTES = 900_000
"""Longer originals are cut here, so that the dead letter itself fits where the original did."""

UNDECODABLE = "undecodable"
TOO_LARGE = "too-large"
UNKNOWN_KIND = "unknown-kind"
UNKNOWN_AD = "unknown-ad"
UNKNOWN_IMPRESSION = "unknown-impression"
BEYOND_HORIZON = "beyond-horizon"
HELD_OVERFLOW = "held-overflow"


class DeadLetter(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One record of the `dead-letters` topic: why, where it stood, and what it held (`num_bytes` before any cut)."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    value: bytes
    num_bytes: int
    key: bytes | None = None


def dead_letter(record: Record, reason: str, detail: str) -> DeadLetter:
    """The dead letter of `record`."""
    return DeadLetter(
        reason=reason,
        detail=detail,
        topic=record.partition.topic,
        partition=record.partition.partition,
        offset=record.offset,
        value=record.value[:MAX_VALUE_BYTES],
        num_bytes=len(record.value),
        key=record.key,
    )


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """The dead letter as a MessagePack map."""
    return msgspec.msgpack.encode(letter)


def decode_dead_letter(data: bytes) -> DeadLetter:
    """The inverse of `encode_dead_letter`. Raises FormatError on anything else."""
    try:
        return msgspec.msgpack.decode(data, type=DeadLetter)
    except msgspec.MsgspecError as error:
        raise FormatError(f"is not a dead letter: {error}", field="dead-letters", value=data[:24]) from error
