"""The exceptions a user may see.

FreshetError                 exit 1, HTTP 500
├── InputError               what was given is wrong; exit 2, HTTP 422
│   ├── FormatError          bytes that cannot be decoded (a log line, an event, a checkpoint); HTTP 400
│   ├── TooLargeError        more than a stated limit; HTTP 413
│   └── NotFoundError        names something that does not exist; HTTP 404
├── ConflictError            the state does not allow it now; HTTP 409
└── UnavailableError         a server, disk or port is away; HTTP 503
    └── BackPressureError    alive, but cannot take more now; HTTP 429, carries retry_after_seconds
"""

from __future__ import annotations


class FreshetError(Exception):
    """Anything Freshet tells its user: a sentence, the field, its value, and what to do about it."""

    code = "failure"
    exit_code = 1
    http_status = 500

    def __init__(
        self, message: str, *, field: str | None = None, value: object = None, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        got = f" (got {_shorten(self.value)})" if self.value is not None else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{where}{self.message}{got}{remedy}"

    def as_dict(self) -> dict[str, str]:
        """The one error shape of the HTTP API and of `--json`: code, message, field?, remedy?."""
        got = f" (got {_shorten(self.value)})" if self.value is not None else ""
        shape = {"code": self.code, "message": f"{self.message}{got}"}
        if self.field:
            shape["field"] = self.field
        if self.remedy:
            shape["remedy"] = self.remedy
        return shape


class InputError(FreshetError):
    """What the user gave is wrong; names the field, its value and the remedy."""

    code = "invalid_input"
    exit_code = 2
    http_status = 422


class FormatError(InputError):
    """Bytes or text that cannot be decoded."""

    code = "bad_format"
    http_status = 400


class TooLargeError(InputError):
    """More than a stated limit."""

    code = "too_large"
    http_status = 413


class NotFoundError(InputError):
    """Names something that does not exist."""

    code = "not_found"
    http_status = 404


class ConflictError(FreshetError):
    """The present state does not allow the operation."""

    code = "conflict"
    http_status = 409


class UnavailableError(FreshetError):
    """A server, disk or port that is needed is away."""

    code = "unavailable"
    http_status = 503

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        remedy: str | None = None,
        retry_after_seconds: float = 1.0,
    ) -> None:
        super().__init__(message, field=field, value=value, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class BackPressureError(UnavailableError):
    """Alive, but cannot take more now; try again after `retry_after_seconds`."""

    code = "overloaded"
    http_status = 429


def _shorten(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
