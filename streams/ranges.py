"""Numbers of a run that a library below would refuse without saying which of them it was."""

from __future__ import annotations

from streams.contract.errors import InputError

_MOST_THREADS = 1024
_MOST_SEED = 2**32 - 1


def check_threads(threads: int) -> None:
    """Raises InputError where PyTorch could not be given so many threads."""
    _check("threads", threads, 1, _MOST_THREADS)


def check_seed(seed: int, *, field: str = "seed") -> None:
    """Raises InputError where not every generator of random numbers takes the seed."""
    _check(field, seed, 0, _MOST_SEED)


def _check(field: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InputError(f"must be {least} to {most}", field=field, value=value,
                         remedy="leave it out for the usual one")  # fmt: skip
