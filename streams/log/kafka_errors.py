"""Kafka's errors as ours, naming the address; one run bounded in time where the client would wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from kafka import errors as kafka_errors

from streams.contract.errors import ConflictError, FreshetError, InputError, NotFoundError, UnavailableError

T = TypeVar("T")

FENCED = (kafka_errors.ProducerFencedError, kafka_errors.InvalidProducerEpochError)
_RETRY_SECONDS = 0.1
REFUSED = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
)


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Raises UnavailableError (unreachable), InputError (refused, wrong), NotFoundError or ConflictError (fenced)."""
    try:
        yield
    except FreshetError:
        raise
    except FENCED as error:
        raise ConflictError("a newer writer has taken over", field="log", value=address) from error
    except REFUSED as error:
        raise InputError(
            f"the broker refuses: {_text(error)}", field="log", value=address, remedy="check user, password and rights"
        ) from error
    except kafka_errors.UnknownTopicOrPartitionError as error:
        raise NotFoundError("no such topic or partition", field="log", value=address) from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise unavailable(address, _text(error)) from error


def unavailable(address: str, reason: str) -> UnavailableError:
    """The error for a broker that does not answer as one."""
    return UnavailableError(
        f"no Kafka broker answers: {reason}",
        field="log",
        value=address,
        remedy="check that the address is a Kafka broker's and that it runs",
    )


def retried(run: Callable[[], T], seconds: float) -> T:
    """What `run` returns, tried again while a broker restarts or a partition changes its leader."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return run()
        except kafka_errors.RetriableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def bounded(run: Callable[[], T], seconds: float, address: str) -> T:
    """What `run` returns or raises; UnavailableError where it takes longer.

    kafka-python waits without limit for the end of a transaction, so that a broker that dies then
    would hold its writer for ever. The abandoned wait goes on in a daemon thread.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def target() -> None:
        try:
            results.append(run())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=target, name="kafka-wait", daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    if not results:
        raise unavailable(address, f"no answer in {seconds:g} s; the records may or may not have been written")
    return results[0]


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
