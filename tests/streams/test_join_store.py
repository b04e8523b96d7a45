"""The join's tables."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from streams.contract.errors import ConflictError, UnavailableError
from streams.join.store import Changes, JoinStore, Position


def _position(watermark_ms: int = 0) -> Position:
    return Position(next_offset=1, windows="w", watermark_ms=watermark_ms)


def test_new_store_has_no_position(tmp_path: Path) -> None:
    store = JoinStore.open(tmp_path / "a" / "state.sqlite")
    assert store.position() is None
    store.close()


def test_what_was_committed_is_there_when_opened_again(tmp_path: Path) -> None:
    changes = Changes([(1, 0, 9, b"i")], [(1, "click", 0, 1.5, 3)], [(1, "Ii", 9)], [(2, 9, b"k", b"f")])
    store = JoinStore.open(tmp_path / "state.sqlite")
    store.commit(changes, _position())
    store.close()
    store = JoinStore.open(tmp_path / "state.sqlite")
    assert store.position() == _position()
    assert store.impression(1) == (9, b"i")
    assert store.given(1) == [("click", 0, 1.5, 3)]
    assert store.seen(["Ii", "Ij"]) == {"Ii": (1, 9)}
    assert store.held() == [(2, 9, b"k", b"f")]
    assert list(store.impressions_since(0, -1)) == [(1, 0)]
    store.close()


def test_what_the_watermark_passed_is_forgotten() -> None:
    store = JoinStore.open(None)
    changes = Changes([(1, 0, 9, b"i"), (2, 0, 10, b"j")], [(1, "click", 0, 1, 3)], [(1, "Ii", 9), (2, "Ij", 10)])
    store.commit(changes, _position())
    store.commit(Changes(), _position(watermark_ms=9))
    assert (store.impression(1), store.given(1), store.impression(2)) == (None, [], (10, b"j"))
    assert store.seen(["Ii", "Ij"]) == {"Ij": (2, 10)}
    store.commit(Changes(), _position(watermark_ms=10))
    assert store.seen(["Ii", "Ij"]) == {}


def test_more_ids_than_one_query_takes_are_all_found() -> None:
    store = JoinStore.open(None)
    store.commit(Changes(seen=[(number, f"I{number}", 9) for number in range(1200)]), _position())
    assert len(store.seen([f"I{number}" for number in range(1300)])) == 1200


def test_store_in_use_raises_conflict_error(tmp_path: Path) -> None:
    store = JoinStore.open(tmp_path / "state.sqlite")
    with pytest.raises(ConflictError, match="another joiner holds this state"):
        JoinStore.open(tmp_path / "state.sqlite")
    store.close()


def test_folder_that_cannot_be_made_raises_unavailable_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be made"):
        JoinStore.open(tmp_path / "file" / "state.sqlite")


def test_full_disk_raises_unavailable_error_and_keeps_what_was_committed(tmp_path: Path) -> None:
    store = JoinStore.open(tmp_path / "state.sqlite")
    store.commit(Changes([(1, 0, 9, b"i")]), _position())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(UnavailableError, match="the state cannot be written"):
            store.commit(Changes([(2, 0, 9, b"x" * (2 << 20))]), _position())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.close()
    store = JoinStore.open(tmp_path / "state.sqlite")
    assert (store.impression(1), store.impression(2)) == ((9, b"i"), None)
    store.close()
