"""What the tests of the recommenders share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest

from llm_rec import text_start
from llm_rec.backbone import load_backbone


@pytest.fixture(autouse=True, scope="session")
def one_reader_for_all_fits() -> Iterator[None]:
    """A fit loads SmolLM2 to read texts, which takes seconds; it is frozen, so the fits of a session share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_start, "load_backbone", lru_cache(maxsize=2)(load_backbone))
        yield
