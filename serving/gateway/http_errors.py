"""Exceptions as HTTP answers, in the one shape `{"error": {"code", "message", "field"?, "remedy"?}}`.

FreshetError tree            streams/contract/errors.py
└── InputError
    ├── UnauthorisedError    no key, or an unknown one; HTTP 401
    └── ForbiddenError       the key lacks the role, or the page another origin; HTTP 403
"""

from __future__ import annotations

import logging
import math

import orjson

from streams.contract.errors import FreshetError, InputError, UnavailableError

_LOGGER = logging.getLogger(__name__)
_CODES = {404: "not_found", 405: "method_not_allowed"}


class UnauthorisedError(InputError):
    """No API key, or one that is not known."""

    code = "unauthorised"
    http_status = 401


class ForbiddenError(InputError):
    """The API key does not have the role, or the request comes from a foreign page."""

    code = "forbidden"
    http_status = 403


def error_answer(error: Exception) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """(status, JSON body, extra headers) of an exception. What is not ours becomes a 500 that gives nothing away."""
    if not isinstance(error, FreshetError):
        _LOGGER.error("request failed", exc_info=error)
        error = FreshetError("the gateway failed on this request", remedy="see the gateway's log")
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, UnavailableError):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_seconds))).encode()))
    if isinstance(error, UnauthorisedError):
        headers.append((b"www-authenticate", b"Bearer"))
    return error.http_status, orjson.dumps({"error": error.as_dict()}), headers


def plain_answer(status: int, message: str) -> bytes:
    """The JSON body for a status that no exception of ours stands behind (no such path, wrong method)."""
    code = _CODES.get(status, "failure" if status >= 500 else "invalid_input")
    return orjson.dumps({"error": {"code": code, "message": message, "remedy": "see /docs for paths and methods"}})
