"""Concurrency, deadlines and sizes: the bound holds, and beyond it the error says what to do."""

from __future__ import annotations

import time

import pytest

from serving.gateway.limits import InFlight, LimitsConfig, check_body_bytes, deadline_seconds
from streams.contract.errors import BackPressureError, InputError, TooLargeError


def test_request_beyond_the_bound_is_refused_with_a_time_to_retry() -> None:
    in_flight = InFlight(LimitsConfig(max_in_flight=1, retry_after_seconds=3.0))
    with in_flight:
        with pytest.raises(BackPressureError) as refused, in_flight:
            pass
        assert refused.value.retry_after_seconds == 3.0
        assert in_flight.count == 1
    with in_flight:
        assert in_flight.count == 1


def test_request_that_fails_frees_its_place() -> None:
    in_flight = InFlight(LimitsConfig(max_in_flight=1))
    with pytest.raises(ZeroDivisionError), in_flight:
        raise ZeroDivisionError
    assert in_flight.count == 0


def test_deadline_comes_from_the_header_or_else_from_the_configuration() -> None:
    limits = LimitsConfig(deadline_ms=20_000)
    before = time.monotonic()
    by_default, by_header = deadline_seconds(None, limits), deadline_seconds(b" 40000 ", limits)
    assert by_default >= before + 20
    assert by_header >= by_default + 19


@pytest.mark.parametrize("header", [b"", b"0", b"-5", b"1.5", b"soon", b"60001", b"9" * 5000, "٣".encode()])
def test_header_that_is_no_deadline_is_refused(header: bytes) -> None:
    with pytest.raises(InputError, match="x-deadline-ms"):
        deadline_seconds(header, LimitsConfig())


def test_body_beyond_the_bound_is_refused() -> None:
    limits = LimitsConfig(max_body_bytes=10)
    check_body_bytes(10, limits)
    with pytest.raises(TooLargeError, match="at most 10 bytes"):
        check_body_bytes(11, limits)


@pytest.mark.parametrize("name", ["max_in_flight", "deadline_ms", "max_body_bytes"])
def test_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=name):
        LimitsConfig(**{name: 0})
