"""A checkpoint is there whole, or it is not there."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from streams.checkpoints.files import MANIFEST, Content, write_manifest
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.contract.columns import Array
from streams.contract.errors import ConflictError, InputError, UnavailableError

Tensors = dict[str, dict[str, Array]]
NAME = "step-000000000003"


def content(step: int, size: int = 1000) -> Content:
    rng = np.random.default_rng(step)
    tensors: Tensors = {
        "tables": {"ad/weight": rng.normal(size=(size, 4)).astype(np.float32), "ids": np.arange(step + 1)},
        "network": {"scalar": np.array(1.5, dtype=np.float32), "none": np.zeros((0, 3), dtype=np.int16)},
    }
    return Content(step, tensors, {"offsets": [[step, 2]], "nested": {"a": [1.25, "b"]}})


def same(a: Content, b: Content) -> bool:
    return a.step == b.step and a.state == b.state and all(
        array.dtype == b.tensors[part][name].dtype and np.array_equal(array, b.tensors[part][name])
        and array.shape == b.tensors[part][name].shape
        for part, tensors in a.tensors.items() for name, array in tensors.items()
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    with_store = CheckpointStore(tmp_path / "checkpoints", keep=3)
    yield with_store
    with_store.close()


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """Every file of this process may only grow to `limit_bytes`: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_saved_checkpoint_is_loaded_bit_for_bit(store: CheckpointStore) -> None:
    assert store.save(content(3)) == NAME
    loaded = store.load_newest()
    assert loaded.content is not None
    assert same(loaded.content, content(3))
    assert loaded.refused == []


def test_empty_folder_has_no_checkpoint(store: CheckpointStore) -> None:
    assert store.load_newest().content is None


def test_only_the_newest_few_are_kept(store: CheckpointStore) -> None:
    for step in (1, 2, 30, 4000):
        store.save(content(step))
    assert store.names() == ["step-000000000002", "step-000000000030", "step-000000004000"]
    assert sorted(path.name for path in store.folder.iterdir() if not path.name.startswith(".lock")) == store.names()


@pytest.mark.parametrize("name", ["tables.safetensors", "state.json", MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_checkpoint_is_refused_by_name_and_the_one_before_taken(
    store: CheckpointStore, name: str, damage: str
) -> None:
    store.save(content(2))
    store.save(content(3))
    path = store.folder / NAME / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    loaded = store.load_newest()
    assert loaded.content is not None
    assert same(loaded.content, content(2))
    assert [refused.name for refused in loaded.refused] == [NAME]
    assert name in loaded.refused[0].reason


def test_all_damaged_leaves_none_and_names_each(store: CheckpointStore) -> None:
    for step in (1, 2):
        store.save(content(step))
        (store.folder / f"step-{step:012d}" / "network.safetensors").unlink()
    loaded = store.load_newest()
    assert loaded.content is None
    assert [refused.name for refused in loaded.refused] == ["step-000000000002", "step-000000000001"]


def test_refused_checkpoint_is_replaced_when_its_step_comes_again(store: CheckpointStore) -> None:
    store.save(content(3))
    (store.folder / NAME / "state.json").write_text("{")
    store.save(content(3))
    loaded = store.load_newest()
    assert loaded.refused == []
    assert loaded.content is not None
    assert same(loaded.content, content(3))


@pytest.mark.parametrize(("number", "remedy"), [(0, "version of Freshet that wrote it"), (2, "newer version")])
def test_checkpoint_of_another_format_raises_input_error_with_remedy(
    store: CheckpointStore, number: int, remedy: str
) -> None:
    store.save(content(2))
    store.save(content(3))
    manifest = json.loads((store.folder / NAME / MANIFEST).read_text())
    del manifest["xxh3_128"]
    write_manifest(store.folder / NAME, {**manifest, "format": number})
    with pytest.raises(InputError, match=f"format {number}") as caught:
        store.load_newest()
    assert remedy in (caught.value.remedy or "")


@pytest.mark.parametrize("limit_bytes", [0, 100, 5000])
def test_full_disk_raises_unavailable_error_and_leaves_nothing_half_written(
    store: CheckpointStore, limit_bytes: int
) -> None:
    store.save(content(2))
    with full_disk(limit_bytes), pytest.raises(UnavailableError, match="step 3") as caught:
        store.save(content(3))
    assert caught.value.remedy is not None
    assert {path.name for path in store.folder.iterdir()} == {"step-000000000002", ".lock"}
    store.save(content(3))
    loaded = store.load_newest()
    assert loaded.content is not None
    assert loaded.content.step == 3


def test_what_a_killed_writer_left_is_cleared_and_what_it_moved_aside_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    first = CheckpointStore(folder)
    first.save(content(3))
    first.close()
    shutil.copytree(folder / NAME, folder / ".unfinished-step-000000000009")
    (folder / NAME).rename(folder / f".replaced-{NAME}")
    again = CheckpointStore(folder)
    assert again.names() == [NAME]
    loaded = again.load_newest()
    assert loaded.content is not None
    assert loaded.content.step == 3
    assert {path.name for path in folder.iterdir()} == {NAME, ".lock"}
    again.close()


def test_folder_of_a_running_trainer_raises_conflict_error(store: CheckpointStore) -> None:
    with pytest.raises(ConflictError, match="another process"):
        CheckpointStore(store.folder)


def test_folder_that_is_a_file_raises_unavailable_error_with_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be used"):
        CheckpointStore(tmp_path / "file")


def test_config_that_keeps_nothing_raises_input_error() -> None:
    with pytest.raises(InputError, match="keep"):
        CheckpointConfig(keep=0)


@pytest.mark.parametrize(("unit", "every"), [("steps", -1), ("seconds", -1.0), ("seconds", float("nan"))])
def test_config_that_cannot_tell_when_one_is_due_names_the_unit(unit: str, every: float) -> None:
    with pytest.raises(InputError) as refused:
        CheckpointConfig(**{f"every_{unit}": every})  # type: ignore[arg-type]
    assert refused.value.field == f"checkpoint_{unit}"
