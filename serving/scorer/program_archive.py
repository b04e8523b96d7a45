"""What a program may hold before it is loaded: operators, names and plain tensors.

`torch.export.load` unpickles, evaluates expressions and compiles guards that it finds in an archive, so
whoever may write to the store could run code in the scorer. Only what `trainer/model/export.py` writes
is let through:

    models/model.json                         operators of `OPERATORS`; every other string a plain name
    data/weights/…, data/constants/…          raw tensors, none of them pickled
    data/sample_inputs/model.pt               empty
    archive_format  archive_version  byteorder  .data/…
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from torch.export.pt2_archive import PT2ArchiveReader

from streams.contract.errors import FormatError

OPERATORS = frozenset(
    f"torch.ops.aten.{name}"
    for name in (
        "add.Tensor", "add.Scalar", "addcmul.default", "addmm.default", "alias.default", "amax.default",
        "amin.default", "bmm.default", "cat.default", "clamp.default", "clamp_min.default", "clone.default",
        "concat.default", "contiguous.default", "cumsum.default", "div.Tensor", "div.Scalar", "einsum.default",
        "elu.default", "exp.default", "expand.default", "flatten.using_ints", "gelu.default", "index_select.default",
        "layer_norm.default", "leaky_relu.default", "linear.default", "log.default", "log1p.default",
        "log_softmax.int", "logit.default", "matmul.default", "maximum.default", "mean.dim", "mean.default",
        "minimum.default", "mm.default", "mul.Scalar", "mul.Tensor", "narrow.default", "neg.default",
        "permute.default", "pow.Tensor_Scalar", "relu.default", "reshape.default", "rsqrt.default",
        "scaled_dot_product_attention.default", "select.int", "sigmoid.default", "silu.default", "slice.Tensor",
        "softmax.int", "softplus.default", "split.Tensor", "split_with_sizes.default", "sqrt.default",
        "squeeze.default", "squeeze.dim", "stack.default", "sub.Scalar", "sub.Tensor", "sum.default",
        "sum.dim_IntList", "sym_size.int", "t.default", "tanh.default", "transpose.int", "unbind.int",
        "unsqueeze.default", "view.default", "where.self", "zeros_like.default",
    )
)  # fmt: skip
"""A head that needs another one adds it here, once it is known to touch nothing but its tensors."""

_MODEL = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_ENTRY = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_TENSOR = re.compile(r"(?:weight|tensor)_\d+")
_NAME = re.compile(r"[\w.+]*")
_SIZE = re.compile(r"-?\d+|Symbol\('s\d+', positive=True, integer=True\)")
_SPEC_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_REMEDY = (
    "publish a new generation with this version of Freshet; if nobody of yours wrote it, see who may write to Redis"
)


def check_archive(name: str, packed: bytes) -> None:
    """Raises FormatError, naming what it found, where the archive is damaged or holds more than a program needs."""
    try:
        # The reader that loads the archive later, so that both see the same entries.
        archive = PT2ArchiveReader(io.BytesIO(packed))
        found = next(_foreign(archive), None)
    except Exception as error:
        raise FormatError(f"is no exported program: {error}", field=f"program.{name}", remedy=_REMEDY) from error
    if found is not None:
        what, value = found
        raise FormatError(f"holds {what}", field=f"program.{name}", value=value, remedy=_REMEDY)


def _foreign(archive: PT2ArchiveReader) -> Iterator[tuple[str, Any]]:
    """(what, value) of everything that a program does not need."""
    names = archive.get_file_names()
    for entry in names:
        if not _ENTRY.fullmatch(entry) and entry not in (_MODEL, _SAMPLE_INPUTS, *_CONFIGS):
            yield "an entry that no program needs", entry
    if archive.read_bytes(_SAMPLE_INPUTS):
        yield "sample inputs, which would have to be unpickled", _SAMPLE_INPUTS
    for config in _CONFIGS:
        for tensor, payload in _json(archive, config)["config"].items():
            if payload["use_pickle"] is not False or not _TENSOR.fullmatch(payload["path_name"]):
                yield "a tensor that would have to be unpickled", tensor
    yield from _foreign_strings(_json(archive, _MODEL))


def _json(archive: PT2ArchiveReader, entry: str) -> Any:
    return json.loads(archive.read_bytes(entry))


def _foreign_strings(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _foreign_strings(name)
            yield from _foreign_strings(child, name)
    elif isinstance(value, list):
        for child in value:
            yield from _foreign_strings(child, key)
    elif isinstance(value, str) and not _is_harmless(key, value):
        yield "a string that is no plain name" if key != "target" else "an operator that is not known", value


def _is_harmless(key: str, text: str) -> bool:
    if key == "target":
        return text in OPERATORS
    if key == "expr_str":
        return _SIZE.fullmatch(text) is not None
    if key in ("in_spec", "out_spec"):
        return _is_harmless_spec(json.loads(text)[1])
    return _NAME.fullmatch(text) is not None


def _is_harmless_spec(spec: Any) -> bool:
    known = spec["type"] in _SPEC_TYPES and spec["context"] in (None, "null", "[]")
    return known and all(_is_harmless_spec(child) for child in spec["children_spec"])
