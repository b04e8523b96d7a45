"""What a stack was given, checked before anything is started: a mistake is told in a second, not after a minute."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from freshet.stack import StackConfig
from streams.contract.errors import InputError, NotFoundError, UnavailableError
from streams.contract.schema import load_schema
from streams.log.event_log import open_log

_ANSWER_SECONDS = 5.0


def check_inputs(config: StackConfig) -> None:
    """Reads the schema, looks up the recipe and the recommender, tries the port, and asks every server that was named.

    Raises InputError or UnavailableError naming the option.
    """
    from trainer.recipes import check_trainable, recipe

    load_schema(config.schema)
    check_trainable(recipe(config.recipe))
    if config.recommender is not None:
        _check_recommender(config.recommender)
    check_port(config.host, config.port)
    if config.redis:
        _check_redis(config.redis, config.model)
    if config.triton not in ("", "inprocess"):
        check_triton(config.triton)
    if config.log:
        open_log(config.log).close()


def check_port(host: str, port: int) -> None:
    """Raises InputError for what is no port, and where another process listens there."""
    if not 0 <= port <= 65535:
        raise InputError("is not a port", field="port", value=port, remedy="use 1 to 65535, or 0 for a free one")
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = "stop what listens there, or choose another (0: a free one)"
            raise InputError(f"is taken: {error.strerror}", field="port", value=port, remedy=remedy) from error


def check_triton(address: str) -> None:
    """Raises InputError where something else than a Triton answers, UnavailableError where nothing does."""
    place = urlsplit(address)
    if place.scheme != "http" or not place.hostname:
        raise InputError("is no address of a Triton", field="triton", value=address,
                         remedy="give http://HOST:PORT, or `inprocess`")  # fmt: skip
    try:
        with closing(http.client.HTTPConnection(place.netloc, timeout=_ANSWER_SECONDS)) as connection:
            connection.request("GET", "/v2/health/live")
            status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise _no_triton(address, repr(error)) from error
    except OSError as error:
        raise UnavailableError(f"no Triton answers: {error}", field="triton", value=address,
                               remedy="check that it runs, or leave --triton out to start one") from error  # fmt: skip
    if status != 200:
        raise _no_triton(address, f"HTTP {status}")


def _no_triton(address: str, answer: str) -> InputError:
    return InputError(f"something else than a Triton answers there: {answer}", field="triton", value=address,
                      remedy="give http://HOST:PORT of Triton's HTTP service")  # fmt: skip


def _check_recommender(folder: Path) -> None:
    from llm_rec.model_folder import has_model

    if not has_model(folder):
        raise NotFoundError("holds no recommender's model", field="recommender", value=str(folder),
                            remedy="make one with `freshet recommender train --out DIR`")  # fmt: skip


def _check_redis(address: str, model: str) -> None:
    from streams.store.row_store import open_row_store

    store = open_row_store(address, model=model)
    try:
        store.live()
    finally:
        store.close()
