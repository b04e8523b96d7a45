"""One exported program made ready to be called once a request.

    exported graph ──> no input checks ──> hidden products in bfloat16 (where asked) ──> weights folded ──> direct calls

Folded: what depends on weights alone (a layer's slice, its transpose, its bfloat16 copy) is
computed once a version, by `refresh`, and not once a request.

Direct: weights are arguments of the function and not attributes looked up in modules, and operators are
torch's own functions, which a call by way of `torch.ops` takes twice as long to reach.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.graph import CodeGen
from torch.fx.node import Node, map_arg

_ATEN = torch.ops.aten
_ADD, _RELU, _TO = _ATEN.add.Tensor, _ATEN.relu.default, _ATEN.to.dtype
_RELU_IN_PLACE = _ATEN.relu_.default
_WEIGHT_PLACES = {_ATEN.linear.default: 1, _ATEN.addmm.default: 2}
"""Product -> which of its arguments is the weight."""
_DIRECT: dict[Any, Callable[..., Any]] = {
    _ADD: torch.add,
    _RELU: torch.relu,
    _RELU_IN_PLACE: torch.relu_,
    _ATEN.addcmul.default: torch.addcmul,
    _ATEN.addmm.default: torch.addmm,
    _ATEN.bmm.default: torch.bmm,
    _ATEN.cat.default: torch.cat,
    _ATEN.flatten.using_ints: torch.flatten,
    _ATEN.index_select.default: torch.index_select,
    _ATEN.linear.default: torch.nn.functional.linear,
    _ATEN.matmul.default: torch.matmul,
    _ATEN.mul.Tensor: torch.mul,
    _ATEN.select.int: torch.select,
    _ATEN.squeeze.dim: torch.squeeze,
    _ATEN.t.default: torch.t,
    _ATEN.transpose.int: torch.transpose,
    _ATEN.unsqueeze.default: torch.unsqueeze,
}
"""Operator -> the function that calls it with the same arguments."""
_LEAST_WIDTH = 64
"""Narrower products gain nothing in bfloat16, and the last layer must not: near scores have to stay apart."""


class Program:
    """A function of tensors to a tuple of tensors, `run`. Call `refresh` when a weight has changed."""

    def __init__(self, module: Any, *, bfloat16: bool = False) -> None:
        """`module`: what `torch.export.load(...).module()` gives; it is changed."""
        self._module = module
        _drop_input_checks(module.graph)
        _overwrite_products(module.graph)
        if bfloat16:
            _narrow_products(module)
        self._prelude = _fold_weights(module)
        self._compute, self._names = _with_weights_as_arguments(module.graph)
        self._arguments: list[Tensor] = []

    def run(self, *inputs: Tensor) -> Any:
        """The program's outputs, with the weights of the last `refresh`."""
        return self._compute(*inputs, *self._arguments)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The weights by name; constants of the program are not among them."""
        weights: dict[str, Tensor] = self._module.state_dict(keep_vars=True)
        return weights

    def refresh(self) -> None:
        """Computes anew what depends on weights alone."""
        with torch.no_grad():
            for number, value in enumerate(self._prelude.forward()):
                setattr(self._module, _folded(number), value)
        self._arguments = [_attribute(self._module, name) for name in self._names]


def _drop_input_checks(graph: fx.Graph) -> None:
    """They cost more than a small request's arithmetic; the inputs' widths were checked when they came."""
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            graph.erase_node(node)


def _overwrite_products(graph: fx.Graph) -> None:
    """A ReLU overwrites a product, or a sum, that nothing else reads."""
    for node in graph.nodes:
        if node.target is not _RELU or len(node.args[0].users) > 1:
            continue
        if node.args[0].target in _WEIGHT_PLACES or node.args[0].target is _ADD:
            node.target = _RELU_IN_PLACE


def _narrow_products(module: Any) -> None:
    """Products of wide layers take bfloat16 and give it; the ReLU behind them too. Sums stay float32 inside."""
    graph, weights = module.graph, _weights(module)
    for node in list(graph.nodes):
        place = _WEIGHT_PLACES.get(node.target)
        if place is None or min(weights.get(node.args[place], torch.empty(0)).shape) < _LEAST_WIDTH:
            continue
        with graph.inserting_before(node):
            node.args = tuple(_cast(graph, each, torch.bfloat16) for each in node.args)
        _widen_behind(graph, node)
    for node in list(graph.nodes):
        if node.target is _RELU_IN_PLACE and _is_cast(node.args[0], torch.float32):
            node.args = (node.args[0].args[0],)
            _widen_behind(graph, node)
    for node in list(graph.nodes):
        if _is_cast(node, torch.bfloat16) and _is_cast(node.args[0], torch.float32):
            node.replace_all_uses_with(node.args[0].args[0])
    graph.eliminate_dead_code()


def _cast(graph: fx.Graph, value: Any, dtype: torch.dtype) -> Any:
    return graph.call_function(_TO, (value, dtype)) if isinstance(value, Node) else value


def _is_cast(value: Any, dtype: torch.dtype) -> bool:
    return isinstance(value, Node) and value.target is _TO and value.args[1] is dtype


def _widen_behind(graph: fx.Graph, node: Node) -> None:
    """Everything that reads `node` reads a float32 copy."""
    with graph.inserting_after(node):
        wide = _cast(graph, node, torch.float32)
    node.replace_all_uses_with(wide, delete_user_cb=lambda user: user is not wide)


def _fold_weights(module: Any) -> fx.GraphModule:
    """Takes what depends on weights alone out of the graph; returns the program that computes it, in order."""
    graph, weights = module.graph, _weights(module)
    wanted = [node for node in weights if node.op != "get_attr" and any(user not in weights for user in node.users)]
    prelude = fx.Graph()
    copies: dict[Node, Node] = {}
    for node in weights:
        copies[node] = prelude.node_copy(node, copies.__getitem__)
    prelude.output(tuple(copies[node] for node in wanted))
    prelude.eliminate_dead_code()
    computing = fx.GraphModule(module, prelude)
    for number, node in enumerate(wanted):
        module.register_buffer(_folded(number), weights[node], persistent=False)
        with graph.inserting_before(node):
            node.replace_all_uses_with(graph.get_attr(_folded(number)))
    graph.eliminate_dead_code()
    return computing


def _with_weights_as_arguments(graph: fx.Graph) -> tuple[Callable[..., Any], list[str]]:
    """(the graph as a function of its inputs and then its weights, calling directly; the weights' names in order)."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    weights = [node for node in graph.nodes if node.op == "get_attr"]
    flat = fx.Graph()
    copies = {node: flat.placeholder(node.name) for node in [*inputs, *weights]}
    for node in graph.nodes:
        if node.op == "output":
            flat.output(map_arg(node.args[0], copies.__getitem__))
        elif node not in copies:
            copies[node] = flat.node_copy(node, copies.__getitem__)
            copies[node].target = _DIRECT.get(node.target, node.target)
    flat.set_codegen(CodeGen())
    return fx.GraphModule(torch.nn.Module(), flat).forward, [str(node.target) for node in weights]


def _folded(number: int) -> str:
    return f"folded_{number}"


def _weights(module: Any) -> dict[Node, Any]:
    """The values of all nodes that depend on weights alone, in the graph's order."""
    values: dict[Node, Any] = {}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "get_attr":
                values[node] = _attribute(module, node.target)
            elif node.op == "call_function" and node.all_input_nodes and all(n in values for n in node.all_input_nodes):
                values[node] = node.target(*map_arg(node.args, values.__getitem__),
                                           **map_arg(node.kwargs, values.__getitem__))  # fmt: skip
    return values


def _attribute(module: Any, path: str) -> Tensor:
    for name in path.split("."):
        module = getattr(module, name)
    assert isinstance(module, Tensor)
    return module
