"""What the trainer cannot use goes to the dead letters, with the reason."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from streams.contract.errors import NotFoundError, UnavailableError
from streams.contract.examples import ExampleBatch, encode_examples
from streams.join.dead_letters import MAX_VALUE_BYTES, UNDECODABLE, DeadLetter, dead_letter, encode_dead_letter
from streams.log.event_log import DEAD_LETTERS, Append, EventLog, Record, TopicPartition

_LOGGER = logging.getLogger(__name__)

BAD_FEATURES = "bad-features"


class DeadLetterSender:
    """Sends records and requests to the dead letters, at least once each; `counts` by reason.

    Waits while the log is away, until `stop` is set: what is set aside is read again after a
    restart, since no checkpoint lies behind it yet. A batch that is read again after a crash sends
    its dead letters again, with the same content.
    """

    def __init__(self, log: EventLog, topic: str, stop: threading.Event) -> None:
        self._log = log
        self._topic = topic
        self._stop = stop
        self._partition: TopicPartition | None = None
        self.counts: Counter[str] = Counter()

    def undecodable(self, record: Record, reason: str) -> None:
        """A record that is neither examples nor a mark."""
        self._send(dead_letter(record, UNDECODABLE, reason))

    def bad_request(self, examples: ExampleBatch, reason: str) -> None:
        """The examples of one request whose raw values the feature schema does not take."""
        value = encode_examples(examples)
        self._send(
            DeadLetter(
                reason=BAD_FEATURES, detail=reason, topic=self._topic, partition=-1, offset=-1,
                value=value[:MAX_VALUE_BYTES], num_bytes=len(value), key=examples.impression_id[0].encode(),
            )
        )  # fmt: skip

    def _send(self, letter: DeadLetter) -> None:
        self.counts[letter.reason] += 1
        place = f"{letter.topic}[{letter.partition}] offset {letter.offset}" if letter.offset >= 0 else letter.topic
        _LOGGER.warning("%s in %s, sent to %s: %s", letter.reason, place, DEAD_LETTERS, letter.detail)
        value = encode_dead_letter(letter)
        while not self._stop.is_set():
            try:
                self._log.append([Append(self._target(), value, letter.key)])
                return
            except UnavailableError as error:
                _LOGGER.warning("cannot send a dead letter, trying again: %s", error)
                self._stop.wait(error.retry_after_seconds)

    def _target(self) -> TopicPartition:
        """The first partition of the topic, which is made where there is none."""
        if self._partition is None:
            try:
                self._partition = self._log.partitions(DEAD_LETTERS)[0]
            except NotFoundError:
                self._log.create_topic(DEAD_LETTERS, 1)
                self._partition = TopicPartition(DEAD_LETTERS, 0)
        return self._partition
