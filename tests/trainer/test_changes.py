from __future__ import annotations

import numpy as np
import pytest

from trainer import changes
from trainer.changes import Changes
from trainer.vocabulary import Keys

NOTHING = np.zeros(0, dtype=np.int64)
NO_ADS = np.zeros((0, 0), dtype=np.int64)


def keys(*ids: int) -> Keys:
    return Keys(np.zeros(len(ids), dtype=np.int16), np.array(ids, dtype=np.int64), np.array(ids, dtype=np.int64))


def evicting(*batches: Keys) -> Changes:
    """What batches that evicted these keys leave to be published."""
    account = Changes(10, 0)
    for batch in batches:
        account.record(NOTHING, batch, NO_ADS, NOTHING)
    return account


def test_key_evicted_twice_is_one_tombstone() -> None:
    _, ids = evicting(keys(1, 2), keys(2, 3)).since.evicted_keys()
    assert ids.tolist() == [1, 2, 3]


def test_evictions_beyond_the_limit_are_forgotten_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_MOST_EVICTED", 3)
    kept = evicting(keys(1, 2, 3), keys(1, 2, 3), keys(1, 2))
    assert not kept.since.overflowed
    assert kept.since.evicted_keys()[1].tolist() == [1, 2, 3]
    lost = evicting(keys(1, 2, 3), keys(4, 5, 6, 7))
    assert lost.since.overflowed
    assert not len(lost.since.evicted_keys()[1])


def test_lost_delta_is_counted_towards_the_limit_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_MOST_EVICTED", 3)
    account = evicting(keys(1, 2, 3))
    account.taken(step=5)
    account.record(NOTHING, keys(4, 5), NO_ADS, NOTHING)
    account.settle(committed_step=4)
    account.record(NOTHING, keys(6, 7), NO_ADS, NOTHING)
    assert account.since.overflowed


def test_resumed_account_counts_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    resumed = Changes(10, 0)
    resumed.load_state(evicting(keys(1, 2), keys(3)).state())
    assert resumed.since.evicted_keys()[1].tolist() == [1, 2, 3]
    monkeypatch.setattr(changes, "_MOST_EVICTED", 3)
    resumed.record(NOTHING, keys(4, 5, 6, 7), NO_ADS, NOTHING)
    assert resumed.since.overflowed
