"""Writing to Kafka, all or nothing: one batch where the records fit into one, else a transaction.

A batch of one partition is atomic by itself: the broker takes it whole or not, and the idempotent
producer never writes it twice. Everything else (several partitions, more bytes, offsets) goes
through a transactional producer, which costs some round trips more.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import kafka
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from streams.contract.errors import UnavailableError
from streams.log.event_log import Append, TopicPartition
from streams.log.kafka_client import connect
from streams.log.kafka_errors import FENCED, bounded
from streams.log.kafka_settings import KafkaSettings
from streams.log.pending import Pending

_BATCH_BYTES = 1_000_000
_RECORD_OVERHEAD_BYTES = 64
# Batches leave when they are flushed, never because they waited.
_LINGER_MS = 5_000
_CLOSE_SECONDS = 5.0


class KafkaProducer:
    """A producer of batches; with a transactional id, of transactions. One thread at a time."""

    def __init__(self, settings: KafkaSettings, address: str, transactional_id: str | None = None) -> None:
        self._address = address
        self._timeout_seconds = settings.request_timeout_seconds
        request_ms = round(1000 * settings.request_timeout_seconds)
        self._producer = connect(
            kafka.KafkaProducer,
            settings,
            transactional_id=transactional_id,
            transaction_timeout_ms=round(1000 * settings.transaction_timeout_seconds),
            enable_idempotence=True,
            batch_size=_BATCH_BYTES,
            linger_ms=_LINGER_MS,
            delivery_timeout_ms=request_ms + _LINGER_MS,
            max_block_ms=request_ms,
            retry_backoff_ms=20,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        if transactional_id is not None:
            self._init_transactions()

    def send(self, records: Sequence[Append]) -> dict[TopicPartition, int]:
        """Sends records that fit into one batch of one partition."""
        last = self._queue(records)
        self._producer.flush(self._timeout_seconds)
        return self._ends(last)

    def transact(self, pending: Pending) -> dict[TopicPartition, int]:
        """Writes all of it in one transaction. Raises Kafka's own errors; nothing is visible then."""
        last: dict[TopicPartition, Any] = {}
        try:
            self._producer.begin_transaction()
            last = self._queue(pending.records)
            bounded(lambda: self._finish(pending), self._timeout_seconds, self._address)
        except UnavailableError:
            self.abandon()
            raise
        except Exception as error:
            self._abort()
            raise _cause(error, last) from error
        return self._ends(last)

    def close(self) -> None:
        """Ends the producer's connections; nothing may be on its way."""
        self._producer.close(timeout=_CLOSE_SECONDS)

    def abandon(self) -> None:
        """Gives up what is on its way; it may or may not arrive."""
        # close() would first wait for its buffer to empty, which is what failed.
        self._producer._sender.force_close()

    def _init_transactions(self) -> None:
        try:
            self._producer.init_transactions()
        except BaseException:
            self.abandon()
            raise

    def _queue(self, records: Sequence[Append]) -> dict[TopicPartition, Any]:
        """partition -> the future of its last record."""
        timestamp_ms = time.time_ns() // 1_000_000
        last: dict[TopicPartition, Any] = {}
        for record in records:
            partition = record.partition
            last[partition] = self._producer.send(
                partition.topic,
                record.value,
                key=record.key,
                partition=partition.partition,
                timestamp_ms=timestamp_ms,
            )
        return last

    def _finish(self, pending: Pending) -> bool:
        for group, offsets in pending.offsets.items():
            theirs = {
                kafka.TopicPartition(partition.topic, partition.partition): OffsetAndMetadata(offset, "", -1)
                for partition, offset in offsets.items()
            }
            self._producer.send_offsets_to_transaction(theirs, group)
        self._producer.commit_transaction()
        return True

    def _abort(self) -> None:
        """Best effort: what stays open is aborted by the next claim of the id, or by the broker in time."""
        try:
            bounded(lambda: self._producer.abort_transaction() or True, self._timeout_seconds, self._address)
        except Exception:
            self.abandon()

    def _ends(self, last: Mapping[TopicPartition, Any]) -> dict[TopicPartition, int]:
        return {partition: future.get(self._timeout_seconds).offset + 1 for partition, future in last.items()}


def _cause(error: Exception, futures: Mapping[TopicPartition, Any]) -> Exception:
    """The producer reports a fenced id in many ways; the futures tell which it was."""
    failures = [future.exception for future in futures.values() if future.failed()]
    if "ProducerFenced" in str(error) or any(isinstance(failure, FENCED) for failure in [error, *failures]):
        fenced: Exception = kafka_errors.ProducerFencedError()
        return fenced
    return error


class KafkaWriter:
    """The appends of one log object: a producer for single batches, one for anonymous transactions."""

    def __init__(self, settings: KafkaSettings, address: str) -> None:
        self._settings = settings
        self._address = address
        self._batches: KafkaProducer | None = None
        self._transactions: KafkaProducer | None = None
        self._lock = threading.Lock()

    def append(self, records: Sequence[Append]) -> dict[TopicPartition, int]:
        """Writes the records, all or nothing; returns the offset behind the last one of each partition."""
        with self._lock:
            if _fit_one_batch(records):
                return self._send(records)
            return self._transact(Pending(list(records)))

    def close(self) -> None:
        """Ends both producers."""
        with self._lock:
            for producer in (self._batches, self._transactions):
                if producer is not None:
                    producer.close()
            self._batches = self._transactions = None

    def _send(self, records: Sequence[Append]) -> dict[TopicPartition, int]:
        self._batches = self._batches or KafkaProducer(self._settings, self._address)
        try:
            return self._batches.send(records)
        except Exception:
            # What it could not send is still in its buffer and would go out with the next append.
            self._batches.abandon()
            self._batches = None
            raise

    def _transact(self, pending: Pending) -> dict[TopicPartition, int]:
        name = f"freshet-append-{uuid.uuid4().hex}"
        self._transactions = self._transactions or KafkaProducer(self._settings, self._address, name)
        try:
            return self._transactions.transact(pending)
        except Exception:
            self._transactions.abandon()
            self._transactions = None
            raise


def _fit_one_batch(records: Sequence[Append]) -> bool:
    first = records[0].partition
    num_bytes = sum(len(record.value) + len(record.key or b"") + _RECORD_OVERHEAD_BYTES for record in records)
    fits = num_bytes <= _BATCH_BYTES or len(records) == 1
    return fits and all(record.partition == first for record in records)
