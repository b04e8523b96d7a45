"""Consumer groups' offsets in Kafka. Nobody joins a group: partitions are assigned by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import kafka
from kafka.structs import OffsetAndMetadata

from streams.log.event_log import TopicPartition
from streams.log.kafka_client import connect
from streams.log.kafka_settings import KafkaSettings


class KafkaGroups:
    """One consumer a group that was asked for, used by one thread at a time."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._timeout_ms = round(1000 * settings.request_timeout_seconds)
        self._consumers: dict[str, Any] = {}
        self._lock = threading.Lock()

    def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Sets the group's next offsets."""
        theirs = {_theirs(partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        with self._lock:
            if theirs:
                self._consumer(group).commit(theirs, timeout_ms=self._timeout_ms)

    def committed(self, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The group's next offsets; waits for the end of a transaction that is about to change them."""
        found: dict[TopicPartition, int] = {}
        with self._lock:
            for partition in partitions:
                offset = self._consumer(group).committed(_theirs(partition), timeout_ms=self._timeout_ms)
                if offset is not None and offset >= 0:
                    found[partition] = offset
        return found

    def close(self) -> None:
        """Ends the consumers' connections."""
        with self._lock:
            for consumer in self._consumers.values():
                consumer.close(autocommit=False, timeout_ms=1000)
            self._consumers.clear()

    def _consumer(self, group: str) -> Any:
        if group not in self._consumers:
            # Only a read-committed consumer is told of offsets whose transaction is still open.
            self._consumers[group] = connect(
                kafka.KafkaConsumer,
                self._settings,
                group_id=group,
                enable_auto_commit=False,
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
        return self._consumers[group]


def _theirs(partition: TopicPartition) -> kafka.TopicPartition:
    return kafka.TopicPartition(partition.topic, partition.partition)
