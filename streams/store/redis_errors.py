"""What errors of the Redis client mean to a user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from streams.contract.errors import FormatError, FreshetError, InputError, UnavailableError

_SILENT = (
    "check that a Redis listens there, that it is redis:// (plain) or rediss:// (TLS), and that it is not overloaded"
)
_PASSWORD = "set FRESHET_REDIS_PASSWORD to the server's password"


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Raises InputError or UnavailableError, naming `address` and the remedy, for any error of the client within."""
    try:
        yield
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
        raise _meaning(address, error) from error


def _meaning(address: str, error: Exception) -> FreshetError:
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return InputError(f"refuses us: {error}", field="redis", value=address, remedy=_PASSWORD)
    if "NOAUTH" in str(error):
        return InputError("wants a password", field="redis", value=address, remedy=_PASSWORD)
    if "WRONGTYPE" in str(error):
        return FormatError(f"holds something else under a key of ours: {error}", field="redis", value=address,
                           remedy="give another database, or delete what does not belong to Freshet")  # fmt: skip
    what, remedy = _away(error)
    return UnavailableError(what, field="redis", value=address, remedy=remedy)


def _away(error: Exception) -> tuple[str, str]:
    if isinstance(error, exceptions.InvalidResponse):
        return f"answers with something other than the Redis protocol: {error}", "check host and port"
    if isinstance(error, exceptions.BusyLoadingError):
        return "is still loading its data", "wait until it has loaded"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "is out of memory", "raise its maxmemory, or collect old generations"
    if isinstance(error, exceptions.ReadOnlyError):
        return "is a read-only replica", "give the address of the primary"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return f"does not answer in time: {error}", _SILENT
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"shows a certificate that is not trusted: {error}", "set SSL_CERT_FILE to the file of its authority"
    if "SSL" in str(error):
        return f"does not speak TLS as we do: {error}", "give redis://HOST:PORT where it has no TLS, or the TLS port"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return f"cannot be reached: {error}", "start Redis there, or correct the address (rediss:// for TLS)"
    return f"failed: {error}", "see the server's log"
