"""Other processes on an event log: `python -m tests.support.log_processes write|read …`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from streams.log.event_log import Append, EventLog, TopicPartition, open_log

RECORDS_A_TRANSACTION = 50
GROUP = "killed-writer"


def start(*arguments: str) -> subprocess.Popen[str]:
    """The process of this module with these arguments, its output piped."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, *arguments]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)


def read_all(log: EventLog, partitions: list[TopicPartition]) -> list[bytes]:
    """Every value from the oldest record on, by partition."""
    offsets = log.begin_offsets(partitions)
    values: dict[TopicPartition, list[bytes]] = {partition: [] for partition in partitions}
    while records := log.read(offsets):
        for record in records:
            values[record.partition].append(record.value)
            offsets[record.partition] = record.offset + 1
    return [value for partition in partitions for value in values[partition]]


def write_for_ever(address: str, topic: str, transactional_id: str) -> None:
    """Transactions 0, 1, 2, …: each writes its number to all partitions and commits it as the group's offset.

    It tells the first number on standard output, and when that one is committed.
    """
    log = open_log(address)
    partitions = log.partitions(topic)
    with log.transaction(transactional_id):
        pass
    number = log.committed_offsets(GROUP, partitions[:1]).get(partitions[0], 0)
    sys.stdout.write(f"from {number}\n")
    sys.stdout.flush()
    first = number
    while True:
        value = str(number).encode()
        with log.transaction(transactional_id) as transaction:
            for index in range(RECORDS_A_TRANSACTION):
                transaction.append([Append(partitions[index % len(partitions)], value)])
            transaction.commit_offsets(GROUP, {partitions[0]: number + 1})
        if number == first:
            sys.stdout.write("committed\n")
            sys.stdout.flush()
        number += 1


def main() -> None:
    what, address, topic, *rest = sys.argv[1:]
    if what == "write":
        write_for_ever(address, topic, *rest)
    log = open_log(address)
    for value in read_all(log, log.partitions(topic)):
        sys.stdout.write(f"{value.decode()}\n")
    log.close()


if __name__ == "__main__":
    main()
