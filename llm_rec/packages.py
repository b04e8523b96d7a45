"""Packages that only baselines need, imported when one is fitted."""

from __future__ import annotations

import importlib
from typing import Any

from streams.contract.errors import InputError

LOCK = "requirements/bench.lock"


def imported(module: str, *, package: str) -> Any:
    """The module of that name. Raises InputError where its package is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"the baseline needs a package that cannot be imported: {error}", field="recommender",
                         value=package, remedy=f"pip install --no-deps -r {LOCK}") from error  # fmt: skip
