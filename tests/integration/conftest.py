"""What several tests of the whole share: a recommender takes half a minute to train."""

from __future__ import annotations

import pytest

from tests.support.recommender_stack import Trained, train_recommender
from tests.support.triton import need_triton


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """What `freshet recommender train` made."""
    need_triton()
    return train_recommender(tmp_path_factory.mktemp("trained"))
