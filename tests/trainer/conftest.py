"""Fixtures of the tests in this folder."""

from tests.support.publishers import open_publisher, updates_log

__all__ = ["open_publisher", "updates_log"]
