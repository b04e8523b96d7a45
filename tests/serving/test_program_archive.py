from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

from serving.scorer.program_archive import check_archive
from serving.scorer.programs import PROGRAM_NAMES, Programs
from streams.contract.errors import FormatError
from tests.support.small_model import schema_of
from trainer.model.dcn import DcnConfig
from trainer.model.dlrm import DlrmConfig
from trainer.model.export import export_programs
from trainer.model.network import NetworkConfig, build_network
from trainer.recipes import recipe, recipe_names

SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
MODEL = "models/model.json"
WRITTEN_AT_CLOSE = (".data/version", ".data/serialization_id", "byteorder", "archive_format", "archive_version")

Edit = Callable[[Any], None]


def programs_of(config: NetworkConfig, **sizes: int) -> dict[str, bytes]:
    return export_programs(build_network(schema_of(**sizes), config))


@pytest.fixture(scope="module")
def programs() -> dict[str, bytes]:
    return programs_of(DlrmConfig(bottom=(8, 6), top=(16, 8)), request_keys=3, candidate_keys=2, request_dense=2)


def rewritten(archive: bytes, entries: dict[str, bytes]) -> bytes:
    """The archive with some entries replaced or added."""
    reader = PT2ArchiveReader(io.BytesIO(archive))
    kept = {name: reader.read_bytes(name) for name in reader.get_file_names() if name not in WRITTEN_AT_CLOSE}
    buffer = io.BytesIO()
    with PT2ArchiveWriter(buffer) as writer:
        for name, content in (kept | entries).items():
            writer.write_bytes(name, content)
    return buffer.getvalue()


def edited(archive: bytes, entry: str, edit: Edit) -> bytes:
    """The archive with one of its JSON entries changed."""
    content = json.loads(PT2ArchiveReader(io.BytesIO(archive)).read_bytes(entry))
    edit(content)
    return rewritten(archive, {entry: json.dumps(content).encode()})


class Planted:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._marker),)


def refusal(programs: dict[str, bytes], archive: bytes) -> FormatError:
    with pytest.raises(FormatError) as raised:
        Programs({**programs, "candidate": archive})
    assert raised.value.field == "program.candidate"
    assert raised.value.remedy
    return raised.value


@pytest.mark.parametrize("name", recipe_names())
def test_programs_of_every_recipe_are_let_through(name: str) -> None:
    packed = programs_of(recipe(name).network, request_keys=2, candidate_keys=2, request_dense=1)
    assert set(Programs(packed)._parameters)


@pytest.mark.parametrize("config", [DcnConfig(rank=2, deep=(8,)), DlrmConfig(bottom=(8,), top=(8,))], ids=str)
def test_programs_of_both_heads_are_let_through(config: NetworkConfig) -> None:
    packed = programs_of(config, request_keys=10, candidate_keys=2, candidate_dense=2)
    for name in PROGRAM_NAMES:
        check_archive(name, packed[name])


def test_a_rewritten_archive_without_a_change_is_let_through(programs: dict[str, bytes]) -> None:
    check_archive("candidate", rewritten(programs["candidate"], {}))


def test_an_exported_program_holds_no_pickle_and_no_folder_of_this_machine(programs: dict[str, bytes]) -> None:
    for packed in programs.values():
        reader = PT2ArchiveReader(io.BytesIO(packed))
        assert reader.read_bytes(SAMPLES) == b""
        assert b".py" not in packed


def test_pickled_sample_inputs_are_refused_and_never_run(programs: dict[str, bytes], tmp_path: Path) -> None:
    archive = rewritten(programs["candidate"], {SAMPLES: pickle.dumps(Planted(tmp_path / "ran"))})
    error = refusal(programs, archive)
    assert "unpickled" in str(error)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RuntimeError):
        torch.export.load(io.BytesIO(archive))
    assert (tmp_path / "ran").exists(), "the plant must be one that the library alone would have run"


def test_a_pickled_tensor_is_refused_and_never_run(programs: dict[str, bytes], tmp_path: Path) -> None:
    def edit(config: Any) -> None:
        next(iter(config["config"].values()))["use_pickle"] = True

    buffer = io.BytesIO()
    torch.save(Planted(tmp_path / "ran"), buffer)
    archive = rewritten(programs["candidate"], {"data/weights/weight_0": buffer.getvalue()})
    error = refusal(programs, edited(archive, WEIGHTS, edit))
    assert "unpickled" in str(error)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_object_among_the_constants_is_refused_and_never_run(
    programs: dict[str, bytes], tmp_path: Path
) -> None:
    def edit(config: Any) -> None:
        next(iter(config["config"].values()))["path_name"] = "opaque_obj_0"

    planted = {"data/constants/opaque_obj_0": pickle.dumps(Planted(tmp_path / "ran"))}
    error = refusal(programs, edited(rewritten(programs["candidate"], planted), CONSTANTS, edit))
    assert "opaque_obj_0" in str(error)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("entry", ["data/weights/model.pt", "data/aotinductor/model/model.so", "extra/readme.txt"])
def test_an_entry_that_no_program_needs_is_refused_by_name(programs: dict[str, bytes], entry: str) -> None:
    assert entry in str(refusal(programs, rewritten(programs["candidate"], {entry: b"x"})))


def _first_node(model: Any) -> Any:
    return model["graph_module"]["graph"]["nodes"][0]


def _operator(name: str) -> Edit:
    return lambda model: _first_node(model).update(target=name)


def _size(expression: str) -> Edit:
    def edit(model: Any) -> None:
        sizes = model["graph_module"]["graph"]["tensor_values"]["inputs_0"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = expression

    return edit


def _tuple_spec(kind: str) -> Edit:
    def edit(model: Any) -> None:
        call = model["graph_module"]["module_call_graph"][0]["signature"]
        call["in_spec"] = call["in_spec"].replace("builtins.tuple", kind, 1)

    return edit


@pytest.mark.parametrize(
    ("edit", "shown"),
    [
        (_operator("torch.os.system"), "torch.os.system"),
        (_operator("torch.ops.aten.from_file.default"), "from_file"),
        (_size("__import__('os').getpid()"), "__import__"),
        (_tuple_spec("collections.defaultdict"), "defaultdict"),
        (lambda model: model["guards_code"].append("print(1)"), "print(1)"),
        (lambda model: _first_node(model)["outputs"][0]["as_tensor"].update(name="x = 1; y"), "x = 1; y"),
        (lambda model: _first_node(model).update(metadata={"x;": "1"}), "x;"),
    ],
    ids=["operator", "operator-of-files", "size", "spec", "guard", "name", "key"],
)
def test_a_graph_that_holds_source_code_is_refused(programs: dict[str, bytes], edit: Edit, shown: str) -> None:
    assert shown in str(refusal(programs, edited(programs["candidate"], MODEL, edit)))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"no archive at all"], ids=["empty", "head", "text"])
def test_what_is_no_archive_is_refused(programs: dict[str, bytes], damage: bytes) -> None:
    refusal(programs, damage)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_is_refused_or_harmless(programs: dict[str, bytes], data: st.DataObject) -> None:
    packed = bytearray(programs["request"])
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(packed))))
    with suppress(FormatError):
        Programs({**programs, "request": bytes(packed[:cut])})
