"""The scorer's way to the event log: opened when it is first needed and answers."""

from __future__ import annotations

import threading

from streams.contract.errors import InputError
from streams.log.event_log import EventLog, open_log


class LogLink:
    """One log, shared by the scorer's threads. A scorer starts, and scores, while its log is away."""

    def __init__(self, address: str) -> None:
        """Raises InputError for an address of no known kind."""
        if "://" in address and not address.startswith("kafka://"):
            raise InputError("unknown kind of event log", field="log", value=address,
                             remedy="use embedded:DIR or kafka://HOST:PORT")  # fmt: skip
        self._address = address
        self._log: EventLog | None = None
        self._lock = threading.Lock()

    @property
    def log(self) -> EventLog:
        """The open log. Raises UnavailableError where it is away."""
        with self._lock:
            if self._log is None:
                self._log = open_log(self._address)
            return self._log

    def close(self) -> None:
        """Frees its connections."""
        with self._lock:
            if self._log is not None:
                self._log.close()
