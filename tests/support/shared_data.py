"""Where the real logs lie that some tests read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).parents[3] / "shared" / "data"


def shared_data(name: str = "") -> Path:
    """The path of shared data, a file or folder named below it.

    Skips the test where it is absent, or fails it with FRESHET_REQUIRE_SHARED=1.
    """
    path = Path(os.environ.get("FRESHET_SHARED_DATA", _DEFAULT)) / name
    if path.exists():
        return path
    reason = f"no shared data at {path}; set FRESHET_SHARED_DATA to the folder that holds it"
    if os.environ.get("FRESHET_REQUIRE_SHARED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
