"""The few HTTP calls by which Triton is watched and controlled."""

from __future__ import annotations

import http.client
import json


def http_ok(address: str, path: str, timeout_seconds: float = 2.0) -> bool:
    """Whether GET `path` at `host:port` answers 200."""
    try:
        return _call("GET", address, path, timeout_seconds)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def http_post(address: str, path: str, timeout_seconds: float) -> tuple[int, str]:
    """(status, the answer's error message, or "") of an empty POST; status 0 where nobody answers in time."""
    try:
        status, body = _call("POST", address, path, timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    return status, _message(body)


def _message(body: bytes) -> str:
    if not body:
        return ""
    try:
        return str(json.loads(body).get("error", ""))
    except (ValueError, AttributeError):
        return body[:200].decode(errors="replace")


def _call(method: str, address: str, path: str, timeout_seconds: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=timeout_seconds)
    try:
        connection.request(method, path, body=b"{}" if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
