"""Whether a service that runs also does its work: asked at its address, not guessed from its process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping

_TIMEOUT_SECONDS = 3.0
"""A gateway asks both models before it answers, each for a second at most."""


def health_of(name: str, running: bool, addresses: Mapping[str, str], metrics: str = "") -> str:
    """`ok`, or what is wrong. `metrics` is the address of its metrics page, which tells of a joiner and a trainer."""
    if not running:
        return "stopped"
    if name == "gateway":
        return _told(f"{addresses['gateway']}/readyz")
    if name == "scorer":
        return _answer(f"{addresses['triton']}/v2/health/ready")
    if name == "store":
        return _store(addresses["redis"])
    return _told(f"{metrics.removesuffix('/metrics')}/healthz") if metrics else "ok"


def _answer(url: str) -> str:
    try:
        urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}"
    except OSError as error:
        return f"does not answer: {error}"
    return "ok"


def _told(url: str) -> str:
    """What a gateway or a worker says of itself that it lacks, or waits for."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            return "; ".join(map(str, json.load(answer)["degraded"])) or "ok"
    except urllib.error.HTTPError as error:
        return _missing(error)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"does not answer: {error}"


def _missing(error: urllib.error.HTTPError) -> str:
    """What a gateway that is not ready lacks, and what else works only in part."""
    with error:
        try:
            told = json.loads(error.read())
            return "; ".join(map(str, [*told["missing"], *told["degraded"]]))
        except (ValueError, KeyError, TypeError):
            return f"does not answer: HTTP {error.code}"


def _store(address: str) -> str:
    from streams.contract.errors import FreshetError
    from streams.store.redis_client import connect_redis

    try:
        connect_redis(address).close()
    except FreshetError as error:
        return str(error)
    return "ok"
