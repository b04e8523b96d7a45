"""Malformed lines: counted, reported, tolerated up to a limit."""

from __future__ import annotations

import logging

from streams.contract.errors import FormatError

logger = logging.getLogger(__name__)


class BadLines:
    """Counts malformed lines, and stops the reading at the first one beyond `allowed`."""

    def __init__(self, allowed: int = 0) -> None:
        self.allowed = allowed
        self.count = 0

    def note(self, error: FormatError) -> None:
        """Counts and reports one malformed line. Raises `error` itself where no more are allowed."""
        self.count += 1
        if self.count > self.allowed:
            raise error
        logger.warning("skipped bad line %d of at most %d: %s", self.count, self.allowed, error)
