"""The measured DLRM in its plain form: everything repeated for each candidate, as the peers serve it.

26 tables of dimension 16, 13 dense values; bottom 512-256-16, pairwise dots, top 512-256-1.
One set of weights makes the eager module, the ONNX file and Freshet's version alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

NUM_DENSE = 13
NUM_TABLES = 26
DIM = 16
BOTTOM = (512, 256, DIM)
TOP = (512, 256, 1)
ROWS_PER_TABLE = 10_000

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Weights:
    """(out, in) matrices and biases of both perceptrons, and the merged table (26 * rows, 16)."""

    bottom: list[tuple[Array, Array]]
    top: list[tuple[Array, Array]]
    table: Array


def random_weights(seed: int = 0) -> Weights:
    """Weights of a trained network's scale."""
    rng = np.random.default_rng(seed)
    pairs = (NUM_TABLES + 1) * NUM_TABLES // 2
    return Weights(
        _perceptron(rng, NUM_DENSE, BOTTOM),
        _perceptron(rng, DIM + pairs, TOP),
        rng.normal(0, 0.1, (NUM_TABLES * ROWS_PER_TABLE, DIM)).astype(np.float32),
    )


def _perceptron(rng: np.random.Generator, width: int, layers: tuple[int, ...]) -> list[tuple[Array, Array]]:
    made = []
    for out in layers:
        made.append((rng.normal(0, (2 / width) ** 0.5, (out, width)).astype(np.float32),
                     np.zeros(out, dtype=np.float32)))  # fmt: skip
        width = out
    return made


def onnx_model(weights: Weights) -> bytes:
    """dense (E, 13) float32, rows (E, 26) int64 into the merged table -> probability (E,)."""
    nodes: list[Any] = []
    constants = {"table": weights.table, "flat": np.array([-1, (NUM_TABLES + 1) ** 2], dtype=np.int64),
                 "one": np.array([-1, 1, DIM], dtype=np.int64), "line": np.array([-1], dtype=np.int64),
                 "pairs": _pair_index()}  # fmt: skip
    last = _add_layers(nodes, constants, "dense", weights.bottom, "bottom", relu_last=True)
    nodes += [
        helper.make_node("Gather", ["table", "rows"], ["embedded"], axis=0),
        helper.make_node("Reshape", [last, "one"], ["bottom_row"]),
        helper.make_node("Concat", ["bottom_row", "embedded"], ["vectors"], axis=1),
        helper.make_node("Transpose", ["vectors"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["vectors", "turned"], ["dots"]),
        helper.make_node("Reshape", ["dots", "flat"], ["dots_flat"]),
        helper.make_node("Gather", ["dots_flat", "pairs"], ["interactions"], axis=1),
        helper.make_node("Concat", [last, "interactions"], ["top_in"], axis=1),
    ]
    logit = _add_layers(nodes, constants, "top_in", weights.top, "top", relu_last=False)
    nodes += [helper.make_node("Sigmoid", [logit], ["p"]), helper.make_node("Reshape", ["p", "line"], ["probability"])]
    graph = helper.make_graph(
        nodes, "dlrm",
        [helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["E", NUM_DENSE]),
         helper.make_tensor_value_info("rows", TensorProto.INT64, ["E", NUM_TABLES])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["E"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _pair_index() -> npt.NDArray[np.int64]:
    """Places of the pairs (i, j < i) in the flattened (27, 27) dots, row by row."""
    rows, columns = np.tril_indices(NUM_TABLES + 1, k=-1)
    return (rows * (NUM_TABLES + 1) + columns).astype(np.int64)


def _add_layers(
    nodes: list[Any],
    constants: dict[str, Any],
    last: str,
    layers: list[tuple[Array, Array]],
    name: str,
    *,
    relu_last: bool,
) -> str:
    for number, (weight, bias) in enumerate(layers):
        constants[f"{name}{number}.w"], constants[f"{name}{number}.b"] = weight, bias
        out = f"{name}{number}"
        nodes.append(helper.make_node("Gemm", [last, f"{out}.w", f"{out}.b"], [out], transB=1))
        last = out
        if relu_last or number < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [out], [f"{out}.relu"]))
            last = f"{out}.relu"
    return last
